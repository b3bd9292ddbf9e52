"""Some rows of a file as a file of the same kind, byte for byte where the kind allows it."""

import gzip
import json
import os
import re
import tarfile
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet

from data_modules.files.documents import Document, open_json
from data_modules.files.lines import unpack
from data_modules.files.shards import split_name
from data_modules.files.tables import Table


def locate_row(where: str) -> tuple[Path, str]:
    """Split what a sample calls its row into the file and the row's name in it.

    Args:
        where: ``file:12`` (a line), ``file:row 12`` or ``file:key``, and after it which of several samples of the row.
    """
    file, _, name = re.sub(r"(, choices rotated by |@)\d+$", "", where).rpartition(":")
    return Path(file), name


def suffix(file: Path) -> str:
    """Return what says of which kind a file is: ``.jsonl.gz`` whole."""
    return "".join(file.suffixes[-2:]) if file.suffix.lower() == ".gz" else file.suffix


def copy_rows(file: Path, names: Collection[str], out: Path) -> None:
    """Write some rows of a file, in their order, as a file of the same kind.

    Args:
        file: ``.jsonl``, ``.json``, these with ``.gz``, ``.parquet``, ``.tar``, ``.csv`` or ``.tsv``.
        names: of the rows, from :func:`locate_row`.
        out: the new file, which is replaced; appears under its name when it is whole.

    Raises:
        ValueError: the file isn't of these kinds.
    """
    kinds = {".parquet": _copy_parquet, ".tar": _copy_tar, ".csv": _copy_table, ".tsv": _copy_table}
    kinds |= dict.fromkeys((".jsonl", ".json", ".jsonl.gz", ".json.gz"), _copy_lines)
    if suffix(file).lower() not in kinds:
        raise ValueError(f"{file} is none of {', '.join(kinds)}; its rows can't be copied")
    with _drafted(out) as draft:
        kinds[suffix(file).lower()](file, set(names).__contains__, draft)


@contextmanager
def _drafted(out: Path) -> Iterator[Path]:
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.draft-{os.getpid()}")
    try:
        yield draft
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)


def _copy_lines(file: Path, wanted: Callable[[str], bool], out: Path) -> None:
    packed = file.suffix.lower() == ".gz"
    lines = open_json(unpack(file) if packed else file, file)
    if isinstance(lines, Document):
        rows = [lines[index] for index in range(len(lines)) if wanted(locate_row(lines.where(index))[1])]
        text = "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n"
        with (gzip.open if packed else open)(out, "wb") as target:
            target.write(text.encode())
        return
    with (gzip.open if packed else open)(out, "wb") as target, lines.file.open("rb") as source:
        for number, line in enumerate(source, start=1):
            if wanted(str(number)):
                target.write(line.rstrip(b"\r\n") + b"\n")


def _copy_parquet(file: Path, wanted: Callable[[str], bool], out: Path) -> None:
    first = 0
    schema = pyarrow.parquet.read_schema(file)
    with closing(pyarrow.parquet.ParquetFile(file)) as source, pyarrow.parquet.ParquetWriter(out, schema) as target:
        for group in range(source.num_row_groups):
            rows = source.read_row_group(group)
            picks = [index for index in range(len(rows)) if wanted(f"row {first + index}")]
            first += len(rows)
            if picks:
                target.write_table(rows.take(picks))


def _copy_table(file: Path, wanted: Callable[[str], bool], out: Path) -> None:
    table = Table(file)
    with out.open("wb") as target, file.open("rb") as source:
        target.write(source.read(int(table.starts_N1[0])))
        for index, (start, end) in enumerate(pairwise(table.starts_N1.tolist())):
            content = source.read(end - start)
            if wanted(locate_row(table.where(index))[1]):
                target.write(content.rstrip(b"\r\n") + b"\n")


def _copy_tar(file: Path, wanted: Callable[[str], bool], out: Path) -> None:
    with tarfile.open(file, "r:") as source, tarfile.open(out, "w") as target:
        for member in source:
            if member.isfile() and wanted(split_name(member.name)[0]):
                target.addfile(member, source.extractfile(member))
