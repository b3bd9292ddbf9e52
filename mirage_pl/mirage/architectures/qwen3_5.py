"""Qwen3.5, 3.6 and 3.8 (dense): three layers of four keep a state instead of keys and values, the fourth attends.

Its processor is Qwen3-VL's. Shapes: B rows, T columns so far, S columns of one call.
"""

from collections.abc import Sequence
from typing import Any

import torch

from mirage_pl.mirage.architectures import qwen2_5_vl
from mirage_pl.mirage.stock.architecture import LINEAR, Grid
from mirage_pl.mirage.stock.cache import KeysValues, LayerCache, State
from mirage_pl.mirage.stock.delta import DeltaState, GatedDelta, order_columns
from mirage_pl.mirage.stock.flops import delta_decoder_flops, whole_tower_flops
from mirage_pl.mirage.stock.places import Places, visible


class Network(qwen2_5_vl.Network):
    """Run a ``Qwen3_5ForConditionalGeneration``."""

    def streamline(self) -> None:
        """Let layers that keep a state run as functions of it; their weights stay where they are."""
        for layer, kind in zip(self.decoder.layers, self.kinds, strict=True):
            if kind == LINEAR:
                layer.linear_attn.__class__ = GatedDelta

    def masks(self, places: Places, start: int, dtype: torch.dtype) -> dict[str, Any]:
        """What columns attend to, and for layers that keep a state, which columns are real."""
        attended_B1ST = visible(places, start).unsqueeze(1)
        return {
            "full_attention": self.as_taken(attended_B1ST, dtype),
            LINEAR: order_columns(places.real_BT[:, start:]),
        }

    def open_cache(self, layer: int, earlier: State) -> LayerCache:
        """What a layer reads and writes, by its kind."""
        return DeltaState(earlier) if self.kinds[layer] == LINEAR else KeysValues(earlier)

    def decoder_flops(self, lengths: Sequence[int], supervised: int) -> int:
        """Operations of forward and backward of the language model."""
        return delta_decoder_flops(self.text_config, lengths, supervised)

    def tower_flops(self, grids: Sequence[Grid]) -> int:
        """Operations of one forward pass of the tower."""
        return whole_tower_flops(self.model.config.vision_config, grids)


Inputs = qwen2_5_vl.Inputs
