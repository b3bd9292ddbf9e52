"""Make episodes of a world: of experts with noise and of random actions, which say what frames don't."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from data_modules.episodes.episode import Episode, write_episode
from data_modules.maker import Maker, Plan, as_json, in_order
from data_modules.worlds.play import check_policies, name_policy, play
from data_modules.worlds.world import WorldFailure

TRIES = 3
"""Simulators that are started for an episode at most, if they break down."""
SHARED = (
    "side",
    "width",
    "height",
    "scene",
    "scenes",
    "entries",
    "levels",
    "things",
    "depth",
    "new_missions",
    "options",
)
"""Options of worlds that are set by keys of the task; the others are keys of ``task.world``."""
Played = TypeVar("Played")
OPENED: dict[str, Any] = {}
"""Settings -> the world of this process: some take long to open."""


@dataclass(frozen=True, kw_only=True)
class PlayedEpisodes(Maker):
    """What is played in a world: so many episodes of each split, by policies that take turns.

    Attributes:
        world: opens the world.
        episodes: how many of each split.
    """

    subfolder: ClassVar[str] = "episodes"

    world: partial[Any]
    episodes: Mapping[str, int]

    @property
    @abstractmethod
    def turns(self) -> Sequence[float | str]:
        """The policies."""

    def settings(self) -> dict[str, Any]:
        """The world by its name and the options on which episodes depend."""
        kind: Any = self.world.func
        options = {key: value for key, value in self.world.keywords.items() if key not in getattr(kind, "WHERE", ())}
        return super().settings() | {"world": {"name": f"{kind.__module__}.{kind.__qualname__}"} | options}

    def name_key(self, path: Sequence[str]) -> str:
        """A world's options are keys of ``task.world``, those in :data:`SHARED` of the task."""
        if path[0] != "world" or len(path) < 2:
            return super().name_key(path)
        if path[1] in SHARED:
            return super().name_key(path[2:] if path[1] == "options" else path[1:])
        return super().name_key(["world", "_target_"] if path[1] == "name" else path)

    def make(self) -> None:
        """Make them; that the world can be opened is found out before a process is started."""
        self.check(self.world())
        super().make()

    def check(self, world: Any) -> None:
        """Check that the world is one for these episodes; raise a ``ValueError`` otherwise."""

    def plans(self) -> Iterator[Plan]:
        """Yield every episode."""
        for split in in_order(self.episodes):
            for number in range(self.episodes[split]):
                yield Plan(split, f"{split}_{number}", (number, self.turns[number % len(self.turns)]))

    def seed_of(self, plan: Plan) -> list[int]:
        """What an episode's draws depend on."""
        return [self.seed, sum(plan.split.encode()), plan.content[0]]

    def open(self) -> Any:
        """The world of this process."""
        key = as_json(self.settings()["world"])
        OPENED[key] = OPENED.get(key) or self.world()
        return OPENED[key]

    def try_again(self, play: Callable[[int], Played]) -> Played:
        """Play an episode, anew if the world breaks down; ``play`` is given how often it did before.

        Raises:
            ValueError: it always does.
        """
        for failed in range(TRIES):
            try:
                return play(failed)
            except WorldFailure as failure:
                last = failure
        raise ValueError(f"an episode failed {TRIES} times; the last time {last}")


@dataclass(frozen=True, kw_only=True)
class WorldEpisodes(PlayedEpisodes):
    """Episodes of train, val and test.

    Attributes:
        length: frames of an episode.
        policies: standard deviations of the noise on an expert's actions, and ``random``.
    """

    length: int
    policies: Sequence[float | str]

    def __post_init__(self) -> None:
        check_policies(self.policies, "task.policies")
        if self.length < 2:
            raise ValueError(f"task.length={self.length} must be 2 or more")

    @property
    def turns(self) -> Sequence[float | str]:
        """The policies."""
        return self.policies

    def draw(self, plan: Plan, folder: Path) -> dict[str, Any]:
        """Play and write one episode."""
        policy = plan.content[1]
        episode, reached = self.play(policy, self.seed_of(plan))
        name = f"{self.subfolder}/{plan.name}.npz"
        write_episode(folder / name, episode)
        return {"episode": name, "length": self.length, "group": name_policy(policy), "reached": reached}

    def play(self, policy: float | str, seed: list[int]) -> tuple[Episode, bool]:
        """Play an episode, the same anew if the simulator breaks down.

        Raises:
            ValueError: it always does.
        """
        return self.try_again(lambda _: play(self.open(), policy, self.length, np.random.default_rng(seed)))
