"""Rows out of ``.csv`` and ``.tsv`` files, by index: where rows start is kept, the rows aren't.

Legend: N rows.
"""

import csv
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.files.lines import BLOCK, read_text, within
from data_modules.files.packed import TEXT_LIMIT, plain_errors, read_at

csv.field_size_limit(TEXT_LIMIT)  # an image as base64 is longer than Python's limit


class Table:
    """The rows of a table whose first row names the columns; all values are text. Quoted ones may hold line ends.

    Attributes:
        starts_N1: first byte of every row, and the file's size.
        lines_N: the line in which each row starts, from 1.

    Raises:
        ValueError: it has no header, or one with a name twice; doesn't name the file.
    """

    def __init__(self, file: Path) -> None:
        self.file, self.delimiter = file, "\t" if file.suffix.lower() == ".tsv" else ","
        self.starts_N1, self.lines_N = index_rows(file)
        self.columns = self._fields(0) if len(self.lines_N) else []
        self.starts_N1, self.lines_N = self.starts_N1[1:], self.lines_N[1:]
        if not any(self.columns) or len(set(self.columns)) < len(self.columns):
            raise ValueError(f"its first line must name the columns, each once, got {self.columns!r:.200}")

    def __str__(self) -> str:
        return str(self.file)

    def __len__(self) -> int:
        return len(self.lines_N)

    def __getitem__(self, index: int) -> dict[str, Any]:
        where = self.where(index)
        try:
            fields = self._fields(index)
            if len(fields) != len(self.columns):
                raise ValueError(f"{len(fields)} values for {len(self.columns)} columns; is a quotation mark missing?")
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        return dict(zip(self.columns, fields, strict=True))

    def where(self, index: int) -> str:
        """Return ``file:line``, lines counted from 1."""
        return f"{self.file}:{self.lines_N[within(index, self)]}"

    def folder(self, index: int) -> Path:
        """Return the file's folder."""
        return self.file.parent

    def _fields(self, index: int) -> list[str]:
        start, end = self.starts_N1[index:][:2].tolist()
        try:
            text = read_text(self.file, start, end - start).decode("utf-8-sig" if start == 0 else "utf-8")
            return next(csv.reader(StringIO(text, newline=""), delimiter=self.delimiter, strict=True), [])
        except UnicodeDecodeError as error:
            raise ValueError(f"not UTF-8 text ({error.reason} at byte {error.start}); save the file as UTF-8") from None
        except csv.Error as error:
            raise ValueError(f"broken table ({error}); quote values that hold quotation marks") from None


def index_rows(file: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Read a file through and find its rows: a line end within quotation marks ends none, and empty lines are none.

    Returns:
        The first byte of every row with the file's size at the end, [N+1]; the line in which each starts, from 1, [N].
    """
    ends, lines = [np.zeros(1, np.int64)], [np.ones(1, np.int64)]
    size, quoted, line = 0, 0, 1
    with plain_errors(), file.open("rb") as stream:
        while block := stream.read(BLOCK):
            bytes_ = np.frombuffer(block, np.uint8)
            marks = np.cumsum(bytes_ == ord('"')) + quoted
            newlines = np.flatnonzero(bytes_ == ord("\n"))
            outside = np.flatnonzero(marks[newlines] % 2 == 0)
            ends.append(newlines[outside] + 1 + size)
            lines.append(outside + 1 + line)
            size, quoted, line = size + len(block), int(marks[-1]) % 2, line + len(newlines)
    starts, numbers = np.concatenate(ends), np.concatenate(lines)
    if starts[-1] == size:
        numbers = numbers[:-1]
    else:
        starts = np.append(starts, size)
    lengths = np.diff(starts)
    solid = lengths > 1
    for row in np.flatnonzero(lengths == 2).tolist():
        solid[row] = read_at(file, int(starts[row]), 2) != b"\r\n"
    return np.append(starts[:-1][solid], size), numbers[solid]
