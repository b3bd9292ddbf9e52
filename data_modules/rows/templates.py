"""Names and templates that ``task.columns`` holds: what they say of a row."""

import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from string import Formatter
from typing import Any

from data_modules.files.inline import InlineImage
from data_modules.files.packed import PackedImage
from data_modules.rows.chat import find_image

Row = Mapping[str, Any]

GIVEN = ("row", "lettered", "letter", "stem")
"""What a template may use beside a row's own columns."""


def as_list(given: str | Sequence[str] | None) -> list[str]:
    """Return one or several as a list."""
    return [given] if isinstance(given, str) else list(given or ())


def bare(column: str) -> str:
    """Return a column's name, which may be given in braces as in a template."""
    return column[1:-1] if re.fullmatch(r"\{[^{}]+\}", column) else column


def holes(template: str) -> list[str]:
    """Return the columns that a template names."""
    return [column for _, column, _, _ in Formatter().parse(template) if column is not None]


def has_column(column: str, row: Row) -> bool:
    """Say whether a row has a column."""
    try:
        look_up(column, row)
    except ValueError:
        return False
    return True


def missing_column(template: str | None, rows: Sequence[Row]) -> str | None:
    """Return a column of a template that no row has; what a reader adds is no column."""
    names = [name for name in holes(template or "") if name not in GIVEN]
    return next((name for name in names if not any(has_column(name, row) for row in rows)), None)


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


def check_pattern(pattern: str | None, name: str, grouped: bool = False) -> None:
    """Demand a regular expression, with one group if it is ``grouped``, or nothing.

    Raises:
        ValueError: it isn't; names the option.
    """
    try:
        groups = re.compile(pattern or "()").groups
    except re.error as error:
        raise ValueError(f"{name}={pattern} is no pattern ({error})") from None
    if grouped and groups != 1:
        raise ValueError(f"{name}={pattern} must have one group, the image's column")


def mark_blocks(text: str, theirs: str, ours: str, count: int) -> str:
    """Write our marker in place of theirs; where ours is there already, beside each of theirs, theirs goes.

    Args:
        text: an answer.
        theirs: what stands for a latent block in it.
        ours: our marker.
        count: helper images of the answer.

    Raises:
        ValueError: their markers aren't one for each helper image.
    """
    marked = text.count(theirs)
    if marked not in (0, count):
        raise ValueError(f"the answer has {marked} {theirs} for {count} helper image(s) or box(es); give one for each")
    return text.replace(theirs, "" if ours in text else ours)


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
        value = as_text(column, row)
        if value is None:
            return None
        pieces.append(value)
    return "".join(pieces)


def as_text(column: str, row: Row) -> str | None:
    """Return a column as text; ``None`` where it is null.

    Raises:
        ValueError: it isn't there, or is neither text nor a number.
    """
    value = look_up(column, row)
    if not isinstance(value, str | int | float | Decimal | None):
        raise ValueError(f"column {column} must be text or a number, got {type(value).__name__}")
    return None if value is None else str(value)


def look_up(column: str, row: Row) -> Any:
    """Return the value of a column; a dot leads into an object, or to an item of a list.

    NaN, which tables hold where a number is missing, is ``None``.

    Raises:
        ValueError: there is no such column.
    """
    if column in row:
        value = row[column]
        return None if isinstance(value, float) and math.isnan(value) else value
    head, _, tail = column.partition(".")
    inner = row.get(head)
    if tail and isinstance(inner, Mapping):
        return look_up(tail, inner)
    if tail and isinstance(inner, list):
        items = {str(index): item for index, item in enumerate(inner)}
        items |= {str(index - len(inner)): item for index, item in enumerate(inner)}
        return look_up(tail, items)
    raise ValueError(
        f"no column {column}; the row has {', '.join(map(str, row))}; correct task.columns, or give it null"
    )


def find_images(given: str | Sequence[str], row: Row) -> list[str | PackedImage | InlineImage]:
    """Return the images that columns hold, in order; templates are paths, and null or no text is no image.

    Raises:
        ValueError: not one of the columns is there, or one holds no image.
    """
    found: list[Any] = []
    absent: list[ValueError] = []
    columns = as_list(given)
    for name in columns:
        try:
            value = fill(name, row) if "{" in bare(name) else look_up(bare(name), row)
        except ValueError as error:
            absent.append(error)
            continue
        found += value if isinstance(value, list) else [value]
    found = [find_image(value) if isinstance(value, Mapping) else value for value in found if value not in (None, "")]
    if columns and len(absent) == len(columns):
        raise absent[0]
    if wrong := [value for value in found if not isinstance(value, str | PackedImage | InlineImage)]:
        kind = type(wrong[0]).__name__
        raise ValueError(f"{', '.join(columns)} must hold images or paths, got {kind}; correct the row")
    return found


def find_shown(column: str, row: Row) -> str | PackedImage | InlineImage:
    """Return the image that a text shows.

    Raises:
        ValueError: its column isn't there, or holds no image or several.
    """
    found = find_images(column, row)
    if len(found) != 1:
        raise ValueError(f"the text shows image {column}, but that column holds {len(found)} images; correct the row")
    return found[0]
