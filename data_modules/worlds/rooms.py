"""Rooms on a grid of cells: which are walls, how they and the ground look. A cell is 1 wide, walls are 1 high."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LEAST = 4
"""Cells: a room this wide isn't divided."""
STRIPES = (1, 2, 3)
"""On a cell of a wall."""


@dataclass(frozen=True)
class Rooms:
    """A map of K x K cells.

    Attributes:
        walls_KK: by x and z.
        colours_KK3: of walls, 0 to 1.
        stripes_KK: waves across a wall.
        ground_23: colours of the floor and of the ceiling.
    """

    walls_KK: NDArray[np.bool_]
    colours_KK3: Floats
    stripes_KK: Floats
    ground_23: Floats

    def is_free(self, x: float, z: float, radius: float) -> bool:
        """Whether a square of twice this radius touches no wall."""
        low, high = np.floor([x - radius, z - radius]).astype(int), np.floor([x + radius, z + radius]).astype(int)
        return not self.walls_KK[low[0] : high[0] + 1, low[1] : high[1] + 1].any()


def draw_rooms(number: int, size: int) -> Rooms:
    """Draw a map; the same number is the same one.

    Args:
        number: of the map.
        size: K.
    """
    draws = np.random.default_rng([number, size])
    walls = np.ones((size, size), bool)
    walls[1:-1, 1:-1] = False
    divide(walls, draws, 1, size - 1, 1, size - 1)
    for _ in range(size // 3):
        x, z = draws.integers(2, size - 2, 2)
        if not walls[x - 1 : x + 2, z - 1 : z + 2].any():
            walls[x, z] = True  # a pillar, all round which one can go
    base = draws.uniform(0.25, 0.95, (size // 3 + 1, size // 3 + 1, 3))
    colours = base.repeat(3, 0).repeat(3, 1)[:size, :size] * draws.uniform(0.85, 1.15, (size, size, 1))
    stripes = draws.choice(STRIPES, (size, size)).astype(float)
    return Rooms(walls, colours.clip(0, 1), stripes, draws.uniform(0.2, 0.6, (2, 3)) + [[0.1], [0.3]])


def divide(walls: NDArray[np.bool_], draws: np.random.Generator, left: int, right: int, low: int, high: int) -> None:
    """Part a room by a wall with a door two cells wide, again and again."""
    width, depth = right - left, high - low
    if max(width, depth) < 2 * LEAST or min(width, depth) < 2:
        return
    if width >= depth:
        at = int(draws.integers(left + LEAST - 1, right - LEAST + 1))
        door = int(draws.integers(low, high - 1))
        walls[at, low:high] = True
        walls[at, door : door + 2] = False
        divide(walls, draws, left, at, low, high)
        divide(walls, draws, at + 1, right, low, high)
    else:
        at = int(draws.integers(low + LEAST - 1, high - LEAST + 1))
        door = int(draws.integers(left, right - 1))
        walls[left:right, at] = True
        walls[door : door + 2, at] = False
        divide(walls, draws, left, right, low, at)
        divide(walls, draws, left, right, at + 1, high)
