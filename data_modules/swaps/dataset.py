r"""Swaps: where is the blue cell after them?

Rows are JSONL (``data_modules.rows.jsonl``): ``map_desc`` is the board at the beginning, ``steps`` the pairs of places,
the answer a letter in a box; ``maker.py`` makes them.
"""

import json
from collections.abc import Sequence
from hashlib import sha256
from random import Random

from PIL import Image, ImageDraw

from data_modules.images import open_image
from data_modules.rotation.pictures import COLORS, draw_board
from data_modules.rotation.polyomino import parse_board
from data_modules.rows.choices import choice, grade_choice
from data_modules.rows.official import OfficialRows
from data_modules.samples import Picture, Sample
from data_modules.scores import Scores
from data_modules.swaps.board import ASKED, Places, Swap, follow, letter, shape
from data_modules.swaps.counterfactual import change_swaps


def read_places(sample: Sample) -> Places:
    """Read the board at the beginning.

    Raises:
        ValueError: there is none, or it hasn't one blue cell.
    """
    board = parse_board(sample.meta.get("map_desc"), len(COLORS))
    places = tuple(cell for row in board for cell in row)
    if places.count(ASKED) != 1:
        raise ValueError(f"map_desc={board} must hold {ASKED}, the blue cell, once")
    return places


def read_swaps(sample: Sample) -> list[Swap]:
    """Read the pairs of places.

    Raises:
        ValueError: there are none, or one is no pair of two places of the board.
    """
    swaps, count = sample.meta.get("steps"), len(read_places(sample))
    pairs = swaps if isinstance(swaps, list) else []
    valid = [
        isinstance(pair, list) and len(pair) == 2 and pair[0] != pair[1] and set(pair) <= set(range(count))
        for pair in pairs
        if isinstance(pair, list) and all(type(place) is int for place in pair)
    ]
    if not pairs or len(valid) != len(pairs) or not all(valid):
        raise ValueError(f"steps={swaps!r} must list pairs of two places from 0 to {count - 1}, e.g. [[0, 4], [2, 1]]")
    return [(first, second) for first, second in pairs]


class Tracking(OfficialRows):
    """Boards and swaps, in order of the file."""

    def check(self, sample: Sample) -> None:
        """Demand a picture, a board, swaps, and the right answer, unless it is withheld."""
        if not any(isinstance(part, Picture) for part in sample.question):
            raise ValueError("no picture of the board; give image_input")
        right = letter(follow(read_places(sample), read_swaps(sample))[-1].index(ASKED))
        if sample.answer and choice(sample.answer_text) != right:
            raise ValueError(rf"text_output must end with \boxed{{{right}}}: there is the blue cell after the swaps")

    def group(self, sample: Sample) -> str:
        """How many swaps, ``swaps_6`` for instance."""
        return f"swaps_{len(read_swaps(sample))}"

    def identity(self, sample: Sample) -> str:
        """Digest of board and swaps, 12 hex digits."""
        return sha256(json.dumps([read_places(sample), read_swaps(sample)]).encode()).hexdigest()[:12]

    def grade(self, sample: Sample, text: str) -> Scores:
        """Grade an answer by its boxed letter."""
        if not sample.answer:
            return Scores({}, "ungraded", self.group(sample))
        return grade_choice(choice(sample.answer_text), choice(text), self.group(sample))

    def counterfactual(self, sample: Sample) -> Sample | None:
        """Exchange one swap, so that the blue cell ends elsewhere; ``None`` if the row isn't written as ours are."""
        return change_swaps(sample, read_places(sample), read_swaps(sample), Random(self.identity(sample)))

    def states(self, sample: Sample) -> Sequence[Sequence[int]]:
        """The colour of each cell at the beginning and after each swap."""
        places = read_places(sample)
        return [places, *follow(places, read_swaps(sample))]

    def draw(self, sample: Sample, text: str) -> Image.Image:
        """Draw the board at the beginning and, right of it, at the end; the place that ``text`` names in a frame."""
        first = next(open_image(part.path, sample.where) for part in sample.question if isinstance(part, Picture))
        places = read_places(sample)
        size = round(len(places) ** 0.5)
        last = draw_board(shape(follow(places, read_swaps(sample))[-1], size), first.width // size)
        canvas = Image.new("RGB", (first.width + first.width // 4 + last.width, first.height), (255, 255, 255))
        canvas.paste(first, (0, 0))
        canvas.paste(frame_place(last, size, choice(text)), (canvas.width - last.width, 0))
        return canvas


def frame_place(board: Image.Image, size: int, named: str | None) -> Image.Image:
    """Frame the place of a letter; a letter that the board hasn't leaves it as it is."""
    place = -1 if named is None else ord(named) - ord(letter(0))
    if 0 <= place < size * size:
        side = board.width // size
        x, y = place % size * side, place // size * side
        ImageDraw.Draw(board).rectangle((x, y, x + side - 1, y + side - 1), None, (0, 0, 0), max(2, side // 10))
    return board
