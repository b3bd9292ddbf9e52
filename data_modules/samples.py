"""What every data set serves: a question and an answer, each a sequence of text, pictures and latent blocks."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import IO, Any, Literal, Protocol

from PIL import Image


class ImageSource(Protocol):
    """Where an image file's bytes are: a :class:`~pathlib.Path`, or inside another file (``packed.PackedImage``).

    Its methods are those of a path, errors included; equal sources are the same image, and ``str`` names it.
    """

    def __hash__(self) -> int: ...

    def open(self, mode: Literal["rb"]) -> IO[bytes]:
        """Open the image file for reading."""
        ...

    def read_bytes(self) -> bytes:
        """Return the image file's bytes."""
        ...

    def is_file(self) -> bool:
        """Say whether there is a file to read it from."""
        ...

    def stat(self) -> os.stat_result:
        """Return what changes when the image does: size and time of the file it is in."""
        ...


@dataclass(frozen=True)
class Text:
    """A piece of text."""

    text: str


@dataclass(frozen=True)
class Picture:
    """An image the model is shown."""

    path: ImageSource


@dataclass(frozen=True)
class Latent:
    """A block of latent tokens.

    Attributes:
        path: the helper image that supervises it in stage 1.
        size: latent tokens in this block, 1 or more; the run's ``latent_size`` when ``None``.
    """

    path: ImageSource
    size: int | None = None


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


def question_digest(sample: Sample) -> str:
    """Digest of what is asked: of the question's texts and image files, wherever they lie.

    Returns:
        12 hex digits.

    Raises:
        ValueError: an image file can't be read; names the row.
    """
    parts = [_content(part, sample.where) for part in sample.question]
    return sha256(b"".join(sha256(part).digest() for part in parts)).hexdigest()[:12]


def _content(part: Text | Picture, where: str) -> bytes:
    if isinstance(part, Text):
        return part.text.encode()
    with _named(part.path, where):
        return part.path.read_bytes()


def open_image(source: ImageSource, where: str) -> Image.Image:
    """Decode an image as RGB.

    Args:
        source: the image.
        where: the row that asked for it, for the error.

    Raises:
        ValueError: it is missing, no readable image, or has more than ``PIL.Image.MAX_IMAGE_PIXELS``.
    """
    with _named(source, where), source.open("rb") as file, Image.open(file) as image:
        _check_pixels(image)
        return image.convert("RGB")


def image_size(source: ImageSource, where: str) -> tuple[int, int]:
    """Width and height of an image in pixels, from its header alone.

    Raises:
        ValueError: as :func:`open_image` does, as far as the header shows it.
    """
    with _named(source, where):
        return _image_size(source)


@lru_cache(1_000_000)
def _image_size(source: ImageSource) -> tuple[int, int]:
    with source.open("rb") as file, Image.open(file) as image:
        _check_pixels(image)
        return image.size


def _check_pixels(image: Image.Image) -> None:
    if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:  # Pillow itself allows twice
        raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")


@contextmanager
def _named(source: ImageSource, where: str) -> Iterator[None]:
    """Say whatever goes wrong with an image as one line that names row and image, a ``ValueError``."""
    try:
        yield
    except FileNotFoundError:
        raise ValueError(f"{where}: image {source} does not exist; correct the row or set task.image_root") from None
    except Image.DecompressionBombError as error:
        raise ValueError(f"{where}: image {source} is too large to decode ({error}); shrink it") from None
    except Exception as error:  # on damaged files Pillow raises whatever came up
        reason = next(iter(str(getattr(error, "strerror", None) or error).splitlines()), type(error).__name__)
        raise ValueError(f"{where}: image {source} cannot be read ({reason}); replace the file") from None
