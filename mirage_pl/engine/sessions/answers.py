"""Answers to the rows of a file, in their order: ``answers.jsonl``. A command that was stopped goes on after the last.

A line has the row's ``line``, what was ``given``, and its ``text`` and ``files``, or the ``error`` of a row that wasn't
answered.
"""

import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from mirage_pl.engine.runs.folder import make_strict, write_json
from mirage_pl.engine.sessions.requests import Request

ANSWERS, SETTINGS = "answers.jsonl", "answers.json"


class Answers:
    """The answers of one file's rows.

    Args:
        out: their folder, which is made.
        requests: the rows.
        settings: what answers depend on besides.

    Attributes:
        lines: the answers so far, those of earlier commands included.
    """

    def __init__(self, out: Path, requests: Sequence[Request], settings: Mapping[str, Any]) -> None:
        self.file, self.requests = out / ANSWERS, requests
        self.settings = json.loads(json.dumps(make_strict(settings)))
        self.record = out / SETTINGS
        self.lines = self.read_lines()

    @property
    def left(self) -> Sequence[Request]:
        """The rows that are still to be answered."""
        return self.requests[len(self.lines) :]

    def read_lines(self) -> list[dict[str, Any]]:
        """Read what was answered before; a line that was cut off counts as not written.

        Raises:
            ValueError: it answers other rows, or under other settings.
        """
        if not self.file.is_file():
            return []
        fix = f"give another out=, or delete {self.file}"
        record = json.loads(self.record.read_text()) if self.record.is_file() else None
        if record != self.settings:
            raise ValueError(
                f"{self.file} was written with other settings ({name_difference(record, self.settings)}); {fix}"
            )
        lines = []
        for number, written in enumerate(self.file.read_bytes().split(b"\n")[:-1], start=1):
            line = json.loads(written)
            request = self.requests[number - 1] if number <= len(self.requests) else None
            if request is None or line != line | describe(request):
                raise ValueError(f"{self.file}:{number} answers line {line['line']} of a file that was another; {fix}")
            lines.append(line)
        return lines

    @contextmanager
    def writing(self) -> Iterator[IO[bytes]]:
        """Open the file to add to it.

        Raises:
            ValueError: another command does.
        """
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("ab") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ValueError(
                    f"{self.file} is written by another command; wait for it, or give another out="
                ) from None
            whole = self.file.read_bytes().rfind(b"\n") + 1
            file.truncate(whole)
            write_json(self.record, self.settings)
            yield file

    def add(self, file: IO[bytes], request: Request, use: Mapping[str, Any]) -> None:
        """Add the answer to the next row."""
        line = make_strict(describe(request) | dict(use))
        file.write(json.dumps(line, ensure_ascii=False, allow_nan=False).encode() + b"\n")
        file.flush()
        self.lines.append(line)


def describe(request: Request) -> dict[str, Any]:
    """What a line says of its row."""
    return dict(make_strict({"line": request.line, "given": request.given}))


def name_difference(before: Any, now: Any, path: str = "") -> str:
    """Name a value that isn't what it was."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return "they aren't known"
    for name in [*now, *before]:
        old, new = before.get(name), now.get(name)
        if old != new:
            deeper = isinstance(old, dict) and isinstance(new, dict)
            return name_difference(old, new, f"{path}{name}.") if deeper else f"{path}{name} was {old}, is {new}"
    return ""
