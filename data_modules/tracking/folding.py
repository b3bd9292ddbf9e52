"""Folded paper with a hole through all its layers, which is unfolded again; how many holes are there?"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from PIL import Image, ImageDraw

from data_modules.rotation.pictures import INK, LINES, PAPER
from data_modules.tracking.puzzle import Places, Puzzle, Step, letter, shape, side

PAPER_CELL, HOLE = 1, 2
"""Cells: 0, no paper; paper; paper with a hole."""

SIDES = ("up", "right", "down", "left")
"""Where paper is unfolded to, by the first number of a step."""

DRAWS, RARE = 4000, 100
"""Questions that are drawn to see how many holes there can be."""

TABLE = (150, 150, 150)


class Sheet(NamedTuple):
    """Rows and columns that a folded sheet lies on; the ends are left out."""

    top: int
    right: int
    bottom: int
    left: int


@dataclass(frozen=True, kw_only=True)
class Folding(Puzzle):
    """A step is where the uppermost fold is opened to, and how many rows or columns it has.

    What is folded over shows the holes beneath it, mirrored at the fold.
    """

    kinds, sizes, form = HOLE, range(3, 9), "[0] up, [1] right, [2] down or [3] left, and the cells of the fold: [1, 2]"
    takes_room = True

    def answers(self, count: int) -> Sequence[str]:
        """Numbers of holes that at least one question in :data:`RARE` ends with."""
        random, ends = Random(0), Counter[int]()
        while ends.total() < DRAWS:
            places = self.begin(random)
            for _ in range(count):
                if (step := self.choose_step(random, places)) is None:
                    break
                places = self.apply(places, step)
            ends[places.count(HOLE)] += 1
        return [str(holes) for holes in sorted(ends) if ends[holes] * RARE >= DRAWS]

    def begin(self, random: Random) -> Places:
        """A small sheet anywhere, with a hole."""
        high, wide = random.randint(1, self.size // 2), random.randint(1, self.size // 2)
        top, left = random.randint(0, self.size - high), random.randint(0, self.size - wide)
        hole = random.randrange(top, top + high), random.randrange(left, left + wide)
        return tuple(
            HOLE if (row, column) == hole else int(top <= row < top + high and left <= column < left + wide)
            for row in range(self.size)
            for column in range(self.size)
        )

    def check(self, places: Places) -> None:
        """A rectangle with a hole."""
        sheet = find_sheet(places)
        if HOLE not in places or (sheet.bottom - sheet.top) * (sheet.right - sheet.left) != sum(map(bool, places)):
            raise ValueError(f"map_desc={shape(places)} must be a rectangle of paper, 1, with a hole, {HOLE}")

    def steps(self, places: Places) -> Sequence[Step]:
        """Folds no wider than the sheet and the room beside it."""
        sheet, size = find_sheet(places), side(places)
        high, wide = sheet.bottom - sheet.top, sheet.right - sheet.left
        above, right, below = min(high, sheet.top), min(wide, size - sheet.right), min(high, size - sheet.bottom)
        rooms = (above, right, below, min(wide, sheet.left))
        return [(to, width) for to, room in enumerate(rooms) for width in range(1, room + 1)]

    def apply(self, places: Places, step: Step) -> Places:
        """Lay the fold open."""
        (to, width), sheet, size = step, find_sheet(places), side(places)
        opened = list(places)
        for row in range(sheet.top, sheet.bottom):
            for column in range(sheet.left, sheet.right):
                at_row, at_column = mirror(row, column, sheet, to)
                depth = abs(at_row - row) + abs(at_column - column)
                if depth < 2 * width:
                    opened[at_row * size + at_column] = places[row * size + column]
        return tuple(opened)

    def answer(self, places: Places) -> str:
        """The number of holes."""
        return str(places.count(HOLE))

    def describe(self, places: Places) -> str:
        """Row and column of each hole, from the upper left: ``A2 C1``."""
        holes = [divmod(place, side(places)) for place, cell in enumerate(places) if cell == HOLE]
        return " ".join(f"{letter(row)}{column + 1}" for row, column in holes)

    def write(self, step: Step) -> str:
        """``right by 2``: a number in front would be taken for that of the step."""
        return f"{SIDES[step[0]]} by {step[1]}"

    def draw(self, places: Places, cell_px: int) -> Image.Image:
        """White paper with black holes on a grey table."""
        size = side(places)
        canvas = Image.new("RGB", (size * cell_px, size * cell_px), TABLE)
        pen, edge = ImageDraw.Draw(canvas), 0.25 * cell_px
        for place, cell in enumerate(places):
            x, y = place % size * cell_px, place // size * cell_px
            if cell:
                pen.rectangle((x, y, x + cell_px - 1, y + cell_px - 1), fill=PAPER, outline=LINES)
            if cell == HOLE:
                pen.ellipse((x + edge, y + edge, x + cell_px - 1 - edge, y + cell_px - 1 - edge), fill=INK)
        return canvas


def find_sheet(places: Places) -> Sheet:
    """Where paper lies."""
    cells = [divmod(place, side(places)) for place, cell in enumerate(places) if cell]
    rows, columns = zip(*cells, strict=True) if cells else ((0,), (0,))
    return Sheet(min(rows), max(columns) + 1, max(rows) + 1, min(columns))


def mirror(row: int, column: int, sheet: Sheet, to: int) -> tuple[int, int]:
    """The cell on the other side of the sheet's edge."""
    if to in (0, 2):
        edge = sheet.top if to == 0 else sheet.bottom
        return 2 * edge - 1 - row, column
    edge = sheet.right if to == 1 else sheet.left
    return row, 2 * edge - 1 - column
