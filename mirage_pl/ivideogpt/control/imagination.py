"""Imagined clips of any length: after some frames the newest ones become the context of what follows.

A model is good for as many frames as the clips had that it was trained on. Shapes: B rows, N candidates of each, T
context frames, H steps ahead, A numbers of an action; pixels in [0, 1].
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from mirage_pl.ivideogpt.model.rollout import Imagined, Rollout, Sampling
from mirage_pl.ivideogpt.model.world import WorldModel


class Imagination:
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

    def step(self, actions_BA: Tensor, see: bool = True) -> Imagined:
        """Imagine the next frame of every row; ``see``: whether it is decoded."""
        if self.rollout.count == self.segment:
            context_BTCHW = torch.stack(self.newest, 1)
            self.rollout = Rollout(self.world, context_BTCHW, self.segment, self.sampling, self.streams)
        needed = self.segment - self.rollout.count <= self.world.context_length
        imagined = self.rollout.step(actions_BA, see or needed)
        if imagined.frames_BCHW is not None:
            self.newest = [*self.newest[1:], imagined.frames_BCHW]
        return imagined

    def repeat(self, times: int) -> "Imagination":
        """A copy with each row ``times`` times, one after the other."""
        copy = object.__new__(Imagination)
        copy.__dict__.update(self.__dict__)
        copy.rollout = self.rollout.repeat(times)
        copy.newest = [frames.repeat_interleave(times, 0) for frames in self.newest]
        copy.streams = None if self.streams is None else [row for row in self.streams for _ in range(times)]
        return copy


@dataclass(frozen=True)
class Objective:
    """What a plan is for: a weighed sum.

    Attributes:
        reward: weight of the sum of rewards that the model expects.
        goal: weight of minus the squared error between the last frame and a picture of the goal.

    Raises:
        ValueError: nothing has a weight.
    """

    reward: float
    goal: float

    def __post_init__(self) -> None:
        if min(self.reward, self.goal) < 0 or not self.reward + self.goal:
            raise ValueError(f"objective has reward={self.reward} and goal={self.goal}; give one of them above 0")

    def score(self, start: Imagination, actions_BNHA: Tensor, goals_BCHW: Tensor | None) -> Tensor:
        """Imagine candidates, and score them: [B, N].

        Args:
            start: a row for each episode; isn't changed.
            actions_BNHA: candidates of each.
            goals_BCHW: pictures of the goals, where they have a weight.
        """
        episodes, candidates, horizon = actions_BNHA.shape[:3]
        rows = start.repeat(candidates)
        device = rows.newest[0].device
        total_M, imagined = torch.zeros(episodes * candidates, device=device), None
        for step in range(horizon):
            last = step == horizon - 1
            imagined = rows.step(actions_BNHA[:, :, step].flatten(0, 1).to(device), see=bool(self.goal) and last)
            if self.reward and imagined.rewards_B is not None:
                total_M += self.reward * imagined.rewards_B
        if self.goal and goals_BCHW is not None and imagined is not None and imagined.frames_BCHW is not None:
            wanted_MCHW = goals_BCHW.to(device).repeat_interleave(candidates, 0)
            total_M -= self.goal * (imagined.frames_BCHW - wanted_MCHW).square().mean((1, 2, 3))
        return total_M.view(episodes, candidates)
