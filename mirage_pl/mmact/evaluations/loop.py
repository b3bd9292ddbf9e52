"""Episodes that a policy plays: chunk by chunk, several at a time. Shapes: n episodes, H steps, A numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from data_modules.demonstrations.demonstration import Frames
from data_modules.demonstrations.steps import Step
from data_modules.loading.draws import stream_seed
from data_modules.worlds.told import Told, look, name_goal
from data_modules.worlds.world import Vector

Chunks = NDArray[np.float32]
T = TypeVar("T")


@dataclass
class Play:
    """An episode that is played.

    Attributes:
        sample: where it begins; its row says by which draws.
        world: its simulator.
        views: cameras that are looked through.
        draws: random numbers of the policy in it.
        first_S: the state at its begin.
        first: what cameras see there.
        goal: what tells it from others of its group.
        actions: what was done.
        reached: whether the goal was reached.
        error: why it ended before that, if the simulator failed.
    """

    sample: Step
    world: Told
    views: int = 0
    draws: np.random.Generator = field(init=False)
    first_S: Vector = field(init=False)
    first: Sequence[Frames] = field(init=False, default=())
    goal: str = field(init=False, default="")
    actions: list[Vector] = field(default_factory=list)
    reached: bool = False
    error: str | None = None

    def __post_init__(self) -> None:
        self.draws, self.first_S = np.random.default_rng(stream_seed(self.sample.where)), np.zeros(0)
        self.attempt(self.begin)

    def begin(self) -> None:
        """Place things as the row says, and look at them."""
        self.world.reset(np.random.default_rng(self.sample.meta["seed"]))
        self.first_S, self.first, self.goal = self.world.numbers, self.look(), name_goal(self.world)

    def attempt(self, ask: Callable[[], T]) -> T | None:
        """Ask something of the simulator; one that fails ends the episode, and the others go on."""
        try:
            return ask()
        except Exception as error:  # whatever a simulator raises
            self.error = f"{type(error).__name__}: {error}"
            return None

    def look(self) -> Sequence[Frames]:
        """What each camera sees now, [H, W, 3]; nothing where nobody looks."""
        return tuple(look(self.world, self.views)) if self.views else ()

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.reached or self.error is not None

    def act(self, action: Vector) -> None:
        """Do one step."""
        self.actions.append(action)

        def step() -> bool:
            self.world.step(action)
            return bool(self.world.reached)

        self.reached = bool(self.attempt(step))

    def film(self) -> list[Frames]:
        """A frame of what there is now; none where the simulator fails."""
        frame = self.attempt(self.world.draw)
        return [] if frame is None else [frame]


class Policy(Protocol):
    """What chooses actions for episodes that go on."""

    def __call__(self, plays: Sequence[Play]) -> Chunks:
        """Choose a chunk for each, [n, H, A]; whatever for one whose simulator fails as it is looked at."""


def play(plays: Sequence[Play], policy: Policy, limit: int, exec_steps: int) -> None:
    """Play episodes to their end.

    Args:
        plays: as they begin.
        policy: chooses chunks.
        limit: steps of an episode at most.
        exec_steps: steps of a chunk that are done before the next is chosen.

    Raises:
        ValueError: chunks are shorter than that.
    """
    for begin in range(0, limit, exec_steps):
        going = [each for each in plays if not each.over]
        if not going:
            return
        chunks = policy(going)
        if chunks.shape[1] < exec_steps:
            raise ValueError(f"exec_steps={exec_steps}, but a chunk has {chunks.shape[1]} steps; lower it")
        for each, chunk in zip(going, chunks, strict=True):
            for action in chunk[: min(exec_steps, limit - begin)]:
                if not each.over:
                    each.act(np.asarray(action, np.float64))
