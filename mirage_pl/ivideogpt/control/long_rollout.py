"""Imagined clips of any length: after some frames the newest ones become the context of what follows.

A model is good for as many frames as the clips had that it was trained on. Shapes: B rows, T context
frames, A numbers of an action; pixels in [0, 1].
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from mirage_pl.ivideogpt.model.rollout import Imagined, Rollout, Sampling
from mirage_pl.ivideogpt.model.world import WorldModel


def take_context(frames: Sequence[Any], length: int) -> list[Any]:
    """The newest frames, as many as a context has; where there are fewer, the first one stands before them."""
    return [*[frames[0]] * length, *frames][-length:]


class LongRollout:
    """Rows that go on action by action.

    Args:
        world: the model.
        context_BTCHW: what was seen, the newest last.
        segment: frames after which the newest become the context.
        sampling: how codes are chosen.
        streams: random numbers of each row; temperature 0 needs none.
    """

    def __init__(
        self,
        world: WorldModel,
        context_BTCHW: Tensor,
        segment: int,
        sampling: Sampling,
        streams: Sequence[Generator] | None = None,
    ) -> None:
        self.world, self.segment, self.sampling, self.streams = world, segment, sampling, streams
        self.newest = list(context_BTCHW.unbind(1))
        self.rollout = Rollout(world, context_BTCHW, segment, sampling, streams)

    def step(self, actions_BA: Tensor | None, see: bool = True) -> Imagined:
        """Imagine the next frame of every row; ``see``: whether it is decoded; no actions where a model takes none."""
        if self.rollout.count == self.segment:
            context_BTCHW = torch.stack(self.newest, 1)
            self.rollout = Rollout(self.world, context_BTCHW, self.segment, self.sampling, self.streams)
        needed = self.segment - self.rollout.count <= self.world.context_length
        imagined = self.rollout.step(actions_BA, see or needed)
        if imagined.frames_BCHW is not None:
            self.newest = [*self.newest[1:], imagined.frames_BCHW]
        return imagined

    def repeat(self, times: int) -> "LongRollout":
        """A copy with each row ``times`` times, one after the other."""
        copy = object.__new__(LongRollout)
        copy.__dict__.update(self.__dict__)
        copy.rollout = self.rollout.repeat(times)
        copy.newest = [frames.repeat_interleave(times, 0) for frames in self.newest]
        copy.streams = None if self.streams is None else [row for row in self.streams for _ in range(times)]
        return copy
