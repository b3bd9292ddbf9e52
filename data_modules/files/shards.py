"""Rows out of a tar file in WebDataset's layout, by index: where members lie is kept, the members aren't.

Legend: N rows, M members.
"""

import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from data_modules.files.lines import decode, read_text, within
from data_modules.files.packed import PackedImage, read_at

TEXTS = ("txt", "text", "transcript", "cls", "id")
"""Kinds of members that hold text or a number."""


class Tar:
    """The rows of a tar file in WebDataset's layout: the members whose names agree up to the first dot are a row.

    What follows the dot is the column: ``json`` is decoded, :data:`TEXTS` are text, all else refers to an image.
    Members without a dot, and hidden ones, belong to no row.

    Attributes:
        members_M2: where each member's header and data start, row by row.
        bounds_N1: the first member of each row, and their number.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        rows = index_tar(file).values()
        self.members_M2 = np.array([place for row in rows for place in row.values()], dtype=np.int64)
        self.bounds_N1 = np.cumsum([0, *map(len, rows)])

    def __str__(self) -> str:
        return str(self.file)

    def __len__(self) -> int:
        return len(self.bounds_N1) - 1

    def __getitem__(self, index: int) -> dict[str, Any]:
        members = list(self._members(index))
        return {column: self._value(key, column, start, size) for key, column, start, size in members}

    def where(self, index: int) -> str:
        """Return ``file:key``."""
        return f"{self.file}:{next(self._members(index))[0]}"

    def folder(self, index: int) -> Path:
        """Return the file's folder."""
        return self.file.parent

    def _members(self, index: int) -> Iterator[tuple[str, str, int, int]]:
        """Yield key, column, first byte and number of bytes of each member of a row."""
        first, end = self.bounds_N1[within(index, self) :][:2].tolist()
        for header, start in self.members_M2[first:end].tolist():
            try:
                content = BytesIO(read_at(self.file, header, start - header))
                with tarfile.TarFile(fileobj=content, errors="replace") as tar:
                    member = next(iter(tar))
            except (ValueError, tarfile.TarError) as error:
                raise ValueError(f"{self.file}: no member at byte {header} any more ({error}); start again") from None
            key, column = split_name(member.name)
            yield key, column, start, member.size

    def _value(self, key: str, column: str, start: int, size: int) -> Any:
        kind = column.rpartition(".")[2]
        try:
            if kind == "json":
                return decode(self.file, start, size)
            if kind in TEXTS:
                return read_text(self.file, start, size).decode()
        except ValueError as error:
            raise ValueError(f"{self.file}:{key}, {column}: {error}") from None
        return PackedImage(self.file, key, column, span=(start, size))


def index_tar(file: Path) -> dict[str, dict[str, tuple[int, int]]]:
    """Read the headers of a tar file.

    Returns:
        By key and column, where the member's header and its data start.

    Raises:
        ValueError: it can't be read to its end, or holds links, names that leave the folder, or a name twice.
    """
    rows: dict[str, dict[str, tuple[int, int]]] = {}
    try:
        with tarfile.open(file, "r:", errors="replace") as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # it would keep them all
                _add(rows, member)
            end = tar.offset
    except (tarfile.TarError, OSError, OverflowError) as error:
        raise ValueError(f"damaged, or no plain tar file ({error}); make it anew") from None
    if any(read_at(file, end, min(tarfile.BLOCKSIZE, file.stat().st_size - end))):  # tarfile takes it for the end
        raise ValueError(f"damaged at byte {end}; make it anew")
    return rows


def _add(rows: dict[str, dict[str, tuple[int, int]]], member: tarfile.TarInfo) -> None:
    check_inside(member.name)
    if member.size < 0:  # the next member would be this one again, for ever
        raise ValueError(f"member {member.name} is damaged: {member.size} bytes; make the file anew")
    key, column = split_name(member.name)
    if member.isdir() or not column:
        return
    if not member.isreg() or member.issparse():
        raise ValueError(f"member {member.name} is no plain file; store the file itself (tar --dereference)")
    columns = rows.setdefault(key, {})
    if column in columns:
        raise ValueError(f"member {member.name} is there twice; remove one")
    columns[column] = (member.offset, member.offset_data)


def check_inside(path: str) -> None:
    """Demand a path that stays in the folder it starts from.

    Raises:
        ValueError: it is absolute, or goes up.
    """
    if path.startswith(("/", "\\")) or ".." in PurePosixPath(path).parts:
        raise ValueError(f"path {path} leaves the data's folder; give a path inside it")


def split_name(name: str) -> tuple[str, str]:
    """Split a member's name at the first dot of its last part: key and column, which is empty if it is of no row."""
    path = PurePosixPath(name)
    stem, _, column = path.name.partition(".")
    return (str(path.with_name(stem)), column.lower()) if stem else ("", "")
