"""Divide a file into splits, and drop rows that ask what another row asks; both go by content."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from data_modules.files.subset import copy_rows, locate_row, suffix

LOGGED = 10
"""Copies that are printed one by one; beyond that they are only counted."""


@runtime_checkable
class Copying(Protocol):
    """A data set whose files aren't rows that can be copied byte for byte: what ``data split=`` and ``dedupe=`` ask.

    Attributes:
        suffix: of the files that it writes.
    """

    suffix: str

    def copy_rows(self, file: Path, names: Collection[str], out: Path) -> None:
        """Write some rows of a file, by their names in it, as a new file."""


def name_kind(dataset: Any) -> str:
    """What identities tell apart: questions, or samples of a data set that asks none."""
    return "samples" if isinstance(dataset, Copying) else "questions"


def split_rows(
    dataset: Any, file: Any, shares: Mapping[str, float], seed: int, out: Path | None
) -> dict[str, list[Path]]:
    """Divide the rows of a file; rows that ask the same stay together.

    Where a row goes depends on what it asks and on the seed, not on the order of the rows.

    Args:
        dataset: reads the file.
        file: what the data set reads.
        shares: split -> its share of the questions; they sum to 1.
        seed: of the draw.
        out: folder for the new files; ``None``: the folder of the file.

    Returns:
        Split -> its new files, ``NAME-SPLIT.SUFFIX``, one for each file that was read.

    Raises:
        ValueError: bad shares, a split that gets no row, or a new file that exists already.
    """
    check_shares(shares)
    rows = dataset.read(file)
    places: dict[str, set[str]] = defaultdict(set)
    for index in range(len(rows)):
        sample = rows[index]
        places[rows.identity(sample)].add(sample.where)
    order = sorted(places, key=lambda identity: sha256(f"{seed}/{identity}".encode()).digest())
    bounds = [round(share * len(order)) for share in accumulate(shares.values(), initial=0)]
    chosen = {
        name: [where for identity in order[first:last] for where in places[identity]]
        for name, first, last in zip(shares, bounds, bounds[1:], strict=False)
    }
    if empty := [name for name, wheres in chosen.items() if not wheres]:
        raise ValueError(
            f"split {empty[0]} gets none of {len(order)} different {name_kind(dataset)}; give it a larger share"
        )
    return write_files({name: (name, wheres) for name, wheres in chosen.items()}, out, dataset)


def check_shares(shares: Any) -> None:
    """Check that every split has a share, and a name that can be part of a file's.

    Raises:
        ValueError: names the share or the split.
    """
    values = shares.values() if isinstance(shares, Mapping) else ()
    numbers = [
        share for share in values if isinstance(share, int | float) and not isinstance(share, bool) and share > 0
    ]
    if not values or len(numbers) < len(values) or abs(sum(numbers) - 1) > 1e-6:
        raise ValueError(f"split={shares} must be shares above 0 that make 1 together, {{train: 0.8, val: 0.2}}")
    if wrong := [name for name in map(str, shares) if not re.fullmatch(r"[\w.-]{1,50}", name)]:
        raise ValueError(f"split {wrong[0]!r:.80} can't be part of a file's name; give letters, digits, - and _")


def drop_copies(dataset: Any, files: Mapping[str, Any], out: Path | None) -> dict[str, list[Path]]:
    """Copy files without the rows that ask what an earlier row asks.

    Test is read first, then val, then train: of a question in both test and train, the row of train is dropped.

    Args:
        dataset: reads the files.
        files: split -> what the data set reads.
        out: folder for the new files; ``None``: the folder of each file.

    Returns:
        Split -> its new files, ``NAME-unique.SUFFIX``; only of splits that lose a row.

    Raises:
        ValueError: a new file exists already, or a split would lose all rows.
    """
    earliest: dict[str, str] = {}
    copies = Counter[str]()
    chosen: dict[str, list[str]] = {}
    for name in [name for name in ("test", "val", "train") if name in files]:
        rows, unique = dataset.read(files[name]), list[str]()
        for index in range(len(rows)):
            sample = rows[index]
            first = earliest.setdefault(rows.identity(sample), sample.where)
            if first == sample.where or locate_row(first) == locate_row(sample.where):
                unique.append(sample.where)
                continue
            copies[name] += 1
            if copies.total() <= LOGGED:
                copied = f"is a copy of {first}" if isinstance(dataset, Copying) else f"asks what {first} asks"
                print(f"{sample.where} {copied}")
        if not unique:
            raise ValueError(f"every row of {files[name]} is in another file too; nothing would be left of {name}")
        chosen[name] = unique
    print(f"{copies.total()} copies among {len(earliest)} different {name_kind(dataset)}")
    return write_files({name: ("unique", wheres) for name, wheres in chosen.items() if copies[name]}, out, dataset)


def write_files(
    chosen: Mapping[str, tuple[str, Iterable[str]]], out: Path | None, dataset: Any
) -> dict[str, list[Path]]:
    """Copy rows into new files, one for each file that they come from.

    Args:
        chosen: split -> suffix of the new files' names, and the places of the rows.
        out: folder for the new files; ``None``: the folder of each file.
        dataset: copies rows itself where it is :class:`Copying`.

    Returns:
        Split -> its new files.

    Raises:
        ValueError: a new file exists already, or two files would have its name; none is written then.
    """
    own = dataset if isinstance(dataset, Copying) else None
    copies: dict[Path, tuple[Path, set[str]]] = {}
    targets: dict[str, list[Path]] = {}
    for split_name, (end, wheres) in chosen.items():
        for file, row in sorted(map(locate_row, wheres)):
            ending = own.suffix if own else suffix(file)
            target = (out or file.parent) / f"{file.name.removesuffix(suffix(file))}-{end}{ending}"
            source, places = copies.setdefault(target, (file, set()))
            if source != file:
                raise ValueError(f"{source} and {file} would both become {target}; rename one, or leave out= away")
            places.add(row)
            targets.setdefault(split_name, [])
            if target not in targets[split_name]:
                targets[split_name].append(target)
    if there := [target for target in copies if target.exists()]:
        raise ValueError(f"{there[0]} is there already; remove it, or choose another folder with out=")
    for target, (file, rows) in copies.items():
        (own.copy_rows if own else copy_rows)(file, rows, target)
    if not own:
        tell_roots(copies)
    return targets


def tell_roots(copies: Mapping[Path, tuple[Path, set[str]]]) -> None:
    """Say where the images of rows are that were copied to another folder."""
    if moved := {file.parent.resolve() for file, _ in copies.values()} - {target.parent.resolve() for target in copies}:
        roots = [f"task.image_root={folder}" for folder in sorted(moved)]
        print(f"unless task.image_root is set, image files are found with {' or '.join(roots)}")


def print_files(files: Mapping[str, Sequence[Path]]) -> None:
    """Print the new files as the overrides that use them."""
    for split, paths in files.items():
        value = str(paths[0]) if len(paths) == 1 else f"[{','.join(map(str, paths))}]"
        print(f"task.{split}_file={value}" if split in ("train", "val", "test") else value)
