"""GLM-4.6V Flash (dense): a tower with interpolated positions, rotary positions with three axes over half of each head.

Bounds of its image processor count each pixel once for every frame, and an image is shown in two. Shapes: n merged
features of an image.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mirage_pl.mirage.architectures import qwen2_5_vl
from mirage_pl.mirage.stock.architecture import Grid


class Network(qwen2_5_vl.Network):
    """Run a ``Glm46VForConditionalGeneration`` whose language model is dense."""

    def streamline(self) -> None:
        """Leave the stock tower: its images attend as wholes."""

    def tower_flops(self, grids: Sequence[Grid]) -> int:
        """Operations of one forward pass of the tower."""
        c = self.model.config.vision_config
        w, out = c.hidden_size, c.out_hidden_size
        embedding = w * c.in_channels * c.temporal_patch_size * c.patch_size**2
        merger = w * out + (out**2 + 3 * out * c.intermediate_size) // c.spatial_merge_size**2
        weights = embedding + c.depth * (4 * w**2 + 3 * w * out) + merger
        patches = [(frames, rows * columns) for frames, rows, columns in grids]
        pairs = sum(frames * count**2 for frames, count in patches)
        return int(2 * weights * sum(frames * count for frames, count in patches) + 4 * w * c.depth * pairs)


class Inputs(qwen2_5_vl.Inputs):
    """Read questions by a ``Glm46VProcessor``."""

    end_token = "<|user|>"

    def bounded(self, role: str, bounds: Mapping[str, int | None]) -> Any:
        """An image processor with other bounds of width times height."""
        frames = self.images.temporal_patch_size
        return super().bounded(role, {name: bound and bound * frames for name, bound in bounds.items()})

    def num_tokens(self, images: Any, width: int, height: int) -> int:
        """Tokens of an image.

        Raises:
            ValueError: it is too long for its width.
        """
        return int(images.get_number_of_image_patches(height, width, {"size": images.size})) // self.merge**2
