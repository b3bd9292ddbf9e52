"""A die that is rolled over its edges; what is on top?"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from PIL import Image, ImageDraw

from data_modules.rotation.pictures import INK, LINES, PAPER
from data_modules.tracking.puzzle import Places, Puzzle, Step, shape

NORTH, WEST, TOP, EAST, SOUTH = 1, 3, 4, 5, 7
"""Places of the faces that can be seen from above, on a board of 3 x 3; others are 0, the bottom is hidden."""

OPPOSITE = 7
"""Of faces that lie opposite each other, the sum."""

WAYS = ("north", "east", "south", "west")
"""Where it is rolled, by the number of a step."""

FROM = (SOUTH, WEST, NORTH, EAST)
"""The place of the face that comes to the top, by the number of a step."""

PIPS = {1: [4], 2: [0, 8], 3: [0, 4, 8], 4: [0, 2, 6, 8], 5: [0, 2, 4, 6, 8], 6: [0, 2, 3, 5, 6, 8]}
"""Which of 3 x 3 places of a face have a pip."""


@dataclass(frozen=True, kw_only=True)
class Die(Puzzle):
    """A board is the die from above, its sides folded out; a western one: 1, 2, 3 are anticlockwise at a corner."""

    kinds, sizes, form = 6, range(3, 4), "[0] north, [1] east, [2] south or [3] west"

    def answers(self, count: int) -> Sequence[str]:
        """Any face."""
        return [str(face) for face in range(1, 7)]

    def begin(self, random: Random) -> Places:
        """One of its 24 positions."""
        return random.choice(POSITIONS)

    def check(self, places: Places) -> None:
        """A position of a die."""
        if places not in POSITIONS:
            raise ValueError(
                f"map_desc={shape(places)} is no die: expected [[0, north, 0], [west, top, east], [0, south, 0]], "
                f"opposite faces adding up to {OPPOSITE}, such as [[0, 3, 0], [5, 1, 2], [0, 4, 0]]"
            )

    def steps(self, places: Places) -> Sequence[Step]:
        """All four."""
        return [(way,) for way in range(len(WAYS))]

    def apply(self, places: Places, step: Step) -> Places:
        """Roll it."""
        return roll(places, step[0])

    def answer(self, places: Places) -> str:
        """The face on top."""
        return str(places[TOP])

    def describe(self, places: Places) -> str:
        """The faces on top, in the north and in the east."""
        return f"{places[TOP]} {places[NORTH]} {places[EAST]}"

    def write(self, step: Step) -> str:
        """``north``."""
        return WAYS[step[0]]

    def draw(self, places: Places, cell_px: int) -> Image.Image:
        """Five faces with their pips."""
        canvas = Image.new("RGB", (3 * cell_px, 3 * cell_px), LINES)
        pen, dot = ImageDraw.Draw(canvas), max(1.0, 0.1 * cell_px)
        for place, face in enumerate(places):
            x, y = place % 3 * cell_px, place // 3 * cell_px
            if face:
                pen.rectangle((x, y, x + cell_px - 1, y + cell_px - 1), fill=PAPER, outline=LINES)
            for pip in PIPS.get(face, ()):
                left, top = ((0.25 + 0.25 * part) * cell_px - 0.5 for part in (pip % 3, pip // 3))
                pen.ellipse((x + left - dot, y + top - dot, x + left + dot, y + top + dot), fill=INK)
        return canvas


def roll(places: Places, way: int) -> Places:
    """The die after it was rolled over an edge."""
    rolled, ahead, back = list(places), FROM[(way + 2) % 4], FROM[way]
    rolled[TOP], rolled[ahead], rolled[back] = places[back], places[TOP], OPPOSITE - places[TOP]
    return tuple(rolled)


def list_positions() -> Sequence[Places]:
    """All positions that rolls lead to, from one of a western die."""
    positions: list[Places] = [(0, 3, 0, 5, 1, 2, 0, 4, 0)]
    for places in positions:
        positions += [new for way in range(len(WAYS)) if (new := roll(places, way)) not in positions]
    return positions


POSITIONS = list_positions()
