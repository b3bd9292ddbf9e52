r"""Jigsaws: which of the candidates is the piece that is missing in a photograph.

Rows are the official JSONL (``data_modules.rows.jsonl``): the photograph with its hole, then the candidates, each a
picture of its own. ``level`` is the kind of the wrong candidates (``maker.py``). Rows from elsewhere may lack it, and
may answer in BLINK's way, ``(A)`` instead of ``\boxed{A}``.
"""

from PIL import Image

from data_modules.images import open_image
from data_modules.rows.choices import find_letter, grade_choice
from data_modules.rows.drawing import lay_out
from data_modules.rows.official import OfficialRows
from data_modules.samples import Picture, Sample
from data_modules.scores import Scores


def pictures(sample: Sample) -> list[Picture]:
    """Return the pictures of a question, in order."""
    return [part for part in sample.question if isinstance(part, Picture)]


def check_row(sample: Sample) -> None:
    """Demand an answer that is the letter of a candidate; it may be withheld.

    Raises:
        ValueError: the row can't be graded.
    """
    if not sample.answer:
        return
    letter = find_letter(sample.answer_text)
    if letter is None:
        raise ValueError(r"nothing to grade against; give a text_output with a \boxed{letter}")
    count = len(pictures(sample)) - 1
    if count > 0 and not 0 <= ord(letter) - ord("A") < count:  # one picture alone may show its candidates within
        raise ValueError(f"the answer is {letter}, but after the first picture there are {count} candidate(s)")


class Jigsaw(OfficialRows):
    """Photographs with a piece missing, in order of the file."""

    def check(self, sample: Sample) -> None:
        """Demand an answer that is the letter of a candidate."""
        check_row(sample)

    def group(self, sample: Sample) -> str:
        """The kind of the wrong candidates, ``choice`` where a row has none."""
        return str(sample.meta.get("level", "choice"))

    def grade(self, sample: Sample, text: str) -> Scores:
        """Grade an answer by its letter."""
        if not sample.answer:
            return Scores({}, "ungraded", self.group(sample))
        expected = find_letter(sample.answer_text)
        return grade_choice(expected, find_letter(text), self.group(sample))

    def draw(self, sample: Sample, text: str) -> Image.Image:
        """Lay the photograph and the candidates out in a row, the one that ``text`` settles on in a red frame."""
        letter = find_letter(text)
        images = [open_image(picture.path, sample.where) for picture in pictures(sample)]
        return lay_out(images, [ord(letter) - ord("A") + 1] if letter else [])
