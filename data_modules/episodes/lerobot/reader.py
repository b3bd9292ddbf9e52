"""Episodes of a LeRobot data set, v2.0, v2.1 or v3.0: numbers in Parquet files, frames in videos or beside the numbers.

A frame is found by its number within the episode's part of its video; of times the rate alone is compared.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.parquet
from numpy.typing import NDArray

from data_modules.episodes.decoding import count_frames, decode_frames, index_video
from data_modules.episodes.hdf5 import decode_picture
from data_modules.episodes.lerobot.meta import INFO, Folder, Span, read_folder

TEXT = "text"
"""The key of what is to be done, which isn't among the features."""
TIME = "timestamp"
"""The feature that says when a frame was taken, in seconds."""
NEAR = 0.05
"""Share by which rates may differ, for times are rounded."""
KEPT = 1024
"""Parquet files whose episodes' rows are kept."""


class NumberedEpisode:
    """An episode of a LeRobot data set.

    Args:
        folder: the data set.
        span: where the episode lies.

    Raises:
        ValueError: its rows aren't as many as the data set says; names the file.
    """

    def __init__(self, folder: Folder, span: Span) -> None:
        self.folder, self.span = folder, span
        self.rows = find_rows(span.data, span.number)
        if len(self.rows) != span.length:
            raise ValueError(
                f"{span.data} has {len(self.rows)} rows of episode {span.number}, but {folder.listed} says "
                f"{span.length}; copy the data set anew"
            )

    @property
    def coded(self) -> bool:
        """Whether its frames are videos."""
        return bool(self.span.videos)

    def has(self, key: str) -> bool:
        """Whether there is such a feature; a text there always is."""
        return key == TEXT or key in self.folder.features

    def keys(self) -> Sequence[str]:
        """Return the features, cameras first."""
        return list(dict.fromkeys([*self.folder.cameras, *self.folder.features]))

    def cameras(self) -> Sequence[str]:
        """Return the cameras."""
        return self.folder.cameras

    def count(self, key: str) -> int:
        """Return the episode's length; its part of the video is as long, or that is an error."""
        if key in self.span.videos:
            file, first = self.span.videos[key]
            there, end = count_frames(file), first + self.span.length
            self.check_rate(index_video(file).rate, file)
            if there < end or (self.folder.alone and there != end):
                raise ValueError(
                    f"{file} has {there} frames, but episode {self.span.number} has {self.span.length} rows"
                    + (f" from frame {first} on" if first else "")
                    + "; copy the data set anew"
                )
        return self.span.length

    def frames(self, key: str, places: Sequence[int]) -> Any:
        """Decode some frames."""
        if key in self.span.videos:
            file, first = self.span.videos[key]
            frames = decode_frames(file, [first + place for place in places])
            self.check_shape(key, frames.shape[1:], file)
            return frames
        cells = self.cells(key, self.read([key]))
        name = f"{self.span.data}, episode {self.span.number}"
        if not pyarrow.types.is_struct(cells.type):
            raise ValueError(f"{name}: {key} isn't pictures but {cells.type}; the cameras are {self.folder.cameras}")
        contents = [cells[place].as_py() for place in places]
        return np.stack([decode_picture(self.open_picture(cell), name) for cell in contents])

    def open_picture(self, cell: Mapping[str, Any]) -> NDArray[np.uint8]:
        """The bytes of a picture, from the cell or from the file that it names."""
        content = cell.get("bytes")
        if content is None:
            file = self.folder.path / str(cell.get("path"))
            if not file.is_file():
                raise ValueError(f"{file} does not exist; copy the data set anew")
            content = file.read_bytes()
        return np.frombuffer(content, np.uint8)

    def numbers(self, key: str) -> NDArray[Any]:
        """Return a feature, ``[T, A]``."""
        cells, count = self.cells(key, self.columns), self.span.length
        while hasattr(cells, "flatten") and pyarrow.types.is_nested(cells.type):
            if pyarrow.types.is_struct(cells.type):
                raise ValueError(f"{self.span.data}: {key} isn't numbers but {cells.type}")
            cells = cells.flatten()
        values: NDArray[Any] = cells.to_numpy(zero_copy_only=False)
        if len(values) % count:
            raise ValueError(f"{self.span.data}: {key} has rows of different widths in episode {self.span.number}")
        rows = values.reshape(count, -1)
        self.check_shape(key, rows.shape[1:], self.span.data)
        return rows

    def check_shape(self, key: str, shape: Sequence[int], file: Path) -> None:
        """Refuse numbers or frames of another shape than the data set says, where channels may be named first."""
        said = self.folder.features[key].get("shape")
        same = not said or sorted(said) == sorted(shape) or (len(shape) == 1 and math.prod(said) == shape[0])
        if not same:
            raise ValueError(f"{file} has {key} of shape {list(shape)}, but {INFO} says {said}; copy the data set anew")

    def text(self, key: str) -> str:
        """Return what is to be done."""
        return self.span.text

    def texts(self, key: str) -> Sequence[str]:
        """Return a feature of texts."""
        return [str(text) for text in self.cells(key, self.read([key])).to_pylist()]

    @property
    def file(self) -> Path:
        """The file of its rows."""
        return self.span.data

    @cached_property
    def columns(self) -> dict[str, Any]:
        """The features that are numbers, read at once."""
        columns = self.read([key for key in self.folder.features if key not in self.folder.cameras])
        if TIME in columns and self.span.length > 1:
            gap = float(np.median(np.diff(columns[TIME].to_numpy(zero_copy_only=False))))
            self.check_rate(1 / gap if gap > 0 else 0.0, self.span.data)
        return columns

    def check_rate(self, rate: float, file: Path) -> None:
        """Refuse a file of another rate than the data set says; 0: the file doesn't say."""
        said = float(self.folder.info["fps"])
        if rate and abs(rate / said - 1) > NEAR:
            there = f"{file} has {rate:.3g} frames a second"
            raise ValueError(f"{there}, but {INFO} says fps={said:g}; correct it, or copy the data set anew")

    def read(self, keys: Sequence[str]) -> dict[str, Any]:
        """Read the episode's cells of those columns that there are: only the row groups that hold them."""
        first, last = self.rows[0], self.rows[-1]
        with reading(self.span.data), pyarrow.parquet.ParquetFile(self.span.data) as file:
            ends = np.cumsum([file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)])
            groups = range(int(np.searchsorted(ends, first, "right")), int(np.searchsorted(ends, last, "right")) + 1)
            names = set(file.schema_arrow.names)
            table = file.read_row_groups(list(groups), columns=[key for key in keys if key in names])
        before = int(ends[groups[0] - 1]) if groups[0] else 0
        part = table.slice(first - before, last - first + 1)
        return {name: part.column(name).combine_chunks() for name in part.column_names}

    def cells(self, key: str, columns: Mapping[str, Any]) -> Any:
        """A column out of those that were read.

        Raises:
            ValueError: it isn't there; names the file.
        """
        if key not in columns:
            raise ValueError(f"{self.span.data} has no column {key}, but {INFO} names it; copy the data set anew")
        return columns[key]


@contextmanager
def open_numbered(folder: Path, number: str | int | None) -> Iterator[NumberedEpisode]:
    """Open an episode of a LeRobot data set by its number.

    Raises:
        ValueError: the folder is none, is damaged, or has no such episode; names it.
    """
    numbered = read_folder(folder)
    if not isinstance(number, int) or number not in numbered.spans:
        raise ValueError(f"{folder} has {len(numbered.spans)} episodes, but not {number!r}; give its number as at")
    yield NumberedEpisode(numbered, numbered.spans[number])


def find_rows(file: Path, number: int) -> range:
    """The rows of an episode in a Parquet file.

    Raises:
        ValueError: the file is missing or damaged, or the rows aren't one after the other; names it.
    """
    if not file.is_file():
        raise ValueError(f"{file} does not exist, but {INFO} says so; copy the data set anew")
    return _rows_of(file, file.stat().st_mtime_ns).get(number, range(0))


@lru_cache(KEPT)
def _rows_of(file: Path, _changed_ns: int) -> dict[int, range]:
    with reading(file):
        numbers = pyarrow.parquet.read_table(file, columns=["episode_index"]).column(0).to_numpy()
    edges = np.flatnonzero(np.diff(numbers)) + 1
    starts, ends = [0, *edges.tolist()], [*edges.tolist(), len(numbers)]
    rows = {int(numbers[start]): range(start, end) for start, end in zip(starts, ends, strict=True) if end > start}
    if len(rows) < len(starts) and len(numbers):
        raise ValueError(f"{file} has rows of one episode in several places; copy the data set anew")
    return rows


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Say of which file an error of Arrow is.

    Raises:
        ValueError: names the file.
    """
    try:
        yield
    except (pyarrow.ArrowException, OSError, KeyError) as error:
        raise ValueError(f"{file} is no whole Parquet file ({type(error).__name__}); copy the data set anew") from None
