"""Keys and values of a rollout: room for all of it from the start, so that a step copies none of what was there.

Shapes: B rows, H heads, S new tokens, d head width.
"""

from typing import Any

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


class RoomyLayer(DynamicLayer):
    """A layer of stock transformers' cache with room for ``length`` tokens; what it returns is a view of those so far.

    Args:
        length: tokens.
    """

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length, self.count = length, 0
        self.room: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write new keys and values behind the others, and return all, [B, H, tokens so far, d]."""
        if self.room is None:
            self.lazy_initialization(key_states, value_states)
            shape = [*key_states.shape[:2], self.length, key_states.shape[3]]
            self.room = key_states.new_empty(shape), value_states.new_empty(shape)
        end = self.count + key_states.shape[2]
        for room, new in zip(self.room, (key_states, value_states), strict=True):
            room[:, :, self.count : end] = new
        self.count = end
        self.keys, self.values = (room[:, :, :end] for room in self.room)
        return self.keys, self.values

    def take(self, rows_b: Tensor) -> "RoomyLayer":
        """A copy of some rows; one may be taken often."""
        copy = RoomyLayer(self.length)
        if self.room is not None:
            copy.lazy_initialization(self.keys, self.values)
            copy.room = self.widen(self.keys[rows_b]), self.widen(self.values[rows_b])
            copy.count = self.count
            copy.keys, copy.values = (room[:, :, : self.count] for room in copy.room)
        return copy

    def widen(self, tokens: Tensor) -> Tensor:
        """Put tokens into room for all."""
        room = tokens.new_empty([*tokens.shape[:2], self.length, tokens.shape[3]])
        room[:, :, : tokens.shape[2]] = tokens
        return room


class RolloutCache(DynamicCache):
    """A stock cache of :class:`RoomyLayer`.

    Args:
        layers: one for each layer of the transformer.
    """

    def __init__(self, layers: list[RoomyLayer]) -> None:
        super().__init__()
        self.layers: list[RoomyLayer] = layers

    @classmethod
    def with_room(cls, num_layers: int, length: int) -> "RolloutCache":
        """An empty one."""
        return cls([RoomyLayer(length) for _ in range(num_layers)])

    def take(self, rows_b: Tensor) -> "RolloutCache":
        """A copy of some rows."""
        return RolloutCache([layer.take(rows_b) for layer in self.layers])
