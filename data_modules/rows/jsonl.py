"""Read JSONL of interleaved text and images, one row a line.

Keys of a row: ``text_input``, ``image_input`` (a path or a list), and for training the answer in one of two forms:

- the official Mirage format: ``text_output`` and ``image_output`` (helper image or images);
- ``sequence_plan``: text and latent blocks in order (``plan.py``).

``<image>`` in ``text_input`` says where an input image goes and ``<output_image>`` in ``text_output`` where a latent
block goes; without markers both come first. After a backslash, as ``\\<image>``, a marker is the word itself, and the
backslash goes; so it is in :func:`interleave`'s every use, ``prompt=`` of ``infer`` included.

The one rule for image paths: a relative path is looked up under the image root (by default the folder of the JSONL
file), and if it is not there, with its leading folders dropped one by one until a file is found; then likewise in the
root's ``.zip`` files. It may not lead out of the root; an absolute path may, since official rows have them.
``task=jsonl``, which reads anybody's files, says otherwise of both (``rows.py``).
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, TypeVar

from data_modules.files.inline import InlineImage, read_data_url
from data_modules.files.packed import PackedImage
from data_modules.files.sources import open_source
from data_modules.files.zips import find_zipped
from data_modules.images import ImageSource
from data_modules.rows.boxes import Region
from data_modules.rows.media import unmark
from data_modules.rows.plan import read_plan
from data_modules.samples import Latent, Picture, Problem, Sample, Text, image_problems

INPUT, OUTPUT, META = (
    {"text_input", "image_input"},
    {"text_output", "image_output"},
    {"map_desc", "map_id", "level", "steps"},
)
KEYS = INPUT | OUTPUT | META | {"sequence_plan"}
IMAGE, OUTPUT_IMAGE = "<image>", "<output_image>"

P = TypeVar("P", Picture, Latent)

Leave = Literal["none", "absolute", "all"]
"""Which image paths may lead out of the image root."""

Image = str | PackedImage | InlineImage | Region

_HALF = re.compile(r"[\ud800-\udfff]")
"""Half of a character that UTF-16 writes as two; JSON may hold one, but no file or tokenizer takes it."""

_BASE64 = re.compile(r"(?:iVBORw0KGgo|/9j/|R0lGOD|UklGR)[A-Za-z0-9+/\s]{40,}={0,2}\s*")
"""A PNG, JPEG, GIF or WebP as base64, which is no path: paths of such length have a dot."""

_NO_PATH = re.compile(r"[\0-\x1f\ud800-\udfff]|.{4097}", re.DOTALL)
"""What no image path holds: control characters, halves of characters, and more characters than Linux takes."""


def locate(image: Image, root: Path, leave: Leave = "absolute") -> ImageSource:
    """Apply the path rule of this module; a file found nowhere is returned under ``root``, to fail when opened.

    Args:
        image: a path, a ``data:`` URL, base64, a region of one of these, or an image inside another file or the row,
            which has no path.
        root: the image root; what it links to is inside.
        leave: which paths may lead out of it.

    Raises:
        ValueError: the path leads out, but may not, or it is none.
    """
    if isinstance(image, Region):
        return replace(image, source=locate(image.source, root, leave))
    if not isinstance(image, str):
        return image
    if image.startswith("data:") or _BASE64.fullmatch(image):
        return read_data_url(image if image.startswith("data:") else f"data:;base64,{image}")
    if not image.strip():
        raise ValueError("the path of an image is empty; give one, or null for no image")
    if image.startswith(("http://", "https://")):
        raise ValueError(f"image {image:.200} is on the web; download it, and give the path of its file")
    if _NO_PATH.search(image):
        raise ValueError(f"image {image!r:.200} is no path; correct the row")
    absolute, inside = os.path.isabs(image), os.path.abspath(root)
    may_leave = leave == "all" or (leave == "absolute" and absolute)
    if not may_leave and not Path(os.path.abspath(root / image)).is_relative_to(inside):
        fix = "make it absolute" if leave == "absolute" else "set task.image_root or task.outside=true"
        raise ValueError(f"image {image} is outside {inside}; correct the path, or {fix}")
    return Path(image) if absolute else find_file(Path(os.path.normpath(image)).parts, root)


def find_file(parts: Sequence[str], root: Path) -> ImageSource:
    """Find an image by its relative path, as a file or in a ``.zip`` file; else return the file that isn't there."""
    tails = (root.joinpath(*parts[first:]) for first in range(len(parts)))
    file = next((tail for tail in tails if os.path.isfile(tail)), None)
    return file or find_zipped(root, parts) or root.joinpath(*parts)


def interleave(text: str, marker: str, parts: Sequence[P]) -> tuple[Text | P, ...]:
    """Put ``parts`` where ``marker`` stands in ``text``, or in front where there is no marker.

    A marker after a backslash is text, without the backslash.

    Raises:
        ValueError: there are markers, but not one for each part, or the text has halves of characters.
    """
    written = re.escape(marker)
    pieces = [piece.replace(f"\\{marker}", marker) for piece in re.split(rf"(?<!\\){written}", text)]
    if len(pieces) == 1:
        pieces = [""] * len(parts) + pieces
    if len(pieces) - 1 != len(parts):
        raise ValueError(
            f"{len(pieces) - 1} {marker} marker(s) for {len(parts)} image(s); give one marker for each image, or none, "
            f"and write \\{marker} for the word itself"
        )
    sequence: list[str | P] = [pieces[0]]
    for part, piece in zip(parts, pieces[1:], strict=True):
        sequence += [part, piece]
    return joined(sequence)


def joined(parts: Iterable[str | P]) -> tuple[Text | P, ...]:
    """Parts in order, neighbouring texts as one, empty ones left out.

    Raises:
        ValueError: a text has half a character, or a marker of a video.
    """
    sequence: list[Text | P] = []
    for is_text, run in groupby(parts, lambda part: isinstance(part, str)):
        if not is_text:
            sequence += run  # type: ignore[arg-type]
        elif text := "".join(run):  # type: ignore[arg-type]
            text = unmark(text)
            if half := _HALF.search(text):
                raise ValueError(f"text has half a character, {half[0]!r} at {half.start()}; was it cut in its middle?")
            sequence.append(Text(text))
    return tuple(sequence)


def _images(row: Mapping[str, Any], key: str) -> list[Image]:
    value = row.get(key) or []
    value = [value] if isinstance(value, Image) else value
    if not isinstance(value, list) or not all(isinstance(image, Image) for image in value):
        raise ValueError(f"{key} must be a path or a list of paths, got {value!r:.200}")
    return value


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key, "")
    if not isinstance(value, str):
        raise ValueError(f"{key} must be text, got {type(value).__name__}")
    return value


def _answer(row: Mapping[str, Any], root: Path, leave: Leave) -> tuple[Text | Latent, ...]:
    if "sequence_plan" in row:
        if both := OUTPUT & row.keys():
            raise ValueError(f"sequence_plan and {sorted(both)} both give the answer; keep one of the two forms")
        items = read_plan(row["sequence_plan"], OUTPUT_IMAGE)
        return joined(
            item if isinstance(item, str) else Latent(locate(item[0], root, leave), item[1]) for item in items
        )
    text, images = _text(row, "text_output"), _images(row, "image_output")
    if images and not text:
        raise ValueError(
            f"image_output has {len(images)} helper image(s), and text_output is empty; write the answer, or leave "
            "image_output out"
        )
    return interleave(text, OUTPUT_IMAGE, [Latent(locate(image, root, leave)) for image in images]) if text else ()


def parse_row(row: Mapping[str, Any], where: str, root: Path, leave: Leave = "absolute") -> Sample:
    """Turn one decoded row into a sample.

    Args:
        row: from a source (``sources.py``).
        where: ``file:line``, kept in the sample.
        root: folder for relative image paths.
        leave: which image paths may lead out of it.

    Raises:
        ValueError: what is wrong, without ``where``.
    """
    if missing := INPUT - row.keys():
        raise ValueError(f"missing key(s) {sorted(missing)}")
    if unknown := row.keys() - KEYS:
        raise ValueError(f"unknown key(s) {sorted(unknown)}; known are {sorted(KEYS)}")
    pictures = [Picture(locate(image, root, leave)) for image in _images(row, "image_input")]
    return Sample(
        where=where,
        question=interleave(_text(row, "text_input"), IMAGE, pictures),
        answer=_answer(row, root, leave),
        meta={key: row[key] for key in row.keys() & META},
    )


def read_samples(
    file: Path, image_root: Path | None = None, check: Callable[[Sample], object] = lambda sample: None
) -> Iterator[Sample | ValueError]:
    """Yield every row of a file as a sample, or as the error that names file and line.

    Args:
        file: JSONL, or any other kind that :func:`data_modules.files.sources.open_source` opens.
        image_root: folder for relative image paths; the file's own when ``None``.
        check: further demands of a data set; it raises ``ValueError`` on a bad sample.

    Raises:
        ValueError: the file does not exist, or holds no rows.
    """
    source = open_source(file)
    root = image_root or file.parent
    for index in range(len(source)):
        try:
            row, where = source[index], source.where(index)
        except ValueError as error:
            yield error
            continue
        try:
            sample = parse_row(row, where, root)
            check(sample)
        except ValueError as error:
            yield ValueError(f"{where}: {error}")
        else:
            yield sample


def load_samples(
    file: Path, image_root: Path | None = None, check: Callable[[Sample], object] = lambda sample: None
) -> list[Sample]:
    """Read a whole file.

    Raises:
        ValueError: at the first bad row, or when there is no row at all.
    """
    samples: list[Sample] = []
    for sample in read_samples(file, image_root, check):
        if isinstance(sample, ValueError):
            raise sample
        samples.append(sample)
    return samples


def problems(
    file: Path,
    image_root: Path | None = None,
    check: Callable[[Sample], object] = lambda sample: None,
    problem: Problem = lambda sample: None,
) -> Iterator[str]:
    """Yield what is wrong with every bad row of a file; every image is decoded.

    Raises:
        ValueError: the file does not exist, or holds no rows.
    """
    for sample in read_samples(file, image_root, check):
        if isinstance(sample, ValueError):
            yield str(sample)
            continue
        yield from image_problems(sample) or filter(None, [problem(sample)])
