"""Keys and values of a rollout: room for all of it from the start, so that a step copies none of what was there.

Shapes: B rows, H heads, S new tokens, d head width; R rows, each of which some of the B go on from, P tokens of theirs.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

EXACT = torch.float32, torch.float64
"""In other dtypes scores of attention would be rounded where they are written down, which torch's kernel doesn't do."""


class RolloutCache:
    """Keys and values of all layers.

    Args:
        rooms: of each layer, [2, B, H, room, d]: keys and values, with room for tokens to come.
        count: tokens in them.
        past: what stands before them, shared by ``times`` rows each; ``None``: nothing.
        times: row b goes on from row b // times of the past.
    """

    def __init__(self, rooms: list[Tensor], count: int = 0, past: "RolloutCache | None" = None, times: int = 1) -> None:
        self.rooms, self.count, self.past, self.times = rooms, count, past, times

    @classmethod
    def with_room(cls, num_layers: int, shape_BHLd: tuple[int, ...], like: Tensor) -> "RolloutCache":
        """An empty one, of the dtype and on the device of a tensor."""
        return cls([like.new_empty((2, *shape_BHLd)) for _ in range(num_layers)])

    @property
    def length(self) -> int:
        """Tokens so far."""
        return self.count + (0 if self.past is None else self.past.count)

    @property
    def num_bytes(self) -> int:
        """What it takes, its past included."""
        return sum(room.nbytes for room in self.rooms) + (0 if self.past is None else self.past.num_bytes)

    def write(self, layer: int, keys_BHSd: Tensor, values_BHSd: Tensor) -> Tensor:
        """Write new keys and values behind the others; return the layer's so far, [2, B, H, tokens, d]."""
        end = self.count + keys_BHSd.shape[2]
        room = self.rooms[layer]
        room[0, :, :, self.count : end] = keys_BHSd
        room[1, :, :, self.count : end] = values_BHSd
        return room[:, :, :, :end]

    def attend(self, layer: int, queries_BHSd: Tensor, keys_BHSd: Tensor, values_BHSd: Tensor) -> Tensor:
        """Attend from new tokens to all before them and to themselves, [B, H, S, d]; several may only be the first."""
        keys, values = self.write(layer, keys_BHSd, values_BHSd)
        if self.past is None:
            return F.scaled_dot_product_attention(queries_BHSd, keys, values, is_causal=queries_BHSd.shape[2] > 1)
        past_keys_RHPd, past_values_RHPd = self.past.rooms[layer][:, :, :, : self.past.count]
        queries_BHSd = queries_BHSd * queries_BHSd.shape[3] ** -0.5
        queries_RHtd = queries_BHSd.unflatten(0, (-1, self.times)).squeeze(3).transpose(1, 2)
        own_RHtS = (queries_BHSd @ keys.mT).unflatten(0, (-1, self.times)).squeeze(3).transpose(1, 2)
        weights_RHtL = torch.cat((queries_RHtd @ past_keys_RHPd.mT, own_RHtS), 3).softmax(3)
        of_past_RHtP, of_own_RHtS = weights_RHtL.split((self.past.count, keys.shape[2]), 3)
        attended_RtHd = (of_past_RHtP @ past_values_RHPd).transpose(1, 2)
        return torch.baddbmm(
            attended_RtHd.flatten(0, 2)[:, None],
            of_own_RHtS.transpose(1, 2).flatten(0, 2)[:, None],
            values.flatten(0, 1),
        ).view(queries_BHSd.shape)

    def read(self, layer: int, rows_b: Tensor) -> Tensor:
        """Keys and values of some rows, with those that they share, [2, b, H, tokens, d]."""
        own = self.rooms[layer][:, rows_b, :, : self.count]
        if self.past is None:
            return own
        return torch.cat((self.past.rooms[layer][:, rows_b // self.times, :, : self.past.count], own), 3)

    def take(self, rows_b: Tensor) -> "RolloutCache":
        """A copy of some rows; one may be taken often."""
        rooms, whole = list[Tensor](), (self if self.past is None else self.past).rooms[0].shape[3]
        for layer in range(len(self.rooms)):
            tokens = self.read(layer, rows_b)
            rooms.append(tokens.new_empty((*tokens.shape[:3], whole, tokens.shape[4])))
            rooms[-1][:, :, :, : self.length] = tokens
        return RolloutCache(rooms, self.length)

    def repeat(self, times: int) -> "RolloutCache":
        """A copy with each row ``times`` times; they share what was there, which is neither copied nor changed."""
        rows_B = torch.arange(self.rooms[0].shape[1], device=self.rooms[0].device)
        if times == 1 or not self.count or self.rooms[0].dtype not in EXACT:
            return self.take(rows_B.repeat_interleave(times))
        past = RolloutCache(self.rooms, self.count) if self.past is None else self.take(rows_B)
        _, rows, heads, room, width = past.rooms[0].shape
        shape = 2, rows * times, heads, room - past.count, width
        return RolloutCache([room.new_empty(shape) for room in past.rooms], 0, past, times)
