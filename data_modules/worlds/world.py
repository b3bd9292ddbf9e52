"""What every simulated world is: a place that actions change, with pixels, rewards and a scripted expert."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
SEEDS = 1 << 31
"""Seeds of episodes, for simulators that are reset by one."""


class WorldFailure(RuntimeError):
    """The simulator broke down in the middle of an episode, which counts as failed; ``reset`` may begin another."""


class World(Protocol):
    """One simulator; where it may break down, each of these may raise :class:`WorldFailure`.

    ``task.world`` in YAML is a function that opens one: a partial of a class.
    """

    @property
    def side(self) -> int:
        """Pixels of a frame, in height and in width."""

    @property
    def width(self) -> int:
        """Numbers of an action, each from -1 to 1; others are clipped."""

    def reset(self, draws: np.random.Generator) -> None:
        """Begin an episode; the same draws begin the same one."""

    def step(self, action: Vector) -> float:
        """Act; return the reward on arriving."""

    def draw(self) -> NDArray[np.uint8]:
        """Draw a frame of how things are now, [side, side, 3]."""

    @property
    def reached(self) -> bool:
        """Whether the goal is reached now."""

    def choose_expert_action(self) -> Vector:
        """Return what the scripted expert does now.

        Raises:
            ValueError: this world has none.
        """
