"""Columns of anybody's file as the columns of ours: what ``task.columns`` says.

A row as it was read becomes a row in the official format (``jsonl.py``), images and all. Names of columns may be
nested, ``json.question`` (an entry of the object in column ``json``); ``row`` is the row's number or key in its file.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from string import Formatter
from typing import Any

from data_modules.files.packed import PackedImage
from data_modules.rows.choices import find_right, lettered
from data_modules.rows.jsonl import IMAGE, OUTPUT, OUTPUT_IMAGE

Row = Mapping[str, Any]

Order = Callable[[int], Sequence[int]]
"""From the number of choices to the order in which they are asked."""

MARKERS = {"text_input": ("image_input", IMAGE), "text_output": ("image_output", OUTPUT_IMAGE)}
"""For each text, the images that it shows, and what stands for one in it."""


@dataclass(frozen=True)
class Columns:
    r"""How a row in the official format is made of the columns of a file.

    A text is a template, ``{question} Answer in \boxed{{}}.``; it may use ``{lettered}``, the choices line by line, and
    ``{letter}``, that of the right one. One that uses a column which is null is left out. An image is a column, or a
    template for a path, or a list of these; a column may hold a list, and null is no image. What is ``None`` is taken
    from the row's column of the same name, if it has one.

    Attributes:
        text_input: the question.
        image_input: its images.
        text_output: the answer, for rows without a plan.
        image_output: its helper images, likewise.
        sequence_plan: the column of a plan (``plan.py``).
        choices: the column of a list of choices.
        right: the column of the right one: itself, its letter or its index.
        group: the column of what the row is counted under in reports.
        image_pattern: a regular expression for what stands for an image in the texts; its one group is the image's
            column.

    Raises:
        ValueError: a bad template or pattern, or ``choices`` without ``right``.
    """

    text_input: str | None = None
    image_input: str | Sequence[str] | None = None
    text_output: str | None = None
    image_output: str | Sequence[str] | None = None
    sequence_plan: str | None = None
    choices: str | None = None
    right: str | None = None
    group: str | None = None
    image_pattern: str | None = None

    def __post_init__(self) -> None:
        for text, (images, _) in MARKERS.items():
            for name in (text, images):
                for template in as_list(getattr(self, name)):
                    check_template(template, f"task.columns.{name}")
        if (self.choices is None) != (self.right is None):
            raise ValueError("task.columns.choices and task.columns.right go together; give both or neither")
        if self.image_pattern is not None:
            check_pattern(self.image_pattern)

    def official(self, row: Row, name: str, asked: Mapping[str, str]) -> dict[str, Any]:
        """Make a row in the official format, without columns that are null.

        Args:
            row: as it was read.
            name: its number or key in its file.
            asked: its choices, from :meth:`ask`.

        Raises:
            ValueError: a column isn't there, or holds something else; names it.
        """
        values = {"row": name, **row, **asked}
        made: dict[str, Any] = {}
        for key, take in TAKE.items():
            planned = key in OUTPUT and made["sequence_plan"] is not None
            given = None if planned else getattr(self, key)
            made[key] = row.get(key) if given is None else take(given, values)
        for text, (images, marker) in MARKERS.items():
            written = made[text]
            if self.image_pattern and isinstance(written, str) and (shown := re.findall(self.image_pattern, written)):
                made[text] = re.sub(self.image_pattern, marker, written)
                made[images] = [find_shown(column, row) for column in shown]
        return {"image_input": []} | {key: value for key, value in made.items() if value is not None}

    def group_of(self, row: Row) -> str | None:
        """Return what a row is counted under, ``None`` where nothing says so."""
        return None if self.group is None else str(look_up(self.group, row))

    def ask(self, row: Row, order: Order) -> dict[str, str]:
        """Return ``lettered`` and ``letter`` of a row, nothing without ``choices``.

        Args:
            row: as it was read.
            order: in which choices are asked.

        Raises:
            ValueError: the right one is not among the choices.
        """
        if self.choices is None or self.right is None:
            return {}
        choices = look_up(self.choices, row)
        right = find_right(look_up(self.right, row), choices)
        asked = order(len(choices))
        return {
            "lettered": lettered([choices[index] for index in asked]),
            "letter": chr(ord("A") + list(asked).index(right)),
        }


NAMES = tuple(entry.name for entry in fields(Columns))
"""What ``task.columns`` may say."""


def as_list(given: str | Sequence[str] | None) -> list[str]:
    """Return one or several as a list."""
    return [given] if isinstance(given, str) else list(given or ())


def check_template(template: str, name: str) -> None:
    """Demand text in which braces hold names of columns, or are double.

    Raises:
        ValueError: it isn't; names the option.
    """
    try:
        holes = [hole for _, *hole in Formatter().parse(template) if hole[0] is not None]
    except ValueError as error:
        raise ValueError(
            f"{name}={template} is no template ({error}); double braces that are text: {{{{ }}}}"
        ) from None
    if any(not column or spec or conversion for column, spec, conversion in holes):
        raise ValueError(
            f"{name}={template} is no template; braces hold the name of a column, and text has them double"
        )


def check_pattern(pattern: str) -> None:
    """Demand a regular expression with one group.

    Raises:
        ValueError: it isn't.
    """
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"task.columns.image_pattern={pattern} is no pattern ({error})") from None
    if groups != 1:
        raise ValueError(f"task.columns.image_pattern={pattern} must have one group, the image's column")


def fill(template: str, row: Row) -> str | None:
    """Fill a template; ``None`` where a column is null.

    Raises:
        ValueError: a column isn't there, or is neither text nor a number.
    """
    pieces = list[str]()
    for text, column, _, _ in Formatter().parse(template):
        pieces.append(text)
        if column is None:
            continue
        value = look_up(column, row)
        if value is None:
            return None
        if not isinstance(value, str | int | float):
            raise ValueError(f"column {column} must be text or a number, got {type(value).__name__}")
        pieces.append(str(value))
    return "".join(pieces)


def look_up(column: str, row: Row) -> Any:
    """Return the value of a column; a dot leads into an object.

    Raises:
        ValueError: there is no such column.
    """
    if column in row:
        return row[column]
    head, _, tail = column.partition(".")
    if tail and isinstance(row.get(head), Mapping):
        return look_up(tail, row[head])
    raise ValueError(
        f"no column {column}; the row has {', '.join(map(str, row))}; correct task.columns, or give it null"
    )


def find_images(given: str | Sequence[str], row: Row) -> list[str | PackedImage]:
    """Return the images that columns hold, in order; templates are paths.

    Raises:
        ValueError: not one of the columns is there, or one holds no image.
    """
    found: list[Any] = []
    absent: list[ValueError] = []
    columns = as_list(given)
    for name in columns:
        try:
            value = fill(name, row) if "{" in name else look_up(name, row)
        except ValueError as error:
            absent.append(error)
            continue
        found += value if isinstance(value, list) else [] if value is None else [value]
    if columns and len(absent) == len(columns):
        raise absent[0]
    if wrong := [value for value in found if not isinstance(value, str | PackedImage)]:
        raise ValueError(f"{', '.join(columns)} must hold images or paths, got {type(wrong[0]).__name__}")
    return found


def find_shown(column: str, row: Row) -> str | PackedImage:
    """Return the image that a text shows.

    Raises:
        ValueError: its column isn't there, or holds no image or several.
    """
    found = find_images(column, row)
    if len(found) != 1:
        raise ValueError(f"the text shows image {column}, but that column holds {len(found)} images; correct the row")
    return found[0]


TAKE: dict[str, Callable[[Any, Row], Any]] = {
    "sequence_plan": look_up,
    "text_input": fill,
    "image_input": find_images,
    "text_output": fill,
    "image_output": find_images,
}
"""How a column of ours is made of what ``task.columns`` says of it."""
