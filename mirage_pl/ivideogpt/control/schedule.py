"""When an agent plays, learns and imagines. A step is an update of the agent; all intervals are in steps.

As published an agent is updated once for each frame of its simulator (twice for each action, which is repeated twice),
so that the published numbers of frames are numbers of steps here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Annotated

from annotated_types import Ge, Interval


@dataclass(frozen=True)
class Schedule:
    """When an agent plays and learns. Episodes are played whole, each before the updates that it brings.

    Attributes:
        length: frames of an episode; one more than its actions.
        seed_actions: random actions before the first step, in whole episodes.
        updates: of the agent for each action.
        deviation: of the noise on its actions: first, last, and actions in which it falls from one to the other.
        demonstrations: episodes of the task's training file that it has from the beginning.
        held: actions for which a random one is held.

    Raises:
        ValueError: a number out of its range.
    """

    length: int
    seed_actions: int
    updates: float
    deviation: Sequence[float]
    demonstrations: int
    held: int

    def __post_init__(self) -> None:
        if self.length < 2 or self.seed_actions < 1 or self.updates <= 0 or self.demonstrations < 0 or self.held < 1:
            raise ValueError(
                f"playing has length={self.length} (2 or more), seed_actions={self.seed_actions} (1 or more), updates="
                f"{self.updates} (above 0), demonstrations={self.demonstrations} (0 or more) and held={self.held} (1 "
                "or more)"
            )
        if len(self.deviation) != 3 or min(self.deviation[:2]) < 0 or self.deviation[2] < 1:
            raise ValueError(f"playing.deviation={list(self.deviation)} must be first, last, and actions between them")

    @property
    def actions(self) -> int:
        """Of an episode."""
        return self.length - 1

    @property
    def seed_episodes(self) -> int:
        """Episodes of random actions."""
        return ceil(self.seed_actions / self.actions)

    def episodes(self, step: int) -> int:
        """Episodes that are played before a step, random ones included: one more for each that all updates are of."""
        return self.seed_episodes + 1 + int(step / (self.actions * self.updates))

    def deviation_of(self, action: int) -> float:
        """Deviation of the noise on an action, which is counted from the first random one."""
        first, last, actions = self.deviation
        return first + (last - first) * min(1.0, action / actions)

    def deviation_at(self, step: int) -> float:
        """Deviation of the noise on the actions of the episode played last before a step."""
        return self.deviation_of((self.episodes(step) - 1) * self.actions)


@dataclass(frozen=True)
class ModelSchedule:
    """When a world model learns, and when an agent imagines with it.

    Attributes:
        first_updates: of the world model, before the agent is updated first: the run's first steps.
        first_batches: of imagined episodes, before the agent is updated first.
        every: steps between two batches of imagined episodes.
        batch: imagined episodes of a batch.
        horizon: frames of an imagined episode after the given ones.
        transformer_every: steps between two updates of the transformer.
        tokenizer_every: of the tokenizer; ``None``: it stays as it is.
        real: share of what the agent learns from that is real; 1: nothing is imagined.
        clips: of a batch for the world model.
    """

    first_updates: Annotated[int, Ge(0)]
    first_batches: Annotated[int, Ge(0)]
    every: Annotated[int, Ge(1)]
    batch: Annotated[int, Ge(1)]
    horizon: Annotated[int, Ge(1)]
    transformer_every: Annotated[int, Ge(1)]
    tokenizer_every: Annotated[int, Ge(1)] | None
    real: Annotated[float, Interval(ge=0, le=1)]
    clips: Annotated[int, Ge(1)]

    def batches(self, step: int) -> int:
        """Batches of imagined episodes that there are before a step."""
        if self.real == 1 or step < self.first_updates:
            return 0
        return self.first_batches + (step - self.first_updates) // self.every

    def acts(self, step: int) -> bool:
        """Whether the agent is updated at a step."""
        return step >= self.first_updates

    def num_imagined(self, step: int, size: int) -> int:
        """How many samples of the agent's batch are imagined."""
        return round(size * (1 - self.real)) if self.batches(step) else 0

    def learns(self, step: int) -> list[str]:
        """The parts of the world model that are updated at a step."""
        since = step - self.first_updates
        parts = {"transformer": self.transformer_every, "tokenizer": self.tokenizer_every}
        return [part for part, every in parts.items() if every and (since < 0 or since % every == 0)]
