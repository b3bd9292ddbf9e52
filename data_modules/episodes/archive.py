"""Episodes that are ``.npz`` files: an array is decompressed once, the last few files are kept."""

import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.lib import format as npy

KEPT = 4
"""Files whose arrays are kept: clips of one episode often come one after the other."""
ENDING = ".npy"
"""Of the arrays within an ``.npz``."""
DAMAGES = (
    *(BadZipFile, zlib.error, OSError, EOFError, RuntimeError, MemoryError, ArithmeticError),
    *(AttributeError, TypeError, ValueError, LookupError, SyntaxError),
)
"""What reading a damaged file raises."""


class Archive:
    """The arrays of an ``.npz``.

    Args:
        file: it.

    Raises:
        ValueError: it is damaged.
    """

    coded = False

    def __init__(self, file: Path) -> None:
        self.file, self.arrays = file, dict[str, Any]()
        try:
            with ZipFile(file) as archive:
                self.names = [name.removesuffix(ENDING) for name in archive.namelist()]
        except DAMAGES as error:
            raise damaged(file, error) from None

    def has(self, key: str) -> bool:
        """Whether there is an array."""
        return key in self.names

    def keys(self) -> Sequence[str]:
        """Return the keys."""
        return self.names

    def cameras(self) -> Sequence[str]:
        """Return none: an array doesn't say whether it is frames."""
        return ()

    def count(self, key: str) -> int:
        """Return the first number of an array's shape; read from its head."""
        if key not in self.arrays:
            try:
                with ZipFile(self.file) as archive, archive.open(key + ENDING) as array:
                    read_head = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
                    shape = read_head[npy.read_magic(array)](array)[0]
            except DAMAGES as error:
                raise damaged(self.file, error) from None
            return shape[0] if shape else 0
        return len(self.arrays[key]) if self.arrays[key].ndim else 0

    def frames(self, key: str, places: Sequence[int]) -> Any:
        """Return some frames."""
        array = self.numbers(key)
        return array[list(places)] if array.ndim else array

    def numbers(self, key: str) -> Any:
        """Return an array."""
        if key not in self.arrays:
            try:
                with np.load(self.file, allow_pickle=False) as archive:
                    self.arrays[key] = archive[key]
            except DAMAGES as error:
                if isinstance(error, ValueError) and "Object arrays" in str(error):
                    raise ValueError(
                        f"{self.file}: {key} is an array of Python objects, which aren't read; save numbers or text"
                    ) from None
                raise damaged(self.file, error) from None
        return self.arrays[key]

    def text(self, key: str) -> str:
        """Return an array of one text."""
        return str(self.numbers(key).reshape(-1)[0])

    def texts(self, key: str) -> Sequence[str]:
        """Return an array of texts."""
        return [str(text) for text in self.numbers(key).reshape(-1)]


def damaged(file: Path, error: Exception) -> ValueError:
    """What is said of a damaged file."""
    return ValueError(f"{file} is no whole .npz file ({type(error).__name__}); copy or make it again")


def open_archive(file: Path) -> Archive:
    """Open an ``.npz``; a file that has changed is read again."""
    state = file.stat()
    return _open(file, state.st_mtime_ns, state.st_size)


@lru_cache(KEPT)
def _open(file: Path, _changed_ns: int, _size: int) -> Archive:
    return Archive(file)
