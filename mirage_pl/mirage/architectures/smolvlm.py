"""SmolVLM2: a small tower whose patches are shuffled into few features, and a Llama.

Source: arXiv 2504.05299. Shapes: P tiles, S side of a tile in pixels, n features of a tile, D width.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from math import isqrt
from typing import Any

from torch import Tensor, nn
from transformers.models.smolvlm.image_processing_smolvlm import MAX_IMAGE_SIZE
from transformers.models.smolvlm.image_processing_smolvlm import (
    _resize_output_size_rescale_to_max_len as longest_to,
)
from transformers.models.smolvlm.image_processing_smolvlm import (
    _resize_output_size_scale_below_upper_bound as at_most,
)
from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string

from mirage_pl.mirage.stock.tiles import TileInputs, Tiles


class Network(Tiles):
    """Run a ``SmolVLMForConditionalGeneration``."""

    @property
    def decoder(self) -> Any:
        """The language model."""
        return self.model.model.text_model

    @property
    def tower(self) -> list[nn.Module]:
        """The tower and its connector."""
        return [self.model.model.vision_model, self.model.model.connector]

    @property
    def tower_blocks(self) -> list[nn.Module]:
        """The tower's layers."""
        return list(self.model.model.vision_model.encoder.layers)

    @property
    def num_features(self) -> int:
        """Features of a tile."""
        return int(self.model.model.image_seq_len)

    @property
    def projector_weights(self) -> int:
        """Of its matrix."""
        return int(self.vision.hidden_size * self.model.config.scale_factor**2 * self.text_config.hidden_size)

    def project(self, tiles_P3SS: Tensor) -> Tensor:
        """Features of each tile; the stock method leaves tiles out that are all zeros, as a blank image is."""
        seen = self.tower[0](pixel_values=tiles_P3SS.to(self.model.dtype)).last_hidden_state
        features: Tensor = self.projector(seen)
        return features


class Inputs(TileInputs):
    """Read questions by a ``SmolVLMProcessor``: rows of tiles, and words that say which tile is where.

    The processor enlarges every image to its longest edge before it is cut; ``pixels.input.max`` bounds that edge.
    """

    end_token, apart = "<end_of_utterance>", True

    @property
    def num_features(self) -> int:
        """Tokens of one tile."""
        return int(self.processor.image_seq_len)

    def bounded(self, role: str, bounds: Mapping[str, int | None]) -> Any:
        """An image processor that enlarges images to another edge; helper images are one tile.

        Raises:
            ValueError: bounds of a helper image, a least number of pixels, or less than a tile.
        """
        if role == "helper" or bounds.get("min") is not None or not self.images.do_image_splitting:
            super().bounded(role, bounds)
        images, side = copy(self.images), self.images.max_image_size["longest_edge"]
        images.do_image_splitting = role == "input" and self.images.do_image_splitting
        if (largest := bounds.get("max")) is not None:
            if largest < side**2:
                raise ValueError(f"pixels.{role}.max={largest} is less than a tile of {side} x {side} pixels")
            images.size = type(images.size)(longest_edge=isqrt(largest) // side * side)
        return images

    def bounds_name(self, images: Any) -> str:
        """The edge that images are enlarged to."""
        return str(images.size["longest_edge"]) if images.do_image_splitting else "1"

    def tiles(self, images: Any, width: int, height: int) -> tuple[int, int]:
        """Rows and columns of tiles: the image is enlarged, then its sides are rounded up to tiles."""
        if not images.do_image_splitting:
            return 1, 1
        side = images.max_image_size["longest_edge"]
        height, width = longest_to(height, width, max_len=images.size["longest_edge"])
        height, width = at_most(height, width, max_len=MAX_IMAGE_SIZE)
        aspect, wide = width / height, width >= height
        longer = -(-max(width, height) // side) * side
        shorter = int(longer / aspect if wide else longer * aspect)
        longer, shorter = longer // side, -(-shorter // side)
        return (shorter, longer) if wide else (longer, shorter)

    def tokens(self, images: Any, width: int, height: int) -> tuple[int, ...]:
        """The tiles row by row, each behind its place, and then the whole image."""
        rows, columns = self.tiles(images, width, height)
        words = (self.processor.fake_image_token, self.processor.image_token, self.processor.global_image_token)
        places = (0, 0) if rows == columns == 1 else (rows, columns)
        text = get_image_prompt_string(*places, self.num_features, *words)
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def cut(self, images: Any, decoded: Sequence[Any]) -> Tensor:
        """Tiles ``[P, 3, S, S]`` of all images, which the processor takes for those of one row."""
        pixels: Tensor = images(images=list(decoded), return_tensors="pt")["pixel_values"][0]
        return pixels
