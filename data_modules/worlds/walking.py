"""How one walks: nine moves and three turns, as codes of text and as three numbers each; and where one is then.

The numbers of an action: forward, right and clockwise (seen from above), each -1, 0 or 1. Codes are DeepVerse's: the
move, then the turn, so that ``RL`` moves right and turns left.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

MOVES: Mapping[str, tuple[int, int]] = {
    "S": (0, 0),
    "F": (1, 0),
    "B": (-1, 0),
    "L": (0, -1),
    "R": (0, 1),
    "fL": (1, -1),
    "fR": (1, 1),
    "rL": (-1, -1),
    "rR": (-1, 1),
}
"""Code -> forward and right."""
TURNS: Mapping[str, int] = {"N": 0, "L": -1, "R": 1}
"""Code -> clockwise."""
ACTIONS: Mapping[str, tuple[int, int, int]] = {
    move + turn: (*numbers, clockwise) for move, numbers in MOVES.items() for turn, clockwise in TURNS.items()
}
"""All 27."""


def name_action(action: Sequence[float]) -> str:
    """The code of an action's numbers.

    Raises:
        ValueError: no code has these.
    """
    numbers = tuple(round(number) for number in action)
    if numbers not in (codes := {known: code for code, known in ACTIONS.items()}):
        raise ValueError(f"{list(action)} is no action: three numbers, each -1, 0 or 1")
    return codes[numbers]


def face(x: float, y: float, z: float, angle: float) -> NDArray[np.float32]:
    """The pose of a level camera, from its axes (x right, y down, z ahead) to the world's, [4, 4].

    Args:
        x: where it is.
        y: where it is; down.
        z: where it is.
        angle: radians clockwise from the world's z, seen from above.
    """
    sine, cosine = np.sin(angle), np.cos(angle)
    return np.array([[cosine, 0, sine, x], [0, 1, 0, y], [-sine, 0, cosine, z], [0, 0, 0, 1]], np.float32)
