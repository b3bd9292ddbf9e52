"""Rotation: which of several pieces is the one shown, after turning it?

Rows are JSONL (``data_modules.rows.jsonl``): ``map_desc`` is the board of the piece, ``level`` the group of the
question (``turn_90``), the first input image the piece, the others the candidates A, B, …; ``maker.py`` makes them.
"""

import json
from hashlib import sha256
from string import ascii_uppercase

from PIL import Image

from data_modules.images import open_image
from data_modules.rotation.pictures import COLORS, draw_question
from data_modules.rotation.polyomino import Board, canonical, parse_board
from data_modules.rows.choices import choice, grade_choice
from data_modules.rows.official import OfficialRows
from data_modules.samples import Picture, Sample
from data_modules.scores import Scores


def letters_of(sample: Sample) -> str:
    """The candidates' letters: one for each input image but the first."""
    return ascii_uppercase[: sum(isinstance(part, Picture) for part in sample.question) - 1]


def board_of(sample: Sample) -> Board:
    """Read the board of the piece.

    Raises:
        ValueError: there is none, or it is no board.
    """
    return parse_board(sample.meta.get("map_desc"), len(COLORS))


def check_row(sample: Sample) -> None:
    r"""Demand a piece, a group, candidates, and a right one among them, unless the answer is withheld.

    Raises:
        ValueError: what is missing.
    """
    board_of(sample)
    if not isinstance(sample.meta.get("level"), str):
        raise ValueError(f"level={sample.meta.get('level')!r} must name the question's group, e.g. turn_90")
    letters = letters_of(sample)
    if len(letters) < 2:
        raise ValueError("image_input must list the piece and two candidates or more")
    if sample.answer and choice(sample.answer_text) not in tuple(letters):
        raise ValueError(rf"text_output must hold \boxed{{…}} with a letter from A to {letters[-1]}")


class Rotation(OfficialRows):
    """Pieces to be turned, in order of the file."""

    def check(self, sample: Sample) -> None:
        """Demand a piece, a group, candidates, and a right one among them."""
        check_row(sample)

    def group(self, sample: Sample) -> str:
        """The question's group, ``turn_90`` for instance."""
        return str(sample.meta["level"])

    def identity(self, sample: Sample) -> str:
        """Digest of the piece, the same for all its turns and mirror images: whoever knows one knows the others.

        Returns:
            12 hex digits.
        """
        return sha256(json.dumps(canonical(board_of(sample))).encode()).hexdigest()[:12]

    def grade(self, sample: Sample, text: str) -> Scores:
        """Grade an answer by its boxed letter."""
        if not sample.answer:
            return Scores({}, "ungraded", self.group(sample))
        return grade_choice(choice(sample.answer_text), choice(text), self.group(sample))

    def draw(self, sample: Sample, text: str) -> Image.Image:
        """Draw the piece and the candidates in a row, the one that ``text`` chooses in a frame."""
        pictures = [open_image(part.path, sample.where) for part in sample.question if isinstance(part, Picture)]
        return draw_question(pictures[0], pictures[1:], letters_of(sample), choice(text))
