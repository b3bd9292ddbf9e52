"""Read a session's inputs from the rows of a file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mirage_pl.engine.inputs import check_kind


@dataclass(frozen=True)
class Request:
    """One row.

    Attributes:
        line: its number in the file, from 1.
        where: file and line, for errors.
        given: a session's inputs by name.
        error: why it can't be read, with file and line.
    """

    line: int
    where: str
    given: dict[str, Any]
    error: str | None = None


def text_key(takes: Mapping[str, str]) -> str:
    """The first text of what a session takes, for lines of a terminal or of a text file.

    Raises:
        ValueError: it takes no text.
    """
    for name, kind in takes.items():
        if kind == "text":
            return name
    names = ", ".join(takes) or "nothing"
    raise ValueError(f"this session takes {names}, and none of it is text, as a line would be; give a .jsonl file")


def read_requests(file: Path, takes: Mapping[str, str], given: Mapping[str, Any]) -> list[Request]:
    """Read a session's inputs, row by row.

    Args:
        file: ``.jsonl`` with an object per line, or text, whose lines are the session's first text input. Empty lines
            are skipped.
        takes: names and kinds of the inputs; relative paths start in the file's folder.
        given: defaults of the inputs.

    Raises:
        ValueError: no such file, no rows, or none that can be read: says why of the first.
    """
    if not file.is_file():
        raise ValueError(f"file={file} does not exist")
    key = None if file.suffix == ".jsonl" else text_key(takes)
    requests = []
    for number, line in enumerate(file.read_bytes().split(b"\n"), start=1):
        where = f"{file}:{number}"
        if line.strip(b"\xef\xbb\xbf \t\r"):
            try:
                row = read_row(line.decode("utf-8-sig").strip(), key, takes)
            except ValueError as error:
                requests.append(Request(number, where, {}, f"{where}: {error}"))
            else:
                inputs = {name: locate_paths(row[name], takes[name], file.parent) for name in row}
                requests.append(Request(number, where, dict(given) | inputs))
    if not requests:
        raise ValueError(f"file={file} holds no rows")
    if all(request.error for request in requests):
        raise ValueError(requests[0].error)
    return requests


def read_row(line: str, key: str | None, takes: Mapping[str, str]) -> dict[str, Any]:
    """Read one row.

    Args:
        line: as it stands in the file.
        key: the input that a line of text is; ``None``: lines are JSON.
        takes: names and kinds of the inputs.

    Raises:
        ValueError: no JSON object, a key that the session doesn't take, or a value of another type.
    """
    if key is not None:
        return {key: line}
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no JSON ({error})") from None
    if not isinstance(row, dict) or row.keys() - takes.keys():
        keys = ", ".join(map(str, row)) if isinstance(row, dict) else type(row).__name__
        raise ValueError(f"expected an object with keys out of {', '.join(takes)}, got {keys}")
    for name, value in row.items():
        if value is not None:
            check_kind(name, takes[name], value)
    return row


def locate_paths(value: Any, kind: str, folder: Path) -> Any:
    """Resolve paths of a row relative to its file's folder."""
    if kind in ("text", "number") or value is None:
        return value
    return [str(folder / path) for path in value] if isinstance(value, list) else str(folder / value)
