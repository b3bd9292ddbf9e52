"""What takes the place of a transformers cache while a layer runs, so that a layer is a pure function.

A transformers cache changes in place, which activation checkpointing can't replay. Here the state that earlier columns
left in a layer goes in, and the new state comes out, as plain tensors. So a layer can be checkpointed even in a
recurrence whose gradient flows through that state.

Shapes: B rows, S columns that are run, T columns so far (S included), H key heads, d head width.
"""

from typing import Any, Protocol

import torch
from torch import Tensor

State = tuple[tuple[Tensor, ...], ...]
"""What earlier columns left in one layer, piece by piece."""


class LayerCache(Protocol):
    """What one layer reads and writes in one call.

    Attributes:
        new: the tensors that the call leaves.
    """

    new: tuple[Tensor, ...]

    def keep(self) -> State:
        """The layer's state after the call."""
        ...


class KeysValues:
    """Puts earlier keys and values ``[B, H, S, d]`` before the new ones.

    With gradients the pieces stay apart: joined ones would be kept for the backward pass of every call. Without, they
    are joined once.

    Args:
        earlier: pieces of keys and values.
    """

    def __init__(self, earlier: State) -> None:
        self.earlier, self.apart = earlier, torch.is_grad_enabled()
        self.new: tuple[Tensor, ...] = ()

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Return the keys and values that the layer attends to; stock attention calls it."""
        joined = keys, values
        if self.earlier:
            all_keys, all_values = zip(*self.earlier, joined, strict=True)
            joined = torch.cat(all_keys, dim=2), torch.cat(all_values, dim=2)
        self.new = (keys, values) if self.apart else joined
        return joined

    def keep(self) -> State:
        """The pieces so far."""
        return (*self.earlier, self.new) if self.apart else (self.new,)
