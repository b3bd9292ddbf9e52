"""Qwen3-VL: as Qwen2.5-VL, but deep features of an image are added after the first layers, and rotary axes interleave.

Source: arXiv 2511.21631, DeepStack. Shapes: B rows, T columns, n merged features of an image, D width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mirage_pl.mirage.architectures import qwen2_5_vl
from mirage_pl.mirage.stock.architecture import Grid
from mirage_pl.mirage.stock.flops import whole_tower_flops


class Network(qwen2_5_vl.Network):
    """Run a ``Qwen3VLForConditionalGeneration``."""

    @property
    def deep(self) -> int:  # type: ignore[override]
        """Number of layers after which image features are added."""
        return len(self.model.config.vision_config.deepstack_visual_indexes)

    @property
    def merger(self) -> list[nn.Module]:
        """What merges squares of patches, of the last layer and of those whose features are added deep."""
        return [self.model.model.visual.merger, self.model.model.visual.deepstack_merger_list]

    def streamline(self) -> None:
        """Leave the stock tower: its images attend as wholes."""

    def image_features(self, pixels_PF: Tensor, grids: Sequence[Grid]) -> list[Tensor]:
        """Merged features of every image, and behind them those of each depth."""
        output = self.model.model.get_image_features(pixels_PF, torch.tensor(grids, device=pixels_PF.device))
        sizes = [len(feature_nD) for feature_nD in output.pooler_output]
        deep = [x.split(sizes) if isinstance(x, Tensor) else x for x in output.deepstack_features]  # transformers 5.17
        levels = [output.pooler_output, *deep]
        return [torch.cat(level, dim=-1) for level in zip(*levels, strict=True)]

    def stock_hidden(self, embeds_1TD: Tensor, tokens_1T: Tensor, grids: Sequence[Grid], deep: list[Tensor]) -> Tensor:
        """Hidden states of a row, with the model's own positions."""
        shown_1T, grids_N3 = tokens_1T == self.image_id, torch.tensor(grids) if grids else None
        positions_31T, _ = self.model.model.get_rope_index(tokens_1T, shown_1T.int(), image_grid_thw=grids_N3)
        features = {"visual_pos_masks": shown_1T, "deepstack_visual_embeds": deep} if grids else {}
        decoded = self.decoder(inputs_embeds=embeds_1TD, position_ids=positions_31T, use_cache=False, **features)
        hidden_1TD: Tensor = decoded.last_hidden_state
        return hidden_1TD

    def tower_flops(self, grids: Sequence[Grid]) -> int:
        """Operations of one forward pass of the tower."""
        return whole_tower_flops(self.model.config.vision_config, grids, mergers=1 + self.deep)


Inputs = qwen2_5_vl.Inputs
