"""InternVL3 and InternVL3.5: an image is cut into tiles; the language model is a Qwen2 or a Qwen3.

Source: arXiv 2504.10479. Shapes: P tiles, S side of a tile in pixels.
"""

from collections.abc import Mapping
from copy import copy
from typing import Any

from torch import nn
from transformers.models.got_ocr2.image_processing_got_ocr2 import get_optimal_tiled_canvas

from mirage_pl.mirage.stock.tiles import TileInputs, Tiles, first


class Network(Tiles):
    """Run an ``InternVLForConditionalGeneration``."""

    classes = 1

    @property
    def tower_blocks(self) -> list[nn.Module]:
        """The tower's layers."""
        return list(self.model.model.vision_tower.encoder.layer)

    @property
    def num_features(self) -> int:
        """Features of a tile: its patches, merged in squares."""
        side = first(self.vision.image_size) // first(self.vision.patch_size)
        return int(side * self.model.config.downsample_ratio) ** 2

    @property
    def projector_weights(self) -> int:
        """Of its two matrices."""
        width = self.text_config.hidden_size
        return width * (width + self.vision.hidden_size * int(1 / self.model.config.downsample_ratio) ** 2)


class Inputs(TileInputs):
    """Read questions by an ``InternVLProcessor``; bounds of pixels are bounds of the number of tiles."""

    def expand(self, rendered: str) -> str:
        """Write the tokens around each image."""
        image, start, end = (getattr(self.processor, f"{name}image_token") for name in ("", "start_", "end_"))
        return rendered.replace(image, f"{start}{image}{end}")

    def bounded(self, role: str, bounds: Mapping[str, int | None]) -> Any:
        """An image processor that cuts images into other numbers of tiles; helper images into one.

        Raises:
            ValueError: bounds of a helper image, or none that a number of tiles meets.
        """
        if role == "helper":
            super().bounded(role, bounds)
        images, area = copy(self.images), self.images.size["height"] * self.images.size["width"]
        images.crop_to_patches = role == "input"  # as its processor does, whatever the image processor says
        if (smallest := bounds.get("min")) is not None:
            images.min_patches = -(-smallest // area)
        if (largest := bounds.get("max")) is not None:
            images.max_patches = largest // area
        if not 0 < images.min_patches <= images.max_patches:
            raise ValueError(
                f"pixels.{role}: no number of tiles of {area} pixels is within {smallest} to {largest}; min must be "
                "above 0, and max at least one tile and at least min"
            )
        return images

    def bounds_name(self, images: Any) -> str:
        """The bounds of the number of tiles."""
        return f"{images.min_patches}-{images.max_patches}" if images.crop_to_patches else "1"

    def tiles(self, images: Any, width: int, height: int) -> tuple[int, int]:
        """Rows and columns of tiles, by the image's aspect."""
        if not images.crop_to_patches:
            return 1, 1
        side = images.size["height"], images.size["width"]
        columns, rows = get_optimal_tiled_canvas((height, width), side, images.min_patches, images.max_patches)
        return rows, columns
