"""Make episodes of a world: of experts with noise and of random actions, which say what frames don't."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from data_modules.episodes.episode import Episode, write_episode
from data_modules.maker import Maker, Plan, as_json, in_order
from data_modules.worlds.play import check_policies, name_policy, play
from data_modules.worlds.world import World, WorldFailure

TRIES = 3
"""Simulators that are started for an episode at most, if they break down."""
OPENED: dict[str, World] = {}
"""Settings -> the world of this process: some take long to open."""


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
        """The world by its name and the options on which episodes depend."""
        kind: Any = self.world.func
        options = {key: value for key, value in self.world.keywords.items() if key not in getattr(kind, "WHERE", ())}
        return super().settings() | {"world": {"name": f"{kind.__module__}.{kind.__qualname__}"} | options}

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
        episode, reached = self.play(policy, [self.seed, sum(plan.split.encode()), number])
        name = f"{self.subfolder}/{plan.name}.npz"
        write_episode(folder / name, episode)
        return {"episode": name, "length": self.length, "group": name_policy(policy), "reached": reached}

    def play(self, policy: float | str, seed: list[int]) -> tuple[Episode, bool]:
        """Play an episode, anew if the simulator breaks down.

        Raises:
            ValueError: it always does.
        """
        key = as_json(self.settings()["world"])
        for _ in range(TRIES):
            try:
                world = OPENED[key] = OPENED.get(key) or self.world()
                return play(world, policy, self.length, np.random.default_rng(seed))
            except WorldFailure as failure:
                last = failure
        raise ValueError(f"an episode failed {TRIES} times; the last time {last}")
