"""Swaps: cells of a board exchange their contents; where is the blue one?"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from math import ceil
from random import Random

from PIL import Image

from data_modules.rotation.pictures import COLORS, draw_board
from data_modules.tracking.puzzle import Places, Puzzle, Step, letter, shape

BLUE = 1
"""The colour whose place is asked for, see :data:`data_modules.rotation.pictures.COLORS`."""


@dataclass(frozen=True, kw_only=True)
class Swaps(Puzzle):
    """A cell is 0, empty, or a colour. A step is a pair of places.

    Attributes:
        colors: coloured cells of new boards, one of each colour, 1 to 5; the first is the blue one.
        moving: share of the swaps that move the blue cell, rounded up; above 0.
    """

    kinds, sizes, form = len(COLORS), range(2, 6), "a pair of two places of the board, counted from 0, e.g. [0, 3]"
    asks_place = True

    colors: int
    moving: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.colors <= min(len(COLORS), self.size**2 - 2):
            raise ValueError(
                f"task.colors={self.colors} must be 1 to {len(COLORS)}, and two fewer than the board has cells"
            )
        if not 0 < self.moving <= 1:
            raise ValueError(f"task.moving={self.moving} must be above 0 and at most 1")

    def answers(self, count: int) -> Sequence[str]:
        """Any place."""
        return [letter(place) for place in range(self.size**2)]

    def begin(self, random: Random) -> Places:
        """Coloured cells anywhere."""
        places = [*range(1, self.colors + 1), *[0] * (self.size**2 - self.colors)]
        return tuple(random.sample(places, len(places)))

    def check(self, places: Places) -> None:
        """One blue cell."""
        if places.count(BLUE) != 1:
            raise ValueError(f"map_desc={shape(places)} must hold {BLUE}, the blue cell, once")

    def steps(self, places: Places) -> Sequence[Step]:
        """Every pair."""
        return list(permutations(range(len(places)), 2))

    def apply(self, places: Places, step: Step) -> Places:
        """Swap."""
        changed = list(places)
        changed[step[0]], changed[step[1]] = places[step[1]], places[step[0]]
        return tuple(changed)

    def answer(self, places: Places) -> str:
        """The place of the blue cell."""
        return letter(places.index(BLUE))

    def write(self, step: Step) -> str:
        """``A E``."""
        return f"{letter(step[0])} {letter(step[1])}"

    def normalize(self, step: Step) -> Step:
        """``A E`` for ``E A``."""
        return min(step), max(step)

    def draw(self, places: Places, cell_px: int) -> Image.Image:
        """Coloured cells."""
        return draw_board(shape(places), cell_px)

    def draw_question(self, random: Random, count: int, answer: str) -> tuple[Places, tuple[Step, ...]]:
        """Draw swaps of which as many move the blue cell as is asked, and name the places so that it ends right."""
        places, last = range(self.size**2), ord(answer) - ord(letter(0))
        moved = set(random.sample(range(count), ceil(self.moving * count)))
        blue, swaps = 0, list[Step]()
        for number in range(count):
            others = [place for place in places if place != blue]
            pair = [blue, random.choice(others)] if number in moved else random.sample(others, 2)
            blue = pair[1] if number in moved else blue
            swaps.append((pair[0], pair[1]) if random.random() < 0.5 else (pair[1], pair[0]))
        names = random.sample(places, len(places))
        at = names.index(last)
        names[at], names[blue] = names[blue], last
        start = [0] * len(places)
        for color, place in enumerate([names[0], *random.sample(sorted(names[1:]), self.colors - 1)], start=BLUE):
            start[place] = color
        return tuple(start), tuple((names[first], names[second]) for first, second in swaps)
