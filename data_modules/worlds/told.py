"""Worlds whose goal is said in words."""

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from data_modules.worlds.world import Vector, World


@runtime_checkable
class Told(World, Protocol):
    """A world with an instruction, and a state in numbers."""

    @property
    def instruction(self) -> str:
        """What is to be done in this episode."""

    @property
    def others(self) -> list[str]:
        """Instructions that ask for something else that could be done here."""

    @property
    def group(self) -> str:
        """What reports count the episode under."""

    @property
    def split(self) -> str | None:
        """Which of the splits ``train``, ``val`` and ``test`` may have goals like this episode's; ``None``: all."""

    @property
    def plan(self) -> str:
        """What the expert would do next, in words; it follows from instruction and state."""

    @property
    def numbers(self) -> Vector:
        """The state: what is measured now, always as many numbers."""


def look(world: Told, views: int) -> NDArray[np.uint8]:
    """What some cameras see of a world, [V, H, W, 3]; one with several draws what each sees by a method ``film``.

    Raises:
        ValueError: it has fewer.
    """
    film = getattr(world, "film", None)  # isinstance would compute every property of the world
    seen_VHWC: NDArray[np.uint8] = world.draw()[None] if film is None else film()
    if len(seen_VHWC) < views:
        raise ValueError(f"{views} views, but {type(world).__name__} has {len(seen_VHWC)}; lower it")
    return seen_VHWC[:views]


def name_goal(world: Told) -> str:
    """What tells goals of one group apart: a world says it by ``goal``; otherwise it is what is to be done."""
    return str(getattr(world, "goal", "") or world.instruction)
