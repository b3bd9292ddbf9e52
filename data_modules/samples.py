"""What every data set serves: a question and an answer, each a sequence of text, pictures and latent blocks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from PIL import Image

from data_modules.image_check import check_image
from data_modules.images import ImageSource, named, open_image


@dataclass(frozen=True)
class Text:
    """A piece of text."""

    text: str


@dataclass(frozen=True)
class Picture:
    """An image the model is shown."""

    path: ImageSource

    def decode(self, where: str) -> Image.Image:
        """Decode it, see :func:`data_modules.images.open_image`."""
        return open_image(self.path, where)


@dataclass(frozen=True)
class Latent:
    """A block of latent tokens.

    Attributes:
        path: the helper image that supervises it in stage 1.
        size: latent tokens in this block, 1 or more; the run's ``latent_size`` when ``None``.
    """

    path: ImageSource
    size: int | None = None

    def decode(self, where: str) -> Image.Image:
        """Decode its helper image, see :func:`data_modules.images.open_image`."""
        return open_image(self.path, where)


@dataclass(frozen=True)
class Sample:
    """One row of a data set.

    Attributes:
        where: ``file:line`` of the row, for errors and predictions.
        question: what the user says, in order.
        answer: what the model should say, in order; empty when a test file withholds it.
        meta: the row's other columns (``level``, ``map_desc``, …).
    """

    where: str
    question: tuple[Text | Picture, ...]
    answer: tuple[Text | Latent, ...]
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def answer_text(self) -> str:
        """The answer without its latent blocks."""
        return "".join(part.text for part in self.answer if isinstance(part, Text))


Problem = Callable[[Sample], str | None]
"""Says why a model can't be shown a sample, in a line that names its row; nothing where it can."""


def image_problems(sample: Sample) -> list[str]:
    """Decode every image of a sample, helper images included; a line for each that can't be read."""
    lines = []
    for part in (*sample.question, *sample.answer):
        if not isinstance(part, Text):
            try:
                check_image(part.path, sample.where)
            except ValueError as error:
                lines.append(str(error))
    return lines


def question_digest(sample: Sample) -> str:
    """Digest of what is asked: of the question's texts and image files, wherever they lie.

    Returns:
        12 hex digits.

    Raises:
        ValueError: an image file can't be read; names the row.
    """
    return _digest(sample.question, sample.where)


def answer_digest(sample: Sample) -> str:
    """Digest of the answer: of its texts and helper images, wherever they lie.

    Returns:
        12 hex digits.

    Raises:
        ValueError: an image file can't be read; names the row.
    """
    return _digest(sample.answer, sample.where)


def _digest(parts: Sequence[Text | Picture | Latent], where: str) -> str:
    return sha256(b"".join(sha256(_content(part, where)).digest() for part in parts)).hexdigest()[:12]


def _content(part: Text | Picture | Latent, where: str) -> bytes:
    if isinstance(part, Text):
        return part.text.encode()
    with named(part.path, where):
        return part.path.read_bytes()
