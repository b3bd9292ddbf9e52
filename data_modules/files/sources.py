"""Rows out of files, in any order, without holding them in memory; several files as one, mixed by weights.

Legend: N rows.
"""

import glob
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data_modules.files.documents import open_json
from data_modules.files.folders import list_folder
from data_modules.files.lines import unpack, within
from data_modules.files.packed import parquet_length, parquet_row
from data_modules.files.shards import Tar
from data_modules.files.tables import Table


class Source(Protocol):
    """Rows by index; ``str`` names the files."""

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a row.

        Raises:
            ValueError: it can't be read; names file and row.
            IndexError: there is no such row; negative indices are none.
        """
        ...

    def where(self, index: int) -> str:
        """Name the place of a row, for errors."""
        ...

    def folder(self, index: int) -> Path:
        """Return the folder of the file that a row is in."""
        ...


class Parquet:
    """The rows of a Parquet or Arrow file; images are references (:func:`data_modules.files.packed.parquet_row`)."""

    def __init__(self, file: Path) -> None:
        self.file, self.length = file, parquet_length(file)

    def __str__(self) -> str:
        return str(self.file)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        where = self.where(index)
        try:
            return parquet_row(self.file, int(index))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None

    def where(self, index: int) -> str:
        """Return ``file:row 12``, rows counted from 0."""
        return f"{self.file}:row {within(index, self)}"

    def folder(self, index: int) -> Path:
        """Return the file's folder."""
        return self.file.parent


class Concatenated:
    """Several sources, one after the other."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = list(sources)
        self.bounds_N1 = np.cumsum([0, *map(len, self.sources)])

    def __str__(self) -> str:
        return ", ".join(dict.fromkeys(map(str, self.sources)))

    def __len__(self) -> int:
        return int(self.bounds_N1[-1])

    def __getitem__(self, index: int) -> dict[str, Any]:
        source, inner = self._find(index)
        return source[inner]

    def where(self, index: int) -> str:
        """Name the place of a row as its source does."""
        source, inner = self._find(index)
        return source.where(inner)

    def folder(self, index: int) -> Path:
        """Return the folder of the file that a row is in."""
        source, inner = self._find(index)
        return source.folder(inner)

    def _find(self, index: int) -> tuple[Source, int]:
        number = int(np.searchsorted(self.bounds_N1, within(index, self), side="right")) - 1
        return self.sources[number], int(index - self.bounds_N1[number])


class _Part:
    """Some rows of a source."""

    def __init__(self, source: Source, chosen_N: NDArray[np.int64]) -> None:
        self.source, self.chosen_N = source, chosen_N

    def __str__(self) -> str:
        return str(self.source)

    def __len__(self) -> int:
        return len(self.chosen_N)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.source[int(self.chosen_N[within(index, self)])]

    def where(self, index: int) -> str:
        return self.source.where(int(self.chosen_N[within(index, self)]))

    def folder(self, index: int) -> Path:
        return self.source.folder(int(self.chosen_N[within(index, self)]))


class Mixed(Concatenated):
    """Several sources with weights: of N rows, ``round(weight * N)`` are served, and at least one.

    A weight of 2 serves each row twice, 0.5 a random half, 1.5 each row once and a random half of them again.

    Args:
        sources: one or more.
        weights: one for each, above 0.
        seed: chooses the random rows.

    Raises:
        ValueError: a weight is not a positive number, or there isn't one for each source.
    """

    def __init__(self, sources: Sequence[Source], weights: Sequence[float], seed: int) -> None:
        if len(sources) != len(weights):
            raise ValueError(f"{len(weights)} weights for {len(sources)} sources; give one for each")
        parts: list[Source] = []
        for number, (source, weight) in enumerate(zip(sources, weights, strict=True)):
            if not 0 < weight < math.inf:
                raise ValueError(f"the weight of {source} is {weight}; give a number above 0, or leave the source out")
            whole, some = divmod(max(1, round(weight * len(source))), len(source))
            parts += [source] * whole
            if some:
                chosen_N = np.random.default_rng((seed, number)).permutation(len(source))[:some]
                parts.append(_Part(source, np.sort(chosen_N)))
        super().__init__(parts)


def open_mixed(files: object, seed: int) -> Source:
    """Open what ``task.train_file`` and its like may be: a path, a glob, or a list of these and of {file, weight}.

    Args:
        files: the value.
        seed: chooses the rows that a weight serves more often, or leaves out.

    Raises:
        ValueError: it is none of these, a file is missing or given twice, or a weight is not above 0.
    """
    entries = list(files) if isinstance(files, Sequence) and not isinstance(files, str) else [files]
    if not entries:
        raise ValueError("[] names no file of rows; give a path, or null for none")
    weighted = [_file_and_weight(entry) for entry in entries]
    find_files([file for file, _ in weighted])  # a file may be named by two globs
    sources = [Concatenated([open_source(path) for path in find_files([file])]) for file, _ in weighted]
    return Mixed(sources, [weight for _, weight in weighted], seed)


def _file_and_weight(entry: object) -> tuple[str | Path, float]:
    if isinstance(entry, str | Path):
        return entry, 1
    if isinstance(entry, Mapping) and "file" in entry and entry.keys() <= {"file", "weight"}:
        weight = entry.get("weight", 1)
        if isinstance(weight, int | float) and not isinstance(weight, bool):
            return str(entry["file"]), weight
    raise ValueError(f"{entry!r} is no file to read; give a path, a glob, or {{file: …, weight: 1}}")


def open_source(path: str | Path) -> Source:
    """Open a file by its suffix: JSON with or without ``.gz``, ``.parquet``, ``.arrow``, ``.tar``, ``.csv``, ``.tsv``.

    Raises:
        ValueError: another suffix, no such file, no rows in it, or it can't be read; names the file.
    """
    file = path_of(path)
    suffix = next((suffix for suffix in _OPENERS if file.name.lower().endswith(suffix)), None)
    if suffix is None:
        raise ValueError(f"{file} is none of {', '.join(_OPENERS)}; rename or convert it")
    if not file.is_file():
        raise ValueError(
            f"data file {file} does not exist; correct the path, or, where the task makes its data, make it with "
            "python -m mirage_pl.data, without validate=true"
        )
    try:
        source = _OPENERS[suffix](file)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    if not len(source):
        raise ValueError(f"{file} holds no rows; fill it, or leave it out")
    return source


def path_of(file: Any) -> Path:
    """The path of a file of rows.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(file, str | Path):
        raise ValueError(f"{file!r} is no file of rows; give a path")
    return Path(file)


def find_files(patterns: Sequence[str | Path]) -> list[Path]:
    """Return the files that paths, folders and globs name, in the order given; those of a glob sorted.

    Raises:
        ValueError: a path or glob matches no file, a folder isn't one data set, or a file is named twice.
    """
    files: list[Path] = []
    for pattern in patterns:
        path = Path(pattern)
        names = list_folder(path, _OPENERS) if path.is_dir() else [path] if path.is_file() else _matches(str(pattern))
        if not names:
            raise ValueError(f"no file matches {pattern}; correct the path or pattern, or make the data first")
        files += names
    if twice := [file for file, times in Counter(files).items() if times > 1]:
        raise ValueError(f"{twice[0]} is named twice; name it once, or give it a weight of 2")
    return files


def _matches(pattern: str) -> list[Path]:
    return [Path(name) for name in sorted(glob.glob(pattern, recursive=True)) if Path(name).is_file()]


def _unpacked(file: Path) -> Source:
    return open_json(unpack(file), file)


_OPENERS: dict[str, Callable[[Path], Source]] = {
    ".jsonl.gz": _unpacked,
    ".json.gz": _unpacked,
    ".jsonl": open_json,
    ".json": open_json,
    ".parquet": Parquet,
    ".arrow": Parquet,
    ".tar": Tar,
    ".csv": Table,
    ".tsv": Table,
}
