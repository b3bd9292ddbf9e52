"""Qwen2.5-VL: a window-attention tower at any resolution, rotary positions with three axes.

Shapes: B rows, T columns, S columns of one call, D width, P patches, F numbers of a patch, n merged features.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from mirage_pl.mirage.placing import rotary_positions
from mirage_pl.mirage.stock import inputs
from mirage_pl.mirage.stock.architecture import Architecture, Grid, Rotary
from mirage_pl.mirage.stock.flops import tower_forward_flops
from mirage_pl.mirage.stock.tower import streamline


class Network(Architecture):
    """Run a ``Qwen2_5_VLForConditionalGeneration``."""

    @property
    def merge(self) -> int:  # type: ignore[override]
        """Side of the squares of patches that the tower merges."""
        return int(self.model.model.visual.spatial_merge_size)

    @property
    def tower(self) -> list[nn.Module]:
        """The vision tower, which holds its merger."""
        return [self.model.model.visual]

    @property
    def tower_blocks(self) -> list[nn.Module]:
        """The tower's layers."""
        return list(self.model.model.visual.blocks)

    @property
    def merger(self) -> list[nn.Module]:
        """What merges squares of patches."""
        return [self.model.model.visual.merger]

    def streamline(self) -> None:
        """Make the tower faster on many small images."""
        streamline(self.model.model.visual)

    def rotary(self, embeds: Tensor, positions_3BS: Tensor) -> dict[str, Rotary]:
        """Cosines and sines of positions with three axes."""
        return dict.fromkeys(self.kinds, self.decoder.rotary_emb(embeds, positions_3BS))

    def image_features(self, pixels_PF: Tensor, grids: Sequence[Grid]) -> list[Tensor]:
        """Merged features ``[n, D]`` of every image."""
        grids_N3 = torch.tensor(grids, device=pixels_PF.device)
        return list(self.model.model.get_image_features(pixels_PF, grids_N3).pooler_output)

    def blank(self) -> tuple[Grid, Tensor]:
        """An image of one merged feature."""
        side, config = self.merge, self.model.model.visual.config
        width = config.in_channels * config.temporal_patch_size * config.patch_size**2
        return (1, side, side), torch.zeros(side**2, width)

    def stock_hidden(self, embeds_1TD: Tensor, tokens_1T: Tensor, grids: Sequence[Grid], deep: list[Tensor]) -> Tensor:
        """Hidden states of a row, with the model's own positions."""
        kinds_1T, grids_N3 = (tokens_1T == self.image_id).int(), torch.tensor(grids) if grids else None
        positions_31T, _ = self.model.model.get_rope_index(tokens_1T, kinds_1T, image_grid_thw=grids_N3)
        decoded = self.decoder(inputs_embeds=embeds_1TD, position_ids=positions_31T, use_cache=False)
        hidden_1TD: Tensor = decoded.last_hidden_state
        return hidden_1TD

    def tower_flops(self, grids: Sequence[Grid]) -> int:
        """Operations of one forward pass of the tower, windows counted as windows."""
        return tower_forward_flops(self.model.config.vision_config, grids)


class Inputs(inputs.Inputs):
    """Read questions by a Qwen-VL processor: images of any size, a token for each square of merged patches."""

    def __init__(self, processor: Any) -> None:
        super().__init__(processor)
        self.merge = int(self.images.merge_size)

    def bounded(self, role: str, bounds: Mapping[str, int | None]) -> Any:
        """An image processor with other bounds of width times height.

        Raises:
            ValueError: bounds that leave nothing between them.
        """
        smallest, largest = self.images.size["shortest_edge"], self.images.size["longest_edge"]
        size = {
            "shortest_edge": smallest if bounds.get("min") is None else bounds["min"],
            "longest_edge": largest if bounds.get("max") is None else bounds["max"],
        }
        if not 0 < size["shortest_edge"] <= size["longest_edge"]:  # type: ignore[operator]
            raise ValueError(
                f"pixels.{role}: images of {size['shortest_edge']} to {size['longest_edge']} pixels can't be; "
                f"min must be 1 or more, and at most max (the model's own: {smallest} to {largest})"
            )
        if size == dict(self.images.size):
            return self.images
        other = copy(self.images)
        other.size = type(self.images.size)(**size)
        return other

    def bounds_name(self, images: Any) -> str:
        """The bounds of width times height."""
        return f"{images.size['shortest_edge']}-{images.size['longest_edge']}"

    def num_tokens(self, images: Any, width: int, height: int) -> int:
        """Tokens of an image.

        Raises:
            ValueError: it is too long for its width.
        """
        bounds = {"min_pixels": images.size["shortest_edge"], "max_pixels": images.size["longest_edge"]}
        return int(images.get_number_of_image_patches(height, width, bounds)) // self.merge**2

    def patches(self, images: Any, decoded: Sequence[Any]) -> tuple[Tensor, list[Grid]]:
        """Patches of all images, and the grid of each."""
        patches = images(images=list(decoded), return_tensors="pt")
        return patches["pixel_values"], [(t, h, w) for t, h, w in patches["image_grid_thw"].tolist()]

    def positions(self, image_BT: Tensor, real_BT: Tensor, grids_N3: Tensor) -> Tensor:
        """Positions with three axes: an image's tokens share one time."""
        return rotary_positions(image_BT, real_BT, grids_N3)
