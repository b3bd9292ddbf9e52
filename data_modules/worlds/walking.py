"""How one walks: nine moves and three turns, as codes of text and as three numbers each.

The numbers of an action: forward, right and clockwise (seen from above), each -1, 0 or 1. Codes are DeepVerse's: the
move, then the turn, so that ``RL`` moves right and turns left.
"""

from collections.abc import Mapping

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
