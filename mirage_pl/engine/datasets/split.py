"""Divide files into splits, and take rows out that ask what another row asks; both by content."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import Any

from data_modules.files.subset import copy_rows, locate_row, suffix

LOGGED = 10
"""Copies that are printed one by one."""


def split(dataset: Any, file: Any, shares: Mapping[str, float], seed: int, out: Path | None) -> dict[str, list[Path]]:
    """Divide the rows of a file; rows that ask the same stay together.

    Which rows go where depends on what they ask and on the seed, not on their order.

    Args:
        dataset: reads files.
        file: what the data set reads.
        shares: split -> its share of the questions; 1 together.
        seed: of the draw.
        out: folder for the new files; ``None`` for that of the file.

    Returns:
        Split -> its files, ``NAME-SPLIT.SUFFIX``, one for each file that was read.

    Raises:
        ValueError: bad shares, a split that gets no row, or a file that is there already.
    """
    check_shares(shares)
    rows = dataset.read(file)
    asked: dict[str, set[str]] = defaultdict(set)
    for index in range(len(rows)):
        sample = rows[index]
        asked[rows.identity(sample)].add(sample.where)
    drawn = sorted(asked, key=lambda identity: sha256(f"{seed}/{identity}".encode()).digest())
    bounds = [round(share * len(drawn)) for share in accumulate(shares.values(), initial=0)]
    chosen = {
        name: [where for identity in drawn[first:last] for where in asked[identity]]
        for name, first, last in zip(shares, bounds, bounds[1:], strict=False)
    }
    if empty := [name for name, wheres in chosen.items() if not wheres]:
        raise ValueError(f"split {empty[0]} gets none of {len(drawn)} different questions; give it a larger share")
    return write({name: (name, wheres) for name, wheres in chosen.items()}, out)


def check_shares(shares: Any) -> None:
    """Demand a share for each split, whose name becomes part of a file's.

    Raises:
        ValueError: they are none.
    """
    given = shares.values() if isinstance(shares, Mapping) else ()
    numbers = [share for share in given if isinstance(share, int | float) and not isinstance(share, bool) and share > 0]
    if not given or len(numbers) < len(given) or abs(sum(numbers) - 1) > 1e-6:
        raise ValueError(f"split={shares} must be shares above 0 that make 1 together, {{train: 0.8, val: 0.2}}")
    if wrong := [name for name in map(str, shares) if not re.fullmatch(r"[\w.-]{1,50}", name)]:
        raise ValueError(f"split {wrong[0]!r:.80} can't be part of a file's name; give letters, digits, - and _")


def dedupe(dataset: Any, files: Mapping[str, Any], out: Path | None) -> dict[str, list[Path]]:
    """Copy files without the rows that ask what an earlier row asks; test comes first, then val, then train.

    So a question that train shares with test goes out of train.

    Args:
        dataset: reads files.
        files: split -> what the data set reads.
        out: folder for the new files; ``None`` for that of each file.

    Returns:
        Split -> its new files, ``NAME-unique.SUFFIX``; only of splits that lose a row.

    Raises:
        ValueError: a file is there already, or a split would lose all rows.
    """
    seen: dict[str, str] = {}
    copies = Counter[str]()
    chosen: dict[str, list[str]] = {}
    for name in [name for name in ("test", "val", "train") if name in files]:
        rows, kept = dataset.read(files[name]), list[str]()
        for index in range(len(rows)):
            sample = rows[index]
            first = seen.setdefault(rows.identity(sample), sample.where)
            if first == sample.where or locate_row(first) == locate_row(sample.where):
                kept.append(sample.where)
                continue
            copies[name] += 1
            if copies.total() <= LOGGED:
                print(f"{sample.where} asks what {first} asks")
        if not kept:
            raise ValueError(f"every row of {files[name]} is in another file too; nothing would be left of {name}")
        chosen[name] = kept
    print(f"{copies.total()} copies among {len(seen)} different questions")
    return write({name: ("unique", wheres) for name, wheres in chosen.items() if copies[name]}, out)


def write(chosen: Mapping[str, tuple[str, Iterable[str]]], out: Path | None) -> dict[str, list[Path]]:
    """Copy rows into new files, one for each that they come from.

    Args:
        chosen: split -> the end of the new files' names, and the rows.
        out: folder; ``None`` for that of each file.

    Returns:
        Split -> its new files.

    Raises:
        ValueError: a new file is there already, or two files would have its name; then none is written.
    """
    copies: dict[Path, tuple[Path, set[str]]] = {}
    made: dict[str, list[Path]] = {}
    for split_name, (end, wheres) in chosen.items():
        for file, row in sorted(map(locate_row, wheres)):
            target = (out or file.parent) / f"{file.name.removesuffix(suffix(file))}-{end}{suffix(file)}"
            source, copied = copies.setdefault(target, (file, set()))
            if source != file:
                raise ValueError(f"{source} and {file} would both become {target}; rename one, or leave out= away")
            copied.add(row)
            made.setdefault(split_name, [])
            if target not in made[split_name]:
                made[split_name].append(target)
    if there := [target for target in copies if target.exists()]:
        raise ValueError(f"{there[0]} is there already; remove it, or choose another folder with out=")
    for target, (file, rows) in copies.items():
        copy_rows(file, rows, target)
    if moved := {file.parent.resolve() for file, _ in copies.values()} - {target.parent.resolve() for target in copies}:
        roots = [f"task.image_root={folder}" for folder in sorted(moved)]
        print(f"unless task.image_root is set, image files are found with {' or '.join(roots)}")
    return made


def show(made: Mapping[str, Sequence[Path]]) -> None:
    """Print the new files as the overrides that use them."""
    for name, files in made.items():
        given = str(files[0]) if len(files) == 1 else f"[{','.join(map(str, files))}]"
        print(f"task.{name}_file={given}" if name in ("train", "val", "test") else given)
