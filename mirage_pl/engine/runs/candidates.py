"""Finished runs that others may start from: what they took of the steps they were due. Imports no torch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mirage_pl.engine.runs.config import read_config, read_record
from mirage_pl.engine.runs.folder import CONFIG, LAST, METRICS, is_finished

CUT_SHORT = ("trainer.fast_dev_run", "trainer.limit_train_batches", "trainer.overfit_batches")
"""With a value here a run has seen a part of its data only, and no run starts from it by default."""


@dataclass(frozen=True)
class Candidate:
    """A run that might be started from.

    Attributes:
        folder: its folder.
        config: its config.
        steps: how many it took.
        steps_due: its stage's steps, or its own ``max_steps`` if larger; 0 if its length is in epochs.
        whole: whether it took these steps, on all of its data.
    """

    folder: Path
    config: DictConfig
    steps: int
    steps_due: int
    whole: bool

    @property
    def age(self) -> float:
        """Time of its last checkpoint."""
        return (self.folder / LAST).stat().st_mtime

    def __str__(self) -> str:
        of = f"{self.steps} of {max(self.steps_due, self.steps)}" if self.steps_due else str(self.steps)
        return f"{self.folder} ({of} steps)"


def count_equal(run: Candidate, values: Mapping[str, Any]) -> int:
    """How many of these values a run has."""
    return sum(OmegaConf.select(run.config, key) == value for key, value in values.items())


def share_taken(run: Candidate) -> float:
    """Fraction of its steps that a run took."""
    return min(1.0, run.steps / run.steps_due) if run.steps_due else 1.0


def list_candidates(runs: Path) -> Iterator[Candidate]:
    """Finished runs below a folder that can be read and whose losses are finite."""
    for file in runs.rglob(CONFIG):
        if is_finished(file.parent):
            try:
                run = read_candidate(file.parent)
            except ValueError:
                continue
            if run is not None:
                yield run


def read_candidate(folder: Path) -> Candidate | None:
    """Read a finished run; ``None`` if a loss isn't finite.

    Raises:
        ValueError: one of its files can't be read.
    """
    config, metrics = read_config(folder / CONFIG), read_record(folder / METRICS)
    losses = [value for name, value in metrics.items() if name.startswith("train/")]
    if not all(isinstance(loss, int | float) and isfinite(loss) for loss in losses):
        return None
    steps, epoch = (int(metrics.get(name) or 0) for name in ("step", "epoch"))
    limits = {name: OmegaConf.select(config, f"trainer.{name}") or 0 for name in ("max_steps", "max_epochs")}
    steps_due = max(limits["max_steps"], OmegaConf.select(config, "stage.max_steps") or 0)
    if limits["max_epochs"] > 0:
        steps_due = max(limits["max_steps"], 0)
    whole = steps >= steps_due > 0 or epoch >= limits["max_epochs"] > 0
    return Candidate(folder, config, steps, steps_due, whole and steps > 0 and not is_cut_short(config))


def is_trial(cfg: DictConfig) -> bool:
    """Whether a run takes fewer steps than its stage, or sees a part of its data only."""
    steps = cfg.trainer.max_steps
    return is_cut_short(cfg) or 0 <= steps < (OmegaConf.select(cfg, "stage.max_steps") or 0)


def is_cut_short(config: DictConfig) -> bool:
    """Whether a run sees a part of its data only."""
    given = [OmegaConf.select(config, key) for key in CUT_SHORT]
    return any(value not in (None, False, 0, 1.0) or (value == 1 and isinstance(value, int)) for value in given)
