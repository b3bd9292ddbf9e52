"""Worlds whose goal is said in words."""

from typing import Protocol, runtime_checkable

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
