"""What is found out about a run before anything heavy is loaded. Imports no torch."""

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mirage_pl.engine.cli import swept_by
from mirage_pl.engine.runs.config import read_record
from mirage_pl.engine.runs.folder import METRICS, is_finished
from mirage_pl.engine.training.trainer import check_trainer

log = logging.getLogger(__name__)


def finished_metrics(cfg: DictConfig, folder: Path) -> dict[str, Any] | None:
    """Metrics of a run that has nothing left to do."""
    if not is_finished(folder):
        return None
    metrics = read_record(folder / METRICS)
    limits = {"step": cfg.trainer.max_steps, "epoch": cfg.trainer.max_epochs}
    return metrics if any(0 <= limit <= metrics.get(name, -1) for name, limit in limits.items()) else None


def check(cfg: DictConfig) -> None:
    """Refuse what can't work on any machine, before anything heavy is loaded.

    Raises:
        ValueError: names the key.
    """
    check_trainer(cfg.trainer)
    if cfg.study.name and not cfg.study.method:
        raise ValueError(f"study.name={cfg.study.name} needs study.method; a whole study is run with -m: train -m …")
    if cfg.trainer.devices != 1 and swept_by() == "basic":
        raise ValueError(
            f"trainer.devices={cfg.trainer.devices} with hydra/launcher=basic: the run's further processes would each "
            "sweep again; choose hydra/launcher=local or hydra/launcher=slurm"
        )
    if cfg.async_checkpoint and cfg.strategy.name.startswith("deepspeed"):
        raise ValueError(
            f"async_checkpoint=true with strategy={cfg.strategy.name}: DeepSpeed writes a folder of its own, all "
            "processes together; leave async_checkpoint out, or choose strategy=ddp or strategy=fsdp2"
        )
