"""A walker on a board, who turns and goes ahead; where is it?"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from PIL import Image, ImageDraw

from data_modules.rotation.pictures import COLORS, draw_board
from data_modules.tracking.puzzle import Places, Puzzle, Step, letter, shape, side

HEADINGS = ("north", "east", "south", "west")
"""Cells: 0, nobody, or the walker, who looks to the heading of this number less 1."""

AHEAD = ((-1, 0), (0, 1), (1, 0), (0, -1))
"""Rows down and columns to the right, by heading."""

FORWARD, MOVES = 0, ("forward", "left", "right")


@dataclass(frozen=True, kw_only=True)
class Walker(Puzzle):
    """A step is one of :data:`MOVES`: a cell ahead, or a quarter turn. It doesn't leave the board.

    Attributes:
        moving: chance that a step of a new question goes ahead, where that can be; above 0.
    """

    kinds, sizes, form = len(HEADINGS), range(2, 6), "[0] forward, where the board goes on, [1] left or [2] right"
    asks_place = True

    moving: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.moving <= 1:
            raise ValueError(f"task.moving={self.moving} must be above 0 and at most 1")

    def answers(self, count: int) -> Sequence[str]:
        """Any place."""
        return [letter(place) for place in range(self.size**2)]

    def begin(self, random: Random) -> Places:
        """Anywhere, to any side."""
        return put_walker(self.size, random.randrange(self.size**2), random.randrange(len(HEADINGS)))

    def check(self, places: Places) -> None:
        """One walker."""
        if sum(map(bool, places)) != 1:
            raise ValueError(f"map_desc={shape(places)} must hold one walker: 1 north, 2 east, 3 south or 4 west")

    def steps(self, places: Places) -> Sequence[Step]:
        """Turns, and forward where the board goes on."""
        ahead = self.look_ahead(places) is not None
        return [(move,) for move in range(len(MOVES)) if move != FORWARD or ahead]

    def look_ahead(self, places: Places) -> int | None:
        """The place ahead; ``None``: the board ends."""
        place, heading = find_walker(places)
        row, column = divmod(place, side(places))
        row, column = row + AHEAD[heading][0], column + AHEAD[heading][1]
        return row * side(places) + column if 0 <= row < side(places) and 0 <= column < side(places) else None

    def choose_step(self, random: Random, places: Places) -> Step:
        """Ahead or a turn."""
        if self.look_ahead(places) is not None and random.random() < self.moving:
            return (FORWARD,)
        return (random.choice((1, 2)),)

    def apply(self, places: Places, step: Step) -> Places:
        """Go or turn."""
        place, heading = find_walker(places)
        ahead = self.look_ahead(places) if step[0] == FORWARD else place
        assert ahead is not None
        return put_walker(side(places), ahead, (heading + (0, -1, 1)[step[0]]) % len(HEADINGS))

    def answer(self, places: Places) -> str:
        """The walker's place."""
        return letter(find_walker(places)[0])

    def describe(self, places: Places) -> str:
        """Place and heading."""
        return f"{self.answer(places)} {HEADINGS[find_walker(places)[1]]}"

    def write(self, step: Step) -> str:
        """``forward``."""
        return MOVES[step[0]]

    def draw(self, places: Places, cell_px: int) -> Image.Image:
        """An empty board with a blue arrowhead."""
        canvas = draw_board(shape((0,) * len(places)), cell_px)
        place, heading = find_walker(places)
        row, column = divmod(place, side(places))
        down, right = AHEAD[heading]
        middle_x, middle_y, reach = (column + 0.5) * cell_px - 0.5, (row + 0.5) * cell_px - 0.5, 0.36 * cell_px
        tip = (middle_x + right * reach, middle_y + down * reach)
        feet = [
            (middle_x - right * reach + edge * down * reach, middle_y - down * reach + edge * right * reach)
            for edge in (-1, 1)
        ]
        ImageDraw.Draw(canvas).polygon([tip, *feet], fill=COLORS[0])
        return canvas


def find_walker(places: Places) -> tuple[int, int]:
    """Its place, and its heading from 0."""
    return next((place, cell - 1) for place, cell in enumerate(places) if cell)


def put_walker(size: int, place: int, heading: int) -> Places:
    """A board with the walker on it."""
    return tuple((heading + 1) * (at == place) for at in range(size**2))
