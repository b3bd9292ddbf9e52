"""Images inside other files: Parquet cells and tar members, read when they are asked for.

A row of such a file holds a :class:`PackedImage` in place of every image. Opened files and a few row groups are kept,
by process; nothing that is kept has a position, so a fork may go on using it.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_modules.files.arrow import Batches

TEXT_LIMIT = 16 << 20
"""Most bytes of a row, images aside: of a line, a text member of a tar file, or a row of a Parquet file."""

OPEN_FILES = 64
"""Files kept open."""

ROW_GROUPS = 16
"""Row groups whose columns other than images are kept."""

IMAGE_CHUNKS = 8
"""Image columns of a row group that are kept; a chunk is as large as the writer made it, some MB as a rule."""

Stamp = tuple[int, int]


@dataclass(frozen=True)
class PackedImage:
    """An image inside a file, by its place.

    Attributes:
        file: the Parquet or tar file.
        row: index of the row (Parquet, from 0) or its key (tar).
        column: name of the column (Parquet), or the member's name after the first dot (tar).
        item: which one, from 0, where the cell is a list of images.
        span: where the bytes lie in a tar file, first and number.
    """

    file: Path
    row: int | str
    column: str
    item: int | None = None
    span: tuple[int, int] | None = None

    def __str__(self) -> str:
        row = self.row if isinstance(self.row, str) else f"row {self.row}"
        return f"{self.file}:{row}, {self.column}" + ("" if self.item is None else f"[{self.item}]")

    def read_bytes(self) -> bytes:
        """Return the image file's bytes.

        Raises:
            OSError: the cell holds none, or the file is gone or damaged; names the image, as a path's error does.
        """
        try:
            return read_at(self.file, *self.span) if self.span else _read_cell(self)
        except ValueError as error:
            raise OSError(f"image {self}: {error}") from None

    def open(self, mode: Literal["rb"] = "rb") -> BytesIO:
        """Return the image file's bytes as a file."""
        return BytesIO(self.read_bytes())

    def is_file(self) -> bool:
        """Say whether the file that holds the image is there."""
        return self.file.is_file()

    def stat(self) -> os.stat_result:
        """Return the status of the file that holds the image: it changes whenever the image does."""
        return self.file.stat()


def read_at(file: Path, start: int, size: int) -> bytes:
    """Return ``size`` bytes of a file from ``start`` on.

    Raises:
        ValueError: the file is gone, or shorter; doesn't name it.
    """
    with plain_errors():
        content = os.pread(_opened(file, _stamp(file)).fileno(), size, start)
    if len(content) < size:
        raise ValueError(f"the file ends before byte {start + size}; it was cut after it was opened, so start again")
    return content


def parquet_length(file: Path) -> int:
    """Return the number of rows of a Parquet file.

    Raises:
        ValueError: it can't be read as one; doesn't name it.
    """
    with plain_errors():
        return int(_parquet(file, _stamp(file)).bounds[-1])


def parquet_row(file: Path, row: int) -> dict[str, Any]:
    """Return one row of a Parquet file, each image a :class:`PackedImage`.

    An image is bytes or a struct that has ``bytes`` (Hugging Face's), or a list of these. Where it is a struct with
    further fields, such as ``path``, no image is read; otherwise the row group's, to see which are there.

    Raises:
        ValueError: the row can't be read; names neither file nor row.
    """
    with plain_errors():
        stamp = _stamp(file)
        parquet = _parquet(file, stamp)
        group, first = parquet.place(row)
        content = _rows(file, stamp, group).slice(row - first, 1)
    check_length(content.nbytes)
    with plain_errors():
        values = content.to_pylist()[0]

    def reference(column: str, found: bool | int | None) -> PackedImage | list[PackedImage] | None:
        if isinstance(found, bool):
            return PackedImage(file, row, column) if found else None
        return None if found is None else [PackedImage(file, row, column, item) for item in range(found)]

    return {name: reference(name, value) if name in parquet.images else value for name, value in values.items()}


def check_length(size: int) -> None:
    """Demand a row that is no longer than ``TEXT_LIMIT``.

    Args:
        size: its bytes, images aside.

    Raises:
        ValueError: it is.
    """
    if size > TEXT_LIMIT:
        raise ValueError(f"{size} bytes of text, more than {TEXT_LIMIT}; shorten it, or give one JSON object a line")


@contextmanager
def plain_errors() -> Iterator[None]:
    """Say what Arrow, Python or the system say of a file that can't be read as one line, a ``ValueError``."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, LookupError, OverflowError) as error:
        raise ValueError(
            f"cannot be read ({_first_line(error)}); is the file whole? copy or download it again"
        ) from None


def _first_line(error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return next(iter(reason.splitlines()), type(error).__name__)


def _stamp(file: Path) -> Stamp:
    """What changes when a file is written anew; part of every key, so that nothing kept is of an older file."""
    status = file.stat()
    return status.st_mtime_ns, status.st_size


@lru_cache(OPEN_FILES)
def _opened(file: Path, stamp: Stamp) -> BinaryIO:
    return file.open("rb", buffering=0)


class _Parquet:
    """An opened Parquet or Arrow file: its images, each group's first row, and the number of rows at the end."""

    def __init__(self, file: Path) -> None:
        self.file: Any = Batches(file) if file.suffix.lower() == ".arrow" else pq.ParquetFile(file)
        self.columns: list[str] = self.file.schema_arrow.names
        self.images = {field.name for field in self.file.schema_arrow if _is_image(field.type)}
        if isinstance(self.file, Batches):
            lengths, self.light = [batch.num_rows for batch in self.file.batches], self.columns
        else:
            lengths = [self.file.metadata.row_group(group).num_rows for group in range(self.file.num_row_groups)]
            leaves = [self.file.schema.column(leaf) for leaf in range(len(self.file.schema))]
            self.light = [leaf.path for leaf in leaves if (leaf.physical_type, leaf.converted_type) != _BYTES]
        self.bounds = np.cumsum([0, *lengths])

    def place(self, row: int) -> tuple[int, int]:
        """Return the row group of a row, and that group's first row."""
        group = int(np.searchsorted(self.bounds, row, side="right")) - 1
        return group, int(self.bounds[group])


_BYTES = ("BYTE_ARRAY", "NONE")
"""Type of a column of bytes, which text isn't."""

_parquet: Callable[[Path, Stamp], _Parquet] = lru_cache(OPEN_FILES)(lambda file, stamp: _Parquet(file))


def _is_image(kind: Any) -> bool:
    if _is_list(kind):
        kind = kind.value_type
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _is_image(kind.field("bytes").type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


@lru_cache(ROW_GROUPS)
def _rows(file: Path, stamp: Stamp, group: int) -> Any:
    """A row group without its images: in their columns, whether there is one, or how many there are."""
    parquet = _parquet(file, stamp)
    table = parquet.file.read_row_group(group, columns=parquet.light, use_threads=False)

    def column(name: str) -> Any:
        if name not in parquet.images:
            return table[name]
        cells = table[name] if name in table.column_names else _images(file, stamp, group, name)
        return pc.list_value_length(cells) if _is_list(cells.type) else cells.is_valid()

    names = [name for name in parquet.columns if name in table.column_names or name in parquet.images]
    rows = pa.table({name: column(name) for name in names})
    return rows.cast(pa.schema([field.with_type(without_nanoseconds(field.type)) for field in rows.schema]), safe=False)


def without_nanoseconds(kind: Any) -> Any:
    """A type of times with microseconds, the finest that Python has, in place of nanoseconds."""
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return pa.timestamp("us", kind.tz)
    if pa.types.is_duration(kind) and kind.unit == "ns":
        return pa.duration("us")
    if pa.types.is_time64(kind):
        return pa.time64("us")
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(without_nanoseconds(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(without_nanoseconds(kind.value_type)))
    return kind


@lru_cache(IMAGE_CHUNKS)
def _images(file: Path, stamp: Stamp, group: int, column: str) -> Any:
    """One column of a row group as it is, images and all."""
    return _parquet(file, stamp).file.read_row_group(group, columns=[column], use_threads=False)[column]


_READING = Lock()
"""An opened Parquet file may be read by one thread at a time, and images are decoded by several."""


def _read_cell(image: PackedImage) -> bytes:
    row = int(image.row)
    with plain_errors(), _READING:
        stamp = _stamp(image.file)
        group, first = _parquet(image.file, stamp).place(row)
        cell = _images(image.file, stamp, group, image.column)[row - first]
        if image.item is not None:
            cell = cell[image.item]
        content = (cell["bytes"] if pa.types.is_struct(cell.type) and cell.is_valid else cell).as_py()
    if content is None:
        raise ValueError("the cell holds no bytes; put the image file's content there, not its path alone")
    return bytes(content)
