"""Read a session's inputs from the rows of a file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def text_key(takes: Mapping[str, str]) -> str:
    """The first text input of a session, for lines of a terminal or of a text file.

    Raises:
        ValueError: it takes no text.
    """
    for name, kind in takes.items():
        if kind == "text":
            return name
    raise ValueError(f"this session takes {', '.join(takes)}, and none of them is text; give a .jsonl file")


def read_requests(file: Path, takes: Mapping[str, str], given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Read a session's inputs, row by row.

    Args:
        file: ``.jsonl`` with an object per line, or text, whose lines are the session's first text input. Empty lines
            are skipped.
        takes: names and kinds of the inputs; relative paths start in the file's folder.
        given: defaults of the inputs.

    Raises:
        ValueError: no such file, no rows, or a row with other keys; names file and line.
    """
    if not file.is_file():
        raise ValueError(f"file={file} does not exist")
    requests = []
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if line.strip():
            row = (
                read_row(line, f"{file}:{number}", takes)
                if file.suffix == ".jsonl"
                else {text_key(takes): line.strip()}
            )
            requests.append(dict(given) | {name: locate_paths(row[name], takes[name], file.parent) for name in row})
    if not requests:
        raise ValueError(f"file={file} holds no rows")
    return requests


def read_row(line: str, where: str, takes: Mapping[str, str]) -> dict[str, Any]:
    """Read one row.

    Raises:
        ValueError: no JSON object, or a key that the session doesn't take.
    """
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where}: no JSON ({error})") from None
    if not isinstance(row, dict) or row.keys() - takes.keys():
        keys = ", ".join(map(str, row)) if isinstance(row, dict) else type(row).__name__
        raise ValueError(f"{where}: expected an object with keys out of {', '.join(takes)}, got {keys}")
    return row


def locate_paths(value: Any, kind: str, folder: Path) -> Any:
    """Resolve paths of a row relative to its file's folder."""
    if kind in ("text", "number") or value is None:
        return value
    return [str(folder / path) for path in value] if isinstance(value, list) else str(folder / value)
