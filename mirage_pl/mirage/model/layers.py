"""Run the decoder's layers on some columns of a sequence, with keys and values as plain tensors.

A transformers cache changes in place, which activation checkpointing can't replay. Here a layer is a pure function:
hidden states and the keys and values of earlier columns go in, hidden states and the new keys and values come out. It
can be checkpointed even in a recurrence whose gradient flows through those keys and values.

Shapes: B rows, S columns that are run, T columns so far (S included), D width, H key heads, d head width.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

KeysValues = tuple[Tensor, Tensor]
"""Keys and values ``[B, H, S, d]`` of one layer."""


class Joint:
    """Takes the place of a layer's cache: puts earlier keys and values before the new ones, which it keeps separate."""

    def __init__(self, earlier: tuple[KeysValues, ...]) -> None:
        self.earlier = earlier

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> KeysValues:
        """Return the keys and values that the layer attends to."""
        self.new = keys, values
        if not self.earlier:
            return self.new
        all_keys, all_values = zip(*self.earlier, self.new, strict=True)
        return torch.cat(all_keys, dim=2), torch.cat(all_values, dim=2)


def run_layer(
    layer: Any, hidden_BSD: Tensor, rotary: KeysValues, mask_B1ST: Tensor, earlier: tuple[KeysValues, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """Run one layer; return hidden states, new keys and new values."""
    joint = Joint(earlier)
    hidden_BSD = layer(
        hidden_BSD, attention_mask=mask_B1ST, position_embeddings=rotary, past_key_values=joint, use_cache=True
    )
    return hidden_BSD, *joint.new


def run_layers(
    decoder: Any,
    embeds_BSD: Tensor,
    rotary: KeysValues,
    mask_BST: Tensor,
    earlier: list[tuple[KeysValues, ...]],
    checkpointing: bool,
) -> tuple[Tensor, list[KeysValues]]:
    """Run all layers and the last norm.

    Args:
        decoder: the inner language model of a transformers Qwen2.5-VL.
        embeds_BSD: inputs of the columns to run.
        rotary: cosines and sines ``[B, S, d]`` of their positions.
        mask_BST: the columns that each attends to.
        earlier: of each layer, keys and values of the columns before, piece by piece.
        checkpointing: keep only each layer's input, keys and values, and recompute the rest in the backward pass.

    Returns:
        Hidden states ``[B, S, D]``, and the new keys and values of each layer.
    """
    hidden_BSD, mask_B1ST = embeds_BSD, mask_BST.unsqueeze(1)
    new: list[KeysValues] = []
    for layer, before in zip(decoder.layers, earlier, strict=True):
        inputs = (layer, hidden_BSD, rotary, mask_B1ST, before)
        if checkpointing and torch.is_grad_enabled():
            random = decoder.config.attention_dropout > 0
            outputs = checkpoint(run_layer, *inputs, use_reentrant=False, preserve_rng_state=random)
        else:
            outputs = run_layer(*inputs)
        hidden_BSD, keys, values = outputs
        new.append((keys, values))
    return decoder.norm(hidden_BSD), new
