"""Hydra launchers for the points of a sweep, as local processes or SLURM jobs. A failed point leaves the others alone.

Hydra's own launcher runs all points in one process, which an error in one of them ends; submitit's drops the others
when one fails. These wait for all points, report to Hydra's callbacks how each ended, and raise no error in the
sweeper. Hydra looks for launchers in this namespace only.
"""

import json
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, filter_overrides, setup_globals
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf, open_dict, read_write


class Jobs(Launcher):
    """What both launchers share."""

    config: Any
    hydra_context: Any
    task_function: Any

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        """Keep Hydra's context, the function to run and the config."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all points.

        Returns:
            A job for each, whose ``return_value`` is ``{"failed": why}``, or the objective if the sweeper has one.
        """
        setup_globals()
        points = [self.compose(overrides, initial_job_idx + at) for at, overrides in enumerate(job_overrides)]
        for point, failed in zip(points, self.make(points), strict=True):
            objective = hydra_of(point).sweeper.get("objective")
            value = {"failed": failed} if failed else read_objective(folder_of(point), objective) if objective else {}
            point.status, point.return_value = JobStatus.COMPLETED, value
            self.hydra_context.callbacks.on_job_end(config=point.hydra_cfg, job_return=point)
        return points

    def compose(self, overrides: Sequence[str], number: int) -> JobReturn:
        """The config of a point, and its folder as ``hydra.runtime.output_dir``."""
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        with current(config):
            folder = Path(config.hydra.sweep.dir, config.hydra.sweep.subdir).absolute()
        with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
            config.hydra.runtime.output_dir = str(folder)
        return JobReturn(overrides=list(overrides), hydra_cfg=config)

    @abstractmethod
    def make(self, points: Sequence[JobReturn]) -> list[str]:
        """Run all points, and return why each failed; an empty string for one that didn't."""


@contextmanager
def current(config: Any) -> Iterator[None]:
    """Make a point's config Hydra's current one: resolvers name a run by the overrides they read there."""
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)
    try:
        yield
    finally:
        HydraConfig.instance().cfg = before


def resolved(point: JobReturn) -> tuple[DictConfig, dict[str, Any]]:
    """The config of a point's run, without Hydra's part, and the keys of its launcher."""
    config: Any = point.hydra_cfg
    ours = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    with current(config):
        values, launcher = (OmegaConf.to_container(part, resolve=True) for part in (ours, config.hydra.launcher))
    return OmegaConf.create(values), launcher  # type: ignore[return-value]


def name_points(points: Sequence[JobReturn]) -> list[str]:
    """Name each point by its own overrides: those that the other points don't share."""
    overrides = [filter_overrides(point.overrides or ()) for point in points]
    shared = set(overrides[0]).intersection(*overrides) if len(overrides) > 1 else set()
    return [" ".join(item for item in items if item not in shared) for items in overrides]


def read_objective(folder: Path, objective: str) -> float | dict[str, str]:
    """Read the value that a sweep optimizes from a run's metrics; ``{"failed": why}`` without one."""
    if not (folder / "metrics.json").is_file():
        return {"failed": f"stopped before its end: no {folder / 'metrics.json'}"}
    metrics = json.loads((folder / "metrics.json").read_text())
    value = metrics.get(objective)
    if isinstance(value, int | float) and isfinite(value):
        return value
    problem = f"{objective} is {value}" if value is not None else f"no {objective}, only {', '.join(metrics)}"
    return {"failed": f"{problem} in {folder / 'metrics.json'}"}


def folder_of(point: JobReturn) -> Path:
    """The run folder of a point."""
    return Path(hydra_of(point).runtime.output_dir)


def hydra_of(point: JobReturn) -> Any:
    """Hydra's own part of a point's config."""
    assert point.hydra_cfg is not None
    return point.hydra_cfg.hydra
