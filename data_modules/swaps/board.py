"""Boards on which cells swap places: which letters cells have, and how they are drawn."""

from collections.abc import Sequence
from string import ascii_uppercase

from data_modules.rotation.polyomino import Board

ASKED = 1
"""The colour whose place is asked for: blue, see :data:`data_modules.rotation.pictures.COLORS`."""

Places = tuple[int, ...]
"""The colour of each place of a board, row by row; 0: none."""

Swap = tuple[int, int]
"""Two places whose contents change."""


def swap(places: Places, pair: Swap) -> Places:
    """Return the board after a swap."""
    changed = list(places)
    changed[pair[0]], changed[pair[1]] = places[pair[1]], places[pair[0]]
    return tuple(changed)


def follow(places: Places, swaps: Sequence[Swap]) -> list[Places]:
    """Return the board after each swap."""
    boards = list[Places]()
    for pair in swaps:
        boards.append(swap(boards[-1] if boards else places, pair))
    return boards


def shape(places: Places, size: int) -> Board:
    """Return the board as rows of ``size`` cells."""
    return tuple(places[first : first + size] for first in range(0, size * size, size))


def letter(place: int) -> str:
    """The letter of a place: A, B, … row by row."""
    return ascii_uppercase[place]


def write_swaps(swaps: Sequence[Swap], numbered: bool = False) -> str:
    """Write swaps: ``A E, C B``, or ``1 A E, 2 C B``."""
    texts = [f"{letter(first)} {letter(second)}" for first, second in swaps]
    return ", ".join(f"{number} {text}" if numbered else text for number, text in enumerate(texts, start=1))
