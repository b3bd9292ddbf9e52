"""Checks of a run before anything heavy is loaded. Imports no torch."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from mirage_pl.engine.cli import sweep_launcher
from mirage_pl.engine.keys import check_keys
from mirage_pl.engine.runs.config import read_record
from mirage_pl.engine.runs.entry import count_processes
from mirage_pl.engine.runs.folder import METRICS, is_finished
from mirage_pl.engine.training.trainer import check_trainer

log = logging.getLogger(__name__)


@runtime_checkable
class Rounds(Protocol):
    """How often a policy acts, and how many steps it then takes."""

    def steps(self, rows: int) -> int:
        """Steps of a round, of so many rollouts each; ``ValueError`` if rollouts don't go into whole steps."""


def finished_metrics(cfg: DictConfig, folder: Path) -> dict[str, Any] | None:
    """Metrics of a run that has reached its limit; ``None`` if steps are left."""
    if not is_finished(folder):
        return None
    metrics = read_record(folder / METRICS)
    return metrics if list_reached(cfg, metrics) else None


def list_reached(cfg: DictConfig, metrics: Mapping[str, Any]) -> list[str]:
    """The limits that a run with these metrics has reached."""
    taken = {"max_steps": metrics.get("step"), "max_epochs": metrics.get("epoch")}
    limits = {name: cfg.trainer[name] for name in taken}
    return [name for name, limit in limits.items() if limit is not None and 0 <= limit <= (taken[name] or 0)]


def describe_end(cfg: DictConfig, metrics: Mapping[str, Any], folder: Path) -> str:
    """Say of a finished run which limits end it, and how to go on."""
    limits = " and ".join(f"trainer.{name}" for name in list_reached(cfg, metrics))
    return f"{describe_losses(metrics)}; to go on raise {limits} with run_dir={folder}"


def describe_losses(metrics: Mapping[str, Any]) -> str:
    """Say at which step a run ended, and its last losses."""
    losses = [(name, metrics.get(name)) for name in ("train/loss", "val/loss")]
    words = [f"{name} {loss + 0.0:.4g}" for name, loss in losses if isinstance(loss, int | float)]
    return "  ".join([f"finished at step {metrics['step']}", *words])


def check_config(cfg: DictConfig) -> None:
    """Refuse a config that can't work on any machine.

    Raises:
        ValueError: names the key.
    """
    check_keys(cfg, "train")
    check_place(cfg.run_dir)
    check_trainer(cfg.trainer)
    if cfg.study.name and not cfg.study.method:
        raise ValueError(f"study.name={cfg.study.name} needs study.method; a whole study is run with -m: train -m …")
    if cfg.trainer.devices != 1 and sweep_launcher() == "basic":
        raise ValueError(
            f"trainer.devices={cfg.trainer.devices} with hydra/launcher=basic: the run's further processes would each "
            "sweep again; choose hydra/launcher=local or hydra/launcher=slurm"
        )
    if cfg.async_checkpoint and cfg.strategy.name.startswith("deepspeed"):
        raise ValueError(
            f"async_checkpoint=true with strategy={cfg.strategy.name}: DeepSpeed writes a folder of its own, all "
            "processes together; leave async_checkpoint out, or choose strategy=ddp or strategy=fsdp2"
        )


def check_place(run_dir: str) -> None:
    """Refuse a run folder that holds the current one: a run's files would lie among all others.

    Raises:
        ValueError: it is the current folder, or one above.
    """
    if Path.cwd().is_relative_to(Path(run_dir).resolve()):
        raise ValueError(
            f"run_dir={run_dir} is the current folder, or above it, and a run needs a folder of its own; give another, "
            "as run_dir=runs/mine"
        )


def check_rounds(cfg: DictConfig) -> None:
    """Refuse rounds that can't be, if a run has rounds; where devices are chosen by the machine training itself counts.

    Raises:
        ValueError: a group of one, or rollouts that don't go into whole steps.
    """
    node = OmegaConf.select(cfg, "stage.module.rollouts")
    if not isinstance(node, DictConfig):
        return
    rounds, processes = instantiate(node), count_processes(cfg)
    if isinstance(rounds, Rounds) and processes is not None:
        rounds.steps(int(cfg.loader.batch_size) * processes * int(cfg.trainer.accumulate_grad_batches))
