"""Run folders: what they hold, how to find one, and what a command may do to one that exists."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mirage_pl.engine.place import HOME

CONFIG, METRICS, ENVIRONMENT = "config.yaml", "metrics.json", "environment.json"
COMPOSED = "composed.yaml"
"""The config before its values were filled in: an evaluation sets some of its task's anew."""
LAST = Path("checkpoints", "last.ckpt")
PACKAGES = ["torch", "torchvision", "pytorch-lightning", "transformers", "hydra-core", "deepspeed"]
MUST_MATCH = [
    "model",
    "task",
    "stage.name",
    "stage.collator",
    "stage.module",
    "compression",
    "latent_size",
    "seed",
    "loader",
]
"""Config keys that may not change when a run continues, but for ``MAY_CHANGE`` and what ``stage.may_change`` lists."""
MAY_CHANGE = ("loader.batch_size", "task.data.loader.batch_size")
"""More processes may have fewer rows each; the loader sees to it that a step has the same."""


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write beside and rename, so that a kill leaves the old file or the new one."""
    write(file, json.dumps(content, indent=2) + "\n")


def write(file: Path, text: str) -> None:
    """Write beside and rename; the processes of one run, which all do it, each beside for themselves."""
    partial = file.with_suffix(f".{socket.gethostname()}-{os.getpid()}")
    partial.write_text(text)
    partial.rename(file)


def open_run(cfg: DictConfig, start: str | Path | None) -> Path:
    """Create the run folder, or enter the one that is there.

    Args:
        cfg: the run's config.
        start: where a new run takes its weights from; remembered.

    Raises:
        ValueError: the folder belongs to a run with another config.
    """
    folder = Path(cfg.run_dir)
    if (folder / CONFIG).is_file():
        if changed := differences(OmegaConf.load(folder / CONFIG), cfg):
            raise ValueError(
                f"run_dir={folder} holds another run; {changed[0]} (and {len(changed) - 1} more); "
                "choose another run_dir, or delete that folder"
            )
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / COMPOSED, OmegaConf.to_yaml(cfg))
        write(folder / CONFIG, OmegaConf.to_yaml(cfg, resolve=True))
        write_json(folder / ENVIRONMENT, environment() | {"start": str(start) if start else None})
    return folder


def differences(old: Any, new: DictConfig) -> list[str]:
    """Say which keys that define a run differ between two configs."""
    changed, free = [], (*(f"stage.{key}" for key in new.stage.may_change), *MAY_CHANGE)
    for key in MUST_MATCH:
        was, now = (flatten(OmegaConf.select(config, key), key) for config in (old, new))
        names = [name for name in sorted(was.keys() | now.keys()) if not name.startswith(free)]
        changed += [f"{n} was {was.get(n)} and is {now.get(n)}" for n in names if was.get(n) != now.get(n)]
    return changed


def flatten(node: Any, prefix: str) -> dict[str, Any]:
    """Dotted name -> value of every leaf of a config node."""
    value = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    if not isinstance(value, dict):
        return {prefix: value}
    return {name: leaf for key, child in value.items() for name, leaf in flatten(child, f"{prefix}.{key!s}").items()}


def environment() -> dict[str, Any]:
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


def runs_below(folder: Path) -> list[Path]:
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
    """Where a run goes on; ``None`` if it hasn't saved yet. A kill while one folder took another's place is mended."""
    last = folder / LAST
    aside = last.with_name(f"{last.name}.old")
    if aside.exists() and not last.exists():
        with suppress(FileNotFoundError):  # another process of the run was faster
            aside.rename(last)
    return last if last.exists() else None


def first_process() -> bool:
    """Whether this is the one process of a run that speaks and writes for all, by what its launcher tells it."""
    ranks = ("RANK", "SLURM_PROCID", "NODE_RANK", "LOCAL_RANK")
    return all(os.environ.get(name, "0") == "0" for name in ranks)


def is_finished(folder: Path) -> bool:
    """A run writes its metrics when it ends."""
    return (folder / METRICS).is_file() and (folder / LAST).exists()


def find_previous(cfg: DictConfig) -> Path:
    """Find the newest finished run of the stage that ``cfg.stage`` follows: same model, task and latent size.

    A run with the same seed and compression goes before a newer one without.

    Raises:
        ValueError: there is none; names the command that makes it.
    """
    stage = cfg.stage.follows
    wanted = {
        "stage.name": stage,
        "model.name": cfg.model.name,
        "task.name": cfg.task.name,
        "latent_size": cfg.latent_size,
    }
    liked = {"seed": cfg.seed, "compression._target_": cfg.compression._target_}
    found: list[tuple[int, float, Path]] = []
    for file in Path(cfg.runs).rglob(CONFIG):
        if not is_finished(file.parent):
            continue
        config = OmegaConf.load(file)
        if all(OmegaConf.select(config, key) == value for key, value in wanted.items()):
            likeness = sum(OmegaConf.select(config, key) == value for key, value in liked.items())
            found.append((likeness, (file.parent / LAST).stat().st_mtime, file.parent))
    if found:
        return max(found)[2]
    command = f"python -m mirage_pl.train stage={stage} task={cfg.task.name} model={cfg.model.name}"
    raise ValueError(
        f"stage={cfg.stage.name} starts from a finished {stage} run of the same model, task and latent size, and "
        f"{cfg.runs}/ has none; run {command} latent_size={cfg.latent_size} seed={cfg.seed}, or set init_from="
    )
