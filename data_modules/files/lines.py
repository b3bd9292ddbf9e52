"""Rows out of a file with one JSON object a line, by index: where lines start is kept, the lines aren't.

Legend: N rows, L lines.
"""

import gzip
import json
import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Sized
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkstemp
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.files.packed import check_length, plain_errors, read_at

BLOCK = 4 << 20
"""Bytes read at a time where a file is read through."""

UNPACKED_LIMIT = 16 << 30
"""Most bytes that a ``.gz`` file may unpack to."""


class JsonRows(ABC):
    """Rows that are JSON objects in a file, each at a known place; no row is kept.

    Args:
        file: the file.
        name: what it is called in errors, if not by its path.
    """

    layout: str
    """How rows should lie, for errors."""

    def __init__(self, file: Path, name: Path | None = None) -> None:
        self.file, self.name = file, name or file

    def __str__(self) -> str:
        return str(self.name)

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of rows."""

    @abstractmethod
    def where(self, index: int) -> str:
        """Name the place of a row, for errors."""

    @abstractmethod
    def span(self, index: int) -> tuple[int, int]:
        """Return the first byte of a row, and the byte after its last."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        where = self.where(index)
        start, end = self.span(index)
        try:
            row = decode(self.file, start, end - start)
            if not isinstance(row, dict):
                raise ValueError(f"a row must be a JSON object, got {type(row).__name__}; {self.layout}")
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        return row

    def folder(self, index: int) -> Path:
        """Return the file's folder."""
        return self.name.parent


class Lines(JsonRows):
    """The rows of a file with one JSON object a line; empty lines are skipped.

    Args:
        file: the file.
        name: what it is called in errors, if not by its path.

    Attributes:
        starts_L1: first byte of every line, and the file's size.
        lines_N: the lines that are rows, from 0.
    """

    layout = "write one object a line"

    def __init__(self, file: Path, name: Path | None = None) -> None:
        super().__init__(file, name)
        self.starts_L1, solid_L = index_lines(file)
        self.lines_N = np.flatnonzero(solid_L)

    def __len__(self) -> int:
        return len(self.lines_N)

    def span(self, index: int) -> tuple[int, int]:
        """Return where a line begins and ends."""
        start, end = self.starts_L1[self.lines_N[index] :][:2].tolist()
        return start, end

    def where(self, index: int) -> str:
        """Return ``file:line``, lines counted from 1."""
        return f"{self.name}:{self.lines_N[within(index, self)] + 1}"


def index_lines(file: Path) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Read a file through and find its lines.

    Returns:
        The first byte of every line with the file's size at the end, [L+1]; whether a line holds more than spaces, [L].
    """
    starts, solids = [np.zeros(1, np.int64)], []
    size, solid = 0, False  # of the line that the block before left unfinished
    with plain_errors(), file.open("rb") as stream:
        while block := stream.read(BLOCK):
            bytes_ = np.frombuffer(block, np.uint8)
            ends = np.flatnonzero(bytes_ == ord("\n")) + 1
            firsts = np.concatenate(([0], ends[ends < len(block)]))
            solid_pieces = np.logical_or.reduceat(_SOLID[bytes_], firsts)
            solid_pieces[0] |= solid
            solid = len(firsts) > len(ends) and bool(solid_pieces[-1])
            starts.append(ends + size)
            solids.append(solid_pieces[: len(ends)])
            size += len(block)
    if starts[-1].size == 0 or starts[-1][-1] < size:
        starts.append(np.array([size]))
        solids.append(np.array([solid]))
    return np.concatenate(starts), np.concatenate(solids) if solids else np.zeros(0, np.bool_)


_SOLID = ~np.isin(np.arange(256), list(b" \t\n\r\v\f"))
"""Bytes that aren't spaces."""


def unpack(file: Path) -> Path:
    """Unpack a ``.gz`` file, which can't be read from the middle, into the temporary folder, once.

    Raises:
        ValueError: it is damaged, or unpacks to more than ``UNPACKED_LIMIT``; doesn't name it.
    """
    return _unpack(file, file.stat().st_mtime_ns)


@lru_cache(None)
def _unpack(file: Path, written: int) -> Path:
    handle, name = mkstemp(".jsonl", dir=_temporary_folder().name)
    size = 0
    try:
        with os.fdopen(handle, "wb") as target, gzip.open(file) as packed:
            while block := packed.read(BLOCK):
                size += target.write(block)
                if size > UNPACKED_LIMIT:
                    raise ValueError(f"unpacks to more than {UNPACKED_LIMIT} bytes; split it")
    except (OSError, EOFError, zlib.error) as error:
        os.unlink(name)
        raise ValueError(f"cannot be unpacked ({error}); copy it again, or set TMPDIR to a larger disk") from None
    except ValueError:
        os.unlink(name)
        raise
    return Path(name)


@lru_cache(None)
def _temporary_folder() -> TemporaryDirectory[str]:
    """Removed when the process ends; not by a worker's end."""
    return TemporaryDirectory(prefix="mirage-")


def decode(file: Path, start: int, size: int) -> Any:
    """Decode a part of a file as JSON.

    Raises:
        ValueError: it isn't JSON, is too long or can't be read; doesn't name the file.
    """
    line = read_text(file, start, size)
    try:
        return json.loads(line)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text ({error.reason} at byte {error.start}); save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        fix = "is the row truncated?" if error.pos > 1 else 'a row is a JSON object, such as {"question": "…"}'
        raise ValueError(f"broken JSON ({error.msg} at column {error.colno}); {fix}") from None
    except RecursionError:
        raise ValueError("JSON is nested too deeply; flatten it") from None


def read_text(file: Path, start: int, size: int) -> bytes:
    """Read a part of a file that is text.

    Raises:
        ValueError: it is too long, or can't be read; doesn't name the file.
    """
    check_length(size)
    return read_at(file, start, size)


def within(index: int, rows: Sized) -> int:
    """Return an index that there is.

    Raises:
        IndexError: there isn't; ends a plain loop over a source too.
    """
    if not 0 <= index < len(rows):
        raise IndexError(f"no row {index} in {rows}, which has {len(rows)}")
    return index
