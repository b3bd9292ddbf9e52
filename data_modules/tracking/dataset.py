r"""Tracking: what does a board show after a list of steps?

Rows are JSONL (``data_modules.rows.jsonl``): ``map_desc`` is the board at the beginning, ``steps`` what is done to it,
the answer a letter or a number in a box; ``maker.py`` makes them.
"""

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from random import Random

from PIL import Image

from data_modules.images import open_image
from data_modules.rotation.polyomino import parse_board
from data_modules.rows.answers import boxed, undressed
from data_modules.rows.choices import grade_choice, read_letter
from data_modules.rows.official import OfficialRows
from data_modules.samples import Picture, Sample
from data_modules.scores import Scores
from data_modules.tracking.counterfactual import change_steps
from data_modules.tracking.puzzle import Places, Puzzle, Step, follow, frame_place, normalize_steps, side


class Tracking(OfficialRows):
    """Boards and steps, in order of the file.

    Args:
        puzzle: what boards show, and what steps do.
        image_root: of :class:`data_modules.rows.official.OfficialRows`.
    """

    def __init__(self, puzzle: Puzzle, image_root: str | Path | None = None) -> None:
        super().__init__(image_root)
        self.puzzle = puzzle

    def check(self, sample: Sample) -> None:
        """Demand a picture, a board, steps, and the right answer, unless it is withheld."""
        if not any(isinstance(part, Picture) for part in sample.question):
            raise ValueError("no picture of the board; give image_input")
        right = self.puzzle.answer(self.follow(sample)[-1])
        if sample.answer and read_answer(sample.answer_text) != right:
            raise ValueError(rf"text_output must end with \boxed{{{right}}}: that is right after the steps")

    def read_places(self, sample: Sample) -> Places:
        """Read the board at the beginning.

        Raises:
            ValueError: there is none, or none that can be.
        """
        board = parse_board(sample.meta.get("map_desc"), self.puzzle.kinds)
        places = tuple(cell for row in board for cell in row)
        self.puzzle.check(places)
        return places

    def read_steps(self, sample: Sample) -> list[Step]:
        """Read the steps.

        Raises:
            ValueError: they are no list of lists of whole numbers, or an empty one.
        """
        steps = sample.meta.get("steps")
        lists = isinstance(steps, list) and all(isinstance(step, list) for step in steps)
        if not steps or not lists or not all(type(number) is int for step in steps for number in step):
            raise ValueError(f"steps={steps!r} must be a list, each {self.puzzle.form}")
        return [tuple(step) for step in steps]

    def follow(self, sample: Sample) -> list[Places]:
        """The board after each step.

        Raises:
            ValueError: board or steps are wrong.
        """
        return follow(self.puzzle, self.read_places(sample), self.read_steps(sample))

    def group(self, sample: Sample) -> str:
        """How many steps, ``steps_6`` for instance."""
        return f"steps_{len(self.read_steps(sample))}"

    def identity(self, sample: Sample) -> str:
        """Digest of board and steps, 12 hex digits; the same for steps that do the same."""
        steps = normalize_steps(self.puzzle, self.read_steps(sample))
        return sha256(json.dumps([self.read_places(sample), steps]).encode()).hexdigest()[:12]

    def grade(self, sample: Sample, text: str) -> Scores:
        """Grade an answer by what its box holds."""
        if not sample.answer:
            return Scores({}, "ungraded", self.group(sample))
        return grade_choice(read_answer(sample.answer_text), read_answer(text), self.group(sample))

    def counterfactual(self, sample: Sample) -> Sample | None:
        """Exchange one step, so that the answer is another; ``None`` if the row isn't written as ours are."""
        random = Random(self.identity(sample))
        return change_steps(self.puzzle, sample, self.read_places(sample), self.read_steps(sample), random)

    def states(self, sample: Sample) -> Sequence[Sequence[int]]:
        """What each cell shows at the beginning and after each step."""
        return [self.read_places(sample), *self.follow(sample)]

    def draw(self, sample: Sample, text: str) -> Image.Image:
        """Draw the board at the beginning and, right of it, at the end, with a frame around a place that is named."""
        first = next(open_image(part.path, sample.where) for part in sample.question if isinstance(part, Picture))
        places = self.follow(sample)[-1]
        last = self.puzzle.draw(places, max(1, first.width // side(places)))
        if self.puzzle.asks_place:
            frame_place(last, places, read_answer(text))
        canvas = Image.new("RGB", (first.width + first.width // 4 + last.width, first.height), (255, 255, 255))
        canvas.paste(first, (0, 0))
        canvas.paste(last, (canvas.width - last.width, 0))
        return canvas


def read_answer(text: str) -> str | None:
    """The letter, as a capital, or the number that the last box of an answer holds; ``None``: neither."""
    content = boxed(text)
    if content is None:
        return None
    plain = undressed(content)
    return str(int(plain)) if plain.isdecimal() and len(plain) < 4 else read_letter(content)
