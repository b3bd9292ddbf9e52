"""Walks through worlds with depth and poses: how one goes, what is seen, and how it becomes episodes.

Shapes: T frames of H x W pixels; an action is three numbers, see :mod:`data_modules.worlds.walking`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data_modules.episodes.episode import Episode, write_episode
from data_modules.maker import Plan
from data_modules.worlds.loops import Action, circle, out_and_back, square
from data_modules.worlds.maker import PlayedEpisodes
from data_modules.worlds.views import View, gather_views

MOVES = ((1, 0), (1, 0), (1, 0), (1, 0), (1, -1), (1, 1), (0, -1), (0, 1), (-1, 0), (-1, -1), (-1, 1), (0, 0))
"""What a wanderer draws from: mostly ahead."""
FREE = 0.6
"""Share of its way that a wanderer wants to have free."""
TRIES = 12
KNOWN, NEW = "known map", "new map"
"""Groups: maps that training has walked in, and others."""


class Walkable(Protocol):
    """A world to walk in, which may break down with a :class:`data_modules.worlds.world.WorldFailure`.

    ``task.world`` in YAML is a function that opens one.
    """

    @property
    def num_maps(self) -> int | None:
        """How many maps there are; ``None``: as many as one likes."""

    @property
    def intrinsics_33(self) -> NDArray[np.float32]:
        """In pixels of its frames."""

    def reset(self, number: int, draws: np.random.Generator) -> None:
        """Begin in a map; the same draws begin at the same place."""

    def step(self, action: Action) -> object:
        """Act for a frame."""

    def look(self) -> View:
        """What is seen from here."""

    def foresee(self, action: Action, hold: int) -> float:
        """The share of the way of an action held for so many frames that is free; the world stays as it is."""


def wander(world: Walkable, hold: int, count: int, draws: np.random.Generator) -> Iterator[Action]:
    """Go mostly ahead and turn now and then, not against walls, for so many actions of ``hold`` frames."""
    turn, left = 0, 0
    for _ in range(count):
        if not left:
            turn, left = int(draws.choice([-1, 0, 0, 1])), int(draws.integers(1, 5))
        left -= 1
        action = (0, 0, int(draws.choice([-1, 1])))  # where all is blocked, look round
        for _ in range(TRIES):
            move = MOVES[draws.integers(len(MOVES))]
            if world.foresee((*move, turn), hold) >= FREE:
                action = (*move, turn)
                break
        yield action


WALKS = {"wander": wander, "circle": circle, "out_and_back": out_and_back, "square": square}


def walk(world: Walkable, kind: str, length: int, hold: int, draws: np.random.Generator) -> Episode:
    """Walk for so many frames through the map that the world is in."""
    views, actions, count = [world.look()], list[Action](), -(-(length - 1) // hold)
    for action in WALKS[kind](world, hold, count, draws):
        for _ in range(min(hold, length - len(views))):
            world.step(action)
            views.append(world.look())
            actions.append(action)
    frames, space = gather_views(views, world.intrinsics_33)
    return Episode(frames, np.array(actions, np.float32), None, geometry=space)


@dataclass(frozen=True, kw_only=True)
class WalkEpisodes(PlayedEpisodes):
    """Walks of train, val and test. Half of the walks of test are in maps that no other split has walked in.

    Attributes:
        maps: that train, val and the other half of test walk in.
        new_maps: of test alone.
        length: frames of a walk.
        hold: frames that an action lasts.
        walks: kinds that take turns, out of ``WALKS``.
    """

    maps: int
    new_maps: int
    length: int
    hold: int
    walks: Sequence[str]

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.walks) - WALKS.keys()):
            raise ValueError(f"task.walks has unknown {unknown}; choose from {', '.join(WALKS)}")
        if not self.walks:
            raise ValueError(f"task.walks=[] names no kind of walk; choose from {', '.join(WALKS)}")
        for name, value, least in (
            ("maps", self.maps, 1),
            ("new_maps", self.new_maps, 1),
            ("hold", self.hold, 1),
            ("length", self.length, 2),
        ):
            if value < least:
                raise ValueError(f"task.{name}={value} must be {least} or more")

    @property
    def turns(self) -> Sequence[float | str]:
        """The kinds of walks."""
        return list(self.walks)

    def place(self, plan: Plan) -> tuple[int, str]:
        """The number of a walk's map, and its group."""
        number = plan.content[0]
        if plan.split == "test" and number % 2:
            return self.maps + number // 2 % self.new_maps, NEW
        return number // (2 if plan.split == "test" else 1) % self.maps, KNOWN

    def check(self, world: Walkable) -> None:
        """Check that the world has as many maps.

        Raises:
            ValueError: it has fewer.
        """
        known = world.num_maps
        if known is not None and self.maps + self.new_maps > known:
            raise ValueError(
                f"task.maps={self.maps} and new_maps={self.new_maps} are more than the {known} that task.world.maps "
                "lists; lower them, or list more"
            )

    def draw(self, plan: Plan, folder: Path) -> dict[str, Any]:
        """Walk, and write what was seen; another walk of the map, if the world breaks down."""
        number, group = self.place(plan)
        name = f"{self.subfolder}/{plan.name}.npz"
        write_episode(folder / name, self.try_again(lambda failed: self.walk(plan, number, failed)))
        return {"episode": name, "length": self.length, "group": group, "map": number, "walk": plan.content[1]}

    def walk(self, plan: Plan, number: int, failed: int) -> Episode:
        """Walk in a map; so many walks failed before."""
        world, draws = self.open(), np.random.default_rng([*self.seed_of(plan), *[failed] * bool(failed)])
        world.reset(number, draws)
        return walk(world, plan.content[1], self.length, self.hold, draws)
