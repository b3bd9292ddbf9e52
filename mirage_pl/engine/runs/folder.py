"""Run folders: their files, and how to find them."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from pathlib import Path
from typing import Any

from mirage_pl.engine.place import HOME
from mirage_pl.engine.runs.config import read_record

CONFIG, METRICS, ENVIRONMENT = "config.yaml", "metrics.json", "environment.json"
COMPOSED = "composed.yaml"
"""The config before its values were filled in: an evaluation sets some of its task's anew."""
LAST = Path("checkpoints", "last.ckpt")
STATUS = "status.json"
PACKAGES = ["torch", "torchvision", "pytorch-lightning", "transformers", "hydra-core", "deepspeed"]


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write JSON atomically; numbers that aren't finite, which JSON doesn't have, become ``null``."""
    write_text(file, json.dumps(make_strict(content), indent=2, allow_nan=False) + "\n")


def make_strict(content: Any) -> Any:
    """Convert content to strict JSON: NumPy and torch scalars become plain numbers, non-finite numbers ``None``."""
    if isinstance(content, Mapping):
        return {str(key): make_strict(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [make_strict(value) for value in content]
    if hasattr(content, "item"):  # a scalar of NumPy or torch, which isn't imported here
        content = content.item()
    return None if isinstance(content, float) and not isfinite(content) else content


def write_text(file: Path, text: str) -> None:
    """Write a file atomically: to a name of this process's own, then rename."""
    partial = file.with_suffix(f".{socket.gethostname()}-{os.getpid()}")
    try:
        partial.write_text(text)
        partial.rename(file)
    except OSError:
        with suppress(OSError):
            partial.unlink()
        raise


def describe_environment() -> dict[str, Any]:
    """Command line, time, git revision and package versions."""
    git = ["git", "-C", str(HOME)]
    revision = subprocess.run(
        [*git, "rev-parse", "--verify", "--quiet", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    dirty = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=False).stdout.strip()
    return {
        "command": " ".join(sys.argv),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": revision or None,
        "uncommitted_files": len(dirty.splitlines()),
        "python": sys.version.split()[0],
        "packages": {name: package_version(name) for name in PACKAGES},
    }


def package_version(name: str) -> str | None:
    """Version of an installed package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def find_runs_below(folder: Path) -> list[Path]:
    """Run folders at or below a folder, by path; Hydra's ``.hydra`` in a run is none.

    Raises:
        ValueError: there is none.
    """
    runs = sorted(file.parent for file in folder.rglob(CONFIG) if file.parent.name != ".hydra")
    if not runs:
        problem = "holds no run" if folder.is_dir() else "is no folder"
        raise ValueError(f"{folder} {problem}; give run folders (each has a {CONFIG}), or folders that hold some")
    return runs


def last_checkpoint(folder: Path) -> Path | None:
    """The checkpoint to resume from, if any; one that a kill left set aside is put back."""
    last = folder / LAST
    aside = last.with_name(f"{last.name}.old")
    if aside.exists() and not last.exists():
        with suppress(FileNotFoundError):  # another process of the run was faster
            aside.rename(last)
    return last if last.exists() else None


def first_process() -> bool:
    """Whether this is the process that prints and writes for all, by the launcher's environment variables."""
    ranks = ("RANK", "SLURM_PROCID", "NODE_RANK", "LOCAL_RANK")
    return all(os.environ.get(name, "0") == "0" for name in ranks)


def is_finished(folder: Path) -> bool:
    """Whether a run has ended by itself, which writes its metrics."""
    return (folder / METRICS).is_file() and (folder / LAST).exists()


def has_saved(folder: Path) -> bool:
    """Whether a run folder holds anything that training made: a checkpoint, metrics, an evaluation, or steps."""
    results = [*folder.glob("checkpoints/*"), *folder.glob(METRICS), *folder.glob("evaluation/*")]
    try:
        steps = read_record(folder / STATUS).get("step")
    except ValueError:  # only a sign of life
        steps = None
    return bool(results or steps)
