"""The files a run trains on, as they were when it began: one that has changed since is another run's data."""

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
"""A file of at most ``WHOLE`` bytes is read whole; of a larger one so many pieces, of so many bytes, evenly spread."""


def record_data(cfg: DictConfig, folder: Path) -> None:
    """Remember the data files of a run that begins, once they have been made."""
    write_json(folder / ENVIRONMENT, read_record(folder / ENVIRONMENT) | {"data": describe_data(cfg)})


def check_data(cfg: DictConfig, folder: Path) -> None:
    """Refuse to go on with other data than that with which a run began.

    Raises:
        ValueError: names the key, the file, and both sizes.
    """
    began: dict[str, Any] = read_record(folder / ENVIRONMENT).get("data") or {}
    now = describe_data(cfg) if began else {}
    for key, was in began.items():
        if (found := now.get(key)) != was:
            file = OmegaConf.select(cfg, key)
            is_now = f"{found['bytes']:,} bytes now" if found else "it isn't there now"
            raise ValueError(
                f"{key}={file} has changed since run_dir={folder} began ({was['bytes']:,} bytes then, {is_now}), so "
                "the rows to come aren't those that would have come; put it back as it was, or start a new run with "
                f"init_from={folder} and another run_dir"
            )


def describe_data(cfg: DictConfig) -> dict[str, dict[str, Any]]:
    """Config key -> size and checksum of the files it names, of all keys of the task but those of its test split."""
    described: dict[str, dict[str, Any]] = {}
    seen: set[tuple[Path, ...]] = set()
    for key, value in flatten(cfg.task, "task").items():
        if "test" in key.rsplit(".", 1)[-1] or is_below(key, FREE):
            continue
        files = tuple(named_files(value))
        if files and files not in seen:
            seen.add(files)
            digest = sha256("".join(checksum(file) for file in files).encode()).hexdigest()
            described[key] = {"bytes": sum(file.stat().st_size for file in files), "sha256": digest}
    return described


def named_files(value: Any) -> Iterator[Path]:
    """The files that are there of those that a value names: a path, a pattern, or a list of either."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from named_files(item)
    elif isinstance(value, dict):
        yield from named_files(list(value.values()))
    elif isinstance(value, str) and 0 < len(value) < 4096 and "\n" not in value:
        paths = sorted(glob(value, recursive=True)) if has_magic(value) else [value]
        yield from (Path(path) for path in paths if is_file(path))


def is_file(path: str) -> bool:
    """Whether this is the path of a file; a sentence that no path can be is none."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def checksum(file: Path) -> str:
    """SHA-256 of a file's size and content; of a large file's content some pieces."""
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
