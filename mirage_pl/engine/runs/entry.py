"""Entering a run folder: one that is new, one that goes on, or one whose run never began."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mirage_pl.engine.runs.config import read_config, read_record
from mirage_pl.engine.runs.folder import (
    COMPOSED,
    CONFIG,
    ENVIRONMENT,
    environment,
    has_saved,
    last_checkpoint,
    write,
    write_json,
)
from mirage_pl.engine.runs.identity import differences

log = logging.getLogger(__name__)


def make_folder(folder: Path) -> None:
    """Make a run folder.

    Raises:
        ValueError: it can't be made, or can't be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"run_dir={folder} cannot be made ({error.strerror}: {error.filename}); choose another run_dir"
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"run_dir={folder} cannot be written to; see to its permissions, or choose another run_dir")


def open_run(cfg: DictConfig, starts: Mapping[str, str]) -> Path:
    """Create the run folder, or enter the one that is there; one that holds nothing of a training is begun anew.

    Args:
        cfg: the run's config.
        starts: name -> run or checkpoint that a new run takes weights from; remembered.

    Raises:
        ValueError: the folder can't be made, or belongs to a run with another config.
    """
    folder = Path(cfg.run_dir)
    make_folder(folder)
    if has_saved(folder) and (folder / CONFIG).is_file():
        check_same(cfg, folder)
        if last_checkpoint(folder) is None:  # it begins anew
            write_json(folder / ENVIRONMENT, read_record(folder / ENVIRONMENT) | {"starts": dict(starts)})
        return folder
    if has_config(folder, cfg):
        write_json(folder / ENVIRONMENT, environment() | read_record(folder / ENVIRONMENT) | {"starts": dict(starts)})
        return folder
    write(folder / COMPOSED, OmegaConf.to_yaml(cfg))
    write(folder / CONFIG, OmegaConf.to_yaml(cfg, resolve=True))
    write_json(folder / ENVIRONMENT, environment() | {"starts": dict(starts)})
    return folder


def has_config(folder: Path, cfg: DictConfig) -> bool:
    """Whether a folder in which nothing has been trained was made for this very config."""
    try:
        read_record(folder / ENVIRONMENT)
        return read_config(folder / CONFIG) == OmegaConf.create(OmegaConf.to_yaml(cfg, resolve=True))
    except ValueError:
        return False


def check_same(cfg: DictConfig, folder: Path) -> None:
    """Refuse to go on in the folder of another run.

    Raises:
        ValueError: names the first key that differs, or a file that can't be read.
    """
    changed = differences(read_config(folder / CONFIG), cfg)
    if cfg.init_from and str(cfg.init_from).rstrip("/") in recorded_starts(folder).values():
        changed = [change for change in changed if not change.startswith("init_from ")]
    if changed:
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        raise ValueError(
            f"run_dir={folder} holds another run; {changed[0]}{more}; choose another run_dir, or delete that folder"
        )


def recorded_starts(folder: Path) -> dict[str, str]:
    """Name -> run or checkpoint from which a run took weights when it began."""
    starts: dict[str, str] = read_record(folder / ENVIRONMENT).get("starts") or {}
    return starts


def share_rows(cfg: DictConfig, folder: Path) -> None:
    """Give the processes with which a run goes on their share of a batch, if it began with fewer or more of them.

    Raises:
        ValueError: they can't share it evenly.
    """
    began = read_config(folder / CONFIG)
    key = "max_tokens" if cfg.loader.max_tokens is not None else "batch_size"
    was, now, each = count_processes(began), count_processes(cfg), OmegaConf.select(began, f"loader.{key}")
    if was is None or now is None or was == now or cfg.loader[key] != each:
        return
    if each * was % now:
        raise ValueError(
            f"run_dir={folder} was trained with loader.{key}={each} on each of {was} process(es), and {now} can't "
            f"share {each * was} evenly; choose trainer.devices and trainer.num_nodes so that they can"
        )
    log.info("%d processes in place of %d, so loader.%s=%d in place of %d", now, was, key, each * was // now, each)
    for loader in (cfg.loader, OmegaConf.select(cfg, "task.data.loader")):
        if loader is not None:
            loader[key] = each * was // now


def count_processes(config: DictConfig) -> int | None:
    """The processes that a config asks for; ``None`` if it leaves that to the machine."""
    devices: Any = config.trainer.devices
    if OmegaConf.is_list(devices):
        devices = len(devices)
    return devices * int(config.trainer.num_nodes) if isinstance(devices, int) and devices > 0 else None
