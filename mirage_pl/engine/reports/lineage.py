"""A training run read from its folder, and its ancestors: the runs that its weights came from.

It is read from ``config.yaml``, ``metrics.json`` and ``environment.json`` of training, TensorBoard's events, and
``evaluation/<label>/``. Cost, steps and curves add up over all ancestors; a shared ancestor counts once.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import takewhile
from math import isfinite
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from mirage_pl.engine.evaluation.results import PREDICTIONS, Result, is_number, read_result
from mirage_pl.engine.runs.config import read_config, read_record
from mirage_pl.engine.runs.curves import Curve, read_curves
from mirage_pl.engine.runs.folder import CONFIG, ENVIRONMENT, METRICS


@dataclass(frozen=True)
class Run:
    """One run of a study.

    Attributes:
        folder: the run folder.
        method: ``study.method`` of its config, else the folder's name without the seed.
        seed: of training.
        scored: the class that scores it in training, which tells what its curves are of; ``None``: its config has none.
        paper: what the paper reports for this method: measure -> number, or one number for the first measure.
        metrics: the last metrics of training; empty if it hasn't ended.
        environment: command, git revision and versions; empty if unknown.
        result: its evaluation under the study's label; ``None`` if there is none.
        ancestors: the runs that its weights came from, and theirs in turn: each once, after its own ancestors.
        lost: a path that it or an ancestor took weights from, if no run is found there.
        task: that it was trained on; ``None``: its config names none.
    """

    folder: Path
    method: str
    seed: int
    scored: str | None
    paper: Mapping[str, float] | float | None
    metrics: Mapping[str, Any]
    environment: Mapping[str, Any]
    result: Result | None
    ancestors: tuple["Run", ...] = ()
    lost: str | None = None
    task: str | None = None

    @property
    def own_hours(self) -> float | None:
        """Device hours of this training alone."""
        seconds, devices = read_number(self.metrics, "seconds"), read_number(self.metrics, "devices")
        return None if seconds is None or devices is None else seconds * devices / 3600

    @property
    def own_steps(self) -> float | None:
        """Optimizer steps of this training alone."""
        return read_number(self.metrics, "step")

    @property
    def hours(self) -> float | None:
        """Device hours including all ancestors; ``None`` if any is unknown."""
        return None if self.lost else add_up(run.own_hours for run in (*self.ancestors, self))

    @property
    def steps(self) -> float | None:
        """Optimizer steps including all ancestors; ``None`` if any is unknown."""
        return None if self.lost else add_up(run.own_steps for run in (*self.ancestors, self))

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """TensorBoard tag -> logged points; steps continue from one run to the next.

        Ancestors come first, if they are scored alike: the same tag of another kind of model is another quantity.
        """
        joined: dict[str, list[tuple[int, float]]] = {}
        scored: dict[str, str | None] = {}
        start = 0
        for run in (*self.ancestors, self):
            own = read_curves(run.folder)
            for tag, curve in own.items():
                if scored.setdefault(tag, run.scored) != run.scored:
                    joined[tag], scored[tag] = [], run.scored
                joined.setdefault(tag, []).extend((start + step, value) for step, value in curve if isfinite(value))
            logged = max((curve[-1][0] for curve in own.values()), default=0)
            start += logged if run.own_steps is None else int(run.own_steps)
        return {tag: curve for tag, curve in joined.items() if curve}


def add_up(numbers: Iterable[float | None]) -> float | None:
    """Add up numbers; ``None`` if any is unknown."""
    values = list(numbers)
    return None if None in values else sum(value for value in values if value is not None)


def read_number(metrics: Mapping[str, Any], key: str) -> float | None:
    """A finite number of a metrics file; ``None`` if there is none under the key."""
    value = metrics.get(key)
    return value if is_number(value) else None


def read_run(folder: Path, label: str | None) -> Run:
    """Read one run folder, without its ancestors.

    Args:
        folder: the run folder.
        label: name of the evaluation to read; ``None``: read none.

    Raises:
        ValueError: a file is broken; gives the remedy.
    """
    config = read_config(folder / CONFIG)
    study = config.get("study") or {}
    records = {name: read_record(folder / name) for name in (METRICS, ENVIRONMENT)}
    return Run(
        folder,
        str(study.get("method") or re.sub(r"-seed\d+", "", folder.name)),
        config.seed,
        OmegaConf.select(config, "callbacks.scores.evaluation._target_"),
        read_paper(study.get("paper"), folder / CONFIG),
        records[METRICS],
        records[ENVIRONMENT],
        read_items(folder / "evaluation" / label) if label else None,
        task=OmegaConf.select(config, "task.name"),
    )


def read_paper(paper: Any, file: Path) -> Mapping[str, float] | float | None:
    """Read ``study.paper``: a number, measure -> number, or nothing.

    Raises:
        ValueError: something else.
    """
    numbers = [paper] if not isinstance(paper, Mapping) else list(paper.values())
    if paper is not None and not all(is_number(value) and not isinstance(value, bool) for value in numbers):
        raise ValueError(f"{file}: study.paper must be a number, or a measure's name with a number each; got {paper!r}")
    return {str(name): float(value) for name, value in paper.items()} if isinstance(paper, Mapping) else paper


def read_items(folder: Path) -> Result | None:
    """Read an evaluation whose rows name their items; ``None`` if there is no ``metrics.json``.

    Raises:
        ValueError: a file is broken, or a row has no ``id``.
    """
    if not (folder / METRICS).is_file():
        return None
    result = read_result(folder)
    for line, row in enumerate(result.rows, start=1):
        if not isinstance(row.get("id"), str) or not isinstance(row.get(result.conditions_in) or {}, dict):
            where = f"{folder / PREDICTIONS}:{line}"
            raise ValueError(f"{where}: id must be str, and {result.conditions_in} an object; {result.remedy}")
    return result


def add_ancestors(run: Run, runs: Mapping[Path, Run]) -> Run:
    """Add a run's ancestors, following starts back to runs without any.

    Args:
        run: the descendant.
        runs: the runs read so far, by folder; others are read from disk.
    """
    ancestors: dict[Path, Run] = {}
    lost = visit_parents(run, runs, ancestors, {run.folder})
    return replace(run, ancestors=tuple(ancestors.values()), lost=lost)


def visit_parents(child: Run, runs: Mapping[Path, Run], ancestors: dict[Path, Run], path: set[Path]) -> str | None:
    """Add a run's ancestors to those visited, oldest first; return a start where no run is found, if there is one."""
    for start in list_starts(child):
        parent = find_parent(Path(start), runs)
        if parent is None or parent.folder in path:
            return start
        if parent.folder not in ancestors:
            if lost := visit_parents(parent, runs, ancestors, {*path, parent.folder}):
                return lost
            ancestors[parent.folder] = parent
    return None


def list_starts(run: Run) -> list[str]:
    """List the runs or checkpoints that a run took weights from."""
    starts = run.metrics.get("starts") or run.environment.get("starts")
    return [str(start) for start in starts.values() if start] if isinstance(starts, Mapping) else []


def find_parent(start: Path, runs: Mapping[Path, Run]) -> Run | None:
    """Find the run that a path or a checkpoint belongs to.

    If the path doesn't exist, as after runs were copied from another machine, it is the run whose path has the longest
    end in common with it, if there is only one.
    """
    start = start.absolute()
    start = start.parents[1] if start.suffix == ".ckpt" else start
    if (start / CONFIG).is_file():
        try:
            return runs.get(start.resolve()) or read_run(start.resolve(), None)
        except ValueError:
            return None
    alike = {folder: count_shared_parts(folder, start) for folder in runs}
    nearest = [folder for folder, length in alike.items() if length == max(alike.values()) > 0]
    return runs[nearest[0]] if len(nearest) == 1 else None


def count_shared_parts(a: Path, b: Path) -> int:
    """Count the parts that two paths have in common, from the end."""
    pairs = zip(reversed(a.parts), reversed(b.parts), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
