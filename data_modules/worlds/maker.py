"""Make episodes of a world: of experts with noise and of random actions, which say what frames don't."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from data_modules.episodes.episode import write_episode
from data_modules.maker import Maker, Plan, in_order
from data_modules.worlds.play import check_policies, name_policy, play
from data_modules.worlds.world import World


@dataclass(frozen=True, kw_only=True)
class WorldEpisodes(Maker):
    """Episodes of train, val and test.

    Attributes:
        world: opens the world.
        episodes: how many of each split; policies take turns.
        length: frames of an episode.
        policies: standard deviations of the noise on an expert's actions, and ``random``.
    """

    subfolder: ClassVar[str] = "episodes"

    world: partial[World]
    episodes: Mapping[str, int]
    length: int
    policies: Sequence[float | str]

    def __post_init__(self) -> None:
        check_policies(self.policies, "task.policies")
        if self.length < 2:
            raise ValueError(f"task.length={self.length} must be 2 or more")

    def settings(self) -> dict[str, Any]:
        """The world by its name and its options."""
        kind: Any = self.world.func
        return super().settings() | {"world": {"name": f"{kind.__module__}.{kind.__qualname__}"} | self.world.keywords}

    def make(self) -> None:
        """Make them; that the world can be opened is found out before a process is started."""
        self.world()
        super().make()

    def plans(self) -> Iterator[Plan]:
        """Yield every episode."""
        for split in in_order(self.episodes):
            for number in range(self.episodes[split]):
                yield Plan(split, f"{split}_{number}", (number, self.policies[number % len(self.policies)]))

    def draw(self, plan: Plan, folder: Path) -> dict[str, Any]:
        """Play and write one episode."""
        number, policy = plan.content
        draws = np.random.default_rng([self.seed, sum(plan.split.encode()), number])
        episode, reached = play(self.world(), policy, self.length, draws)
        name = f"{self.subfolder}/{plan.name}.npz"
        write_episode(folder / name, episode)
        return {"episode": name, "length": self.length, "group": name_policy(policy), "reached": reached}
