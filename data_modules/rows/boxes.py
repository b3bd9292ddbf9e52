"""Boxes on images: the regions that a row's helper images are, where it has no other."""

import json
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal

from data_modules.images import measure, opened, shown

Box = tuple[float, float, float, float]
"""Left, top, right and bottom."""

UNITS = {"pixel": "fraction", "fraction": "pixel"}
"""What ``task.columns.box_unit`` may say, and the other one: of width and height, 0 to 1."""

FARTHEST = 1e9
"""More than the side of any image; what isn't less, as NaN isn't, is no side of a box."""

SLACK = 1
"""Pixels by which a box may leave its image, as rounded ones do; it is cut there."""

_LAST = re.compile(r"\[[^\[\]]*\]\s*$")


class BoxError(ValueError):
    """What is wrong with a box, and what to do about it (``fix``)."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(problem)
        self.fix = fix


@dataclass(frozen=True)
class Region:
    """What a box holds, as an image of its own (:class:`data_modules.images.ImageSource`).

    Attributes:
        source: the image; before :func:`data_modules.rows.jsonl.locate`, what a row has for it.
        box: on the image as it is shown.
        unit: one of :data:`UNITS`.
    """

    source: Any
    box: Box
    unit: str

    def __str__(self) -> str:
        return f"{self.source} in the box [{', '.join(f'{side:g}' for side in self.box)}]"

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """The whole pixels that the box touches: left, top, right and bottom, the last two outside.

        Raises:
            BoxError: it has no area, or leaves the image.
        """
        return fit_box(self.box, self.unit, measure(self.source))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, from the image's header alone."""
        left, top, right, bottom = self.bounds
        return right - left, bottom - top

    def read_bytes(self) -> bytes:
        """Return the region as a PPM file, which takes no time to write and read."""
        bounds, content = self.bounds, BytesIO()
        with opened(self.source) as image:
            shown(image).crop(bounds).save(content, "PPM")
        return content.getvalue()

    def open(self, mode: Literal["rb"] = "rb") -> BytesIO:
        """Return the region as an opened file."""
        return BytesIO(self.read_bytes())

    def is_file(self) -> bool:
        """Say whether there is a file to read the image from."""
        return bool(self.source.is_file())

    def stat(self) -> os.stat_result:
        """Return the status of the image's file."""
        status: os.stat_result = self.source.stat()
        return status


def fit_box(box: Box, unit: str, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the whole pixels that a box touches.

    Args:
        box: it.
        unit: of its sides, one of :data:`UNITS`.
        size: width and height of its image.

    Raises:
        BoxError: it has no area, or leaves the image by more than :data:`SLACK`.
    """
    width, height = size
    other = f"correct it, or task.columns.box_unit={UNITS[unit]}"
    if unit == "pixel" and max(box) <= 1:
        raise BoxError("the box looks like fractions of width and height", other)
    scale = (width, height) if unit == "fraction" else (1, 1)
    left, top, right, bottom = (round(side * scale[number % 2], 6) for number, side in enumerate(box))
    if right <= left or bottom <= top:
        raise BoxError("the box has no area: its sides must be left, top, right, bottom", "correct it")
    if min(left, top) < -SLACK or right > width + SLACK or bottom > height + SLACK:
        fix = other if unit == "fraction" and max(box) > 2 else "correct it"
        raise BoxError(f"the box leaves the image, which has {width} × {height} pixels", fix)
    bounds = (
        max(0, math.floor(left)),
        max(0, math.floor(top)),
        min(width, math.ceil(right)),
        min(height, math.ceil(bottom)),
    )
    if bounds[2] <= bounds[0] or bounds[3] <= bounds[1]:
        raise BoxError(f"the box leaves the image, which has {width} × {height} pixels", "correct it")
    return bounds


def read_boxes(value: object) -> list[Box]:
    """Read one box or several; nothing is none.

    Args:
        value: four numbers, a list of such, JSON of these, or a text that ends in ``[left, top, right, bottom]``, as
            Visual-CoT's paths of images do.

    Raises:
        ValueError: it is none of these.
    """
    if value in (None, "", []):
        return []
    entries = _parsed(value) if isinstance(value, str) else value
    if isinstance(entries, list) and entries and not any(isinstance(entry, list) for entry in entries):
        entries = [entries]
    if not isinstance(entries, list) or not all(_is_box(entry) for entry in entries):
        raise ValueError(f"a box must be [left, top, right, bottom], four numbers, got {value!r:.200}; correct the row")
    return [(float(left), float(top), float(right), float(bottom)) for left, top, right, bottom in entries]


def _parsed(text: str) -> object:
    for part in (text, *_LAST.findall(text)):
        try:
            return json.loads(part)
        except ValueError:
            continue
    return None


def _is_box(entry: object) -> bool:
    return isinstance(entry, list) and len(entry) == 4 and all(_is_side(side) for side in entry)


def _is_side(side: object) -> bool:
    return isinstance(side, int | float) and not isinstance(side, bool) and abs(side) < FARTHEST


def cut_out(value: object, images: Sequence[Any], unit: str) -> list[Region]:
    """Make a row's helper images of the boxes on the first of its images.

    Raises:
        ValueError: there are boxes but no image, or a value is no box.
    """
    boxes = read_boxes(value)
    if boxes and not images:
        raise ValueError("the row has boxes, but no image; say which it is, task.columns.image_input")
    return [Region(images[0], box, unit) for box in boxes]
