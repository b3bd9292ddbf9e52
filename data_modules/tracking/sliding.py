"""Sliding tiles: a tile goes into the gap, again and again; where is the blue one?"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from PIL import Image

from data_modules.rotation.pictures import COLORS, draw_board
from data_modules.tracking.puzzle import Places, Puzzle, Step, follow, letter, shape, side

GAP, BLUE, PLAIN = 0, 1, len(COLORS)
"""Cells: the gap, the tile that is asked for, and tiles without a colour of their own, which are grey."""

WAYS = ("up", "down", "left", "right")
"""Where a tile goes, by the number of a step."""


@dataclass(frozen=True, kw_only=True)
class Sliding(Puzzle):
    """A cell is the gap or a tile's colour. A step is where the tile beside the gap goes.

    Attributes:
        colors: tiles of new boards that have a colour, 1 to 4; the others are grey.
    """

    kinds, sizes, form = len(COLORS), range(2, 6), "[0] up, [1] down, [2] left or [3] right, where a tile can go there"
    asks_place = True

    colors: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.colors <= min(PLAIN - 1, self.size**2 - 1):
            raise ValueError(f"task.colors={self.colors} must be 1 to {min(PLAIN - 1, self.size**2 - 1)}")

    def answers(self, count: int) -> Sequence[str]:
        """Any place."""
        return [letter(place) for place in range(self.size**2)]

    def begin(self, random: Random) -> Places:
        """Tiles anywhere."""
        tiles = [GAP, *range(BLUE, self.colors + 1)]
        tiles += [PLAIN] * (self.size**2 - len(tiles))
        return tuple(random.sample(tiles, len(tiles)))

    def draw_question(self, random: Random, count: int, answer: str) -> tuple[Places, tuple[Step, ...]] | None:
        """A question in which the blue tile never moves isn't drawn: most would be such."""
        if (drawn := super().draw_question(random, count, answer)) is None:
            return None
        places = {board.index(BLUE) for board in (drawn[0], *follow(self, *drawn))}
        return drawn if len(places) > 1 else None

    def check(self, places: Places) -> None:
        """One gap and one blue tile."""
        if places.count(GAP) != 1 or places.count(BLUE) != 1:
            raise ValueError(f"map_desc={shape(places)} must hold {GAP}, the gap, and {BLUE}, the blue tile, once each")

    def steps(self, places: Places) -> Sequence[Step]:
        """Ways in which a tile lies beside the gap."""
        return [(way,) for way in range(len(WAYS)) if self.find_tile(places, way) is not None]

    def find_tile(self, places: Places, way: int) -> int | None:
        """The place of the tile that goes this way into the gap; ``None``: there is none."""
        row, column = divmod(places.index(GAP), side(places))
        down, right = ((1, 0), (-1, 0), (0, 1), (0, -1))[way]
        row, column = row + down, column + right
        inside = 0 <= row < side(places) and 0 <= column < side(places)
        return row * side(places) + column if inside else None

    def apply(self, places: Places, step: Step) -> Places:
        """Exchange tile and gap."""
        tile, gap, changed = self.find_tile(places, step[0]), places.index(GAP), list(places)
        assert tile is not None
        changed[gap], changed[tile] = places[tile], GAP
        return tuple(changed)

    def answer(self, places: Places) -> str:
        """The place of the blue tile."""
        return letter(places.index(BLUE))

    def describe(self, places: Places) -> str:
        """The place of the blue tile, then that of the gap."""
        return f"{self.answer(places)} {letter(places.index(GAP))}"

    def write(self, step: Step) -> str:
        """``up``."""
        return WAYS[step[0]]

    def draw(self, places: Places, cell_px: int) -> Image.Image:
        """Coloured tiles; the gap is white."""
        return draw_board(shape(places), cell_px)
