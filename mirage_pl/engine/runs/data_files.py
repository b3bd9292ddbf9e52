"""Checksums of a run's data files: a run doesn't go on with files that have changed since it began."""

from collections.abc import Iterator
from glob import glob, has_magic
from hashlib import sha256
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mirage_pl.engine.runs.config import read_record
from mirage_pl.engine.runs.folder import ENVIRONMENT, write_json
from mirage_pl.engine.runs.identity import FREE, flatten, is_below

WHOLE, PIECES, PIECE = 64 * 2**20, 64, 2**16
"""Files of up to ``WHOLE`` bytes are read whole; of larger ones ``PIECES`` pieces of ``PIECE`` bytes, evenly spaced."""


def record_data(cfg: DictConfig, folder: Path) -> None:
    """Record the data files of a new run, once they have been made."""
    write_json(folder / ENVIRONMENT, read_record(folder / ENVIRONMENT) | {"data": describe_data(cfg)})


def check_data(cfg: DictConfig, folder: Path) -> None:
    """Refuse to resume a run whose data has changed.

    Raises:
        ValueError: names the key, the file, and both sizes.
    """
    recorded: dict[str, Any] = read_record(folder / ENVIRONMENT).get("data") or {}
    current = describe_data(cfg) if recorded else {}
    for key, record in recorded.items():
        if (files := current.get(key)) != record:
            file = OmegaConf.select(cfg, key)
            size = f"{files['bytes']:,} bytes now" if files else "it isn't there now"
            raise ValueError(
                f"{key}={file} has changed since run_dir={folder} began ({record['bytes']:,} bytes then, {size}), so "
                "the rows to come aren't those that would have come; put it back as it was, or start a new run with "
                f"init_from={folder} and another run_dir"
            )


def describe_data(cfg: DictConfig) -> dict[str, dict[str, Any]]:
    """Config key -> size and checksum of its files, for every key below ``task`` except those of the test split."""
    described: dict[str, dict[str, Any]] = {}
    seen: set[tuple[Path, ...]] = set()
    for key, value in flatten(cfg.task, "task").items():
        if "test" in key.rsplit(".", 1)[-1] or is_below(key, FREE):
            continue
        files = tuple(list_files(value))
        if files and files not in seen:
            seen.add(files)
            digest = sha256("".join(compute_checksum(file) for file in files).encode()).hexdigest()
            described[key] = {"bytes": sum(file.stat().st_size for file in files), "sha256": digest}
    return described


def list_files(value: Any) -> Iterator[Path]:
    """Existing files that a value names: a path, a glob pattern, or a list of either."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from list_files(item)
    elif isinstance(value, dict):
        yield from list_files(list(value.values()))
    elif isinstance(value, str) and 0 < len(value) < 4096 and "\n" not in value:
        paths = sorted(glob(value, recursive=True)) if has_magic(value) else [value]
        yield from (Path(path) for path in paths if is_file(path))


def is_file(path: str) -> bool:
    """Whether a string is the path of a file; text that can't be a path isn't."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def compute_checksum(file: Path) -> str:
    """SHA-256 of a file's size and content, or of pieces of the content of a large file."""
    size = file.stat().st_size
    digest = sha256(str(size).encode())
    with open(file, "rb") as content:
        if size <= WHOLE:
            digest.update(content.read())
        else:
            for piece in range(PIECES):
                content.seek(piece * (size - PIECE) // (PIECES - 1))
                digest.update(content.read(PIECE))
    return digest.hexdigest()
