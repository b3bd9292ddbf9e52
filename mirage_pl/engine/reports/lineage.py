"""A training run as its folder tells it, and the runs whose weights it took.

Read are ``config.yaml``, ``metrics.json`` and ``environment.json`` of training, TensorBoard's events, and
``evaluation/<label>/``. Cost, steps and curves add up over all ancestors, each of which counts once, whatever it gave
weights to.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import takewhile
from math import isfinite
from pathlib import Path
from typing import Any

from mirage_pl.engine.evaluation.results import Evaluation, read_evaluation
from mirage_pl.engine.reports.plots import Curve, read_curves
from mirage_pl.engine.runs.folder import CONFIG, ENVIRONMENT, METRICS, read_config, read_record


@dataclass(frozen=True)
class Run:
    """What a study reads of one run folder.

    Attributes:
        folder: the run folder.
        method: ``study.method`` of its config, else the folder's name without the seed.
        seed: of training.
        paper: what the paper says this method answers right, 0 to 1.
        metrics: the last of training; empty if it has not ended.
        environment: command, git revision and versions; empty if not known.
        evaluation: ``None`` if there is none under the study's label.
        ancestors: the runs whose weights it took, and those whose weights they took: each after its own, and once.
        lost: where one of them all took weights, if no run is to be found there.
    """

    folder: Path
    method: str
    seed: int
    paper: float | None
    metrics: Mapping[str, Any]
    environment: Mapping[str, Any]
    evaluation: Evaluation | None
    ancestors: tuple["Run", ...] = ()
    lost: str | None = None

    @property
    def own_hours(self) -> float | None:
        """Hours of this training alone, times the number of devices."""
        seconds, devices = number(self.metrics, "seconds"), number(self.metrics, "devices")
        return None if seconds is None or devices is None else seconds * devices / 3600

    @property
    def own_steps(self) -> float | None:
        """Optimizer steps of this training alone."""
        return number(self.metrics, "step")

    @property
    def hours(self) -> float | None:
        """Device hours with those of all ancestors; ``None`` if one is not known."""
        return None if self.lost else total(run.own_hours for run in (*self.ancestors, self))

    @property
    def steps(self) -> float | None:
        """Optimizer steps with those of all ancestors; ``None`` if one is not known."""
        return None if self.lost else total(run.own_steps for run in (*self.ancestors, self))

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """By TensorBoard tag what was logged, the ancestors' first; a run's steps count on from theirs."""
        joined: dict[str, list[tuple[int, float]]] = {}
        start = 0
        for run in (*self.ancestors, self):
            own = read_curves(run.folder / "tensorboard")
            for tag, curve in own.items():
                joined.setdefault(tag, []).extend((start + step, value) for step, value in curve if isfinite(value))
            logged = max((curve[-1][0] for curve in own.values()), default=0)
            start += logged if run.own_steps is None else int(run.own_steps)
        return {tag: curve for tag, curve in joined.items() if curve}


def total(numbers: Iterable[float | None]) -> float | None:
    """Their sum, if all are known."""
    known = list(numbers)
    return None if None in known else sum(value for value in known if value is not None)


def number(metrics: Mapping[str, Any], key: str) -> float | None:
    """A finite number of a metrics file; ``None`` if it has none."""
    value = metrics.get(key)
    return value if isinstance(value, int | float) and isfinite(value) else None


def read_run(folder: Path, label: str | None) -> Run:
    """Read one run folder, without its ancestors.

    Args:
        folder: the run folder.
        label: name of the evaluation to read; ``None`` to read none.

    Raises:
        ValueError: a file is broken; says what to do.
    """
    config = read_config(folder / CONFIG)
    study = config.get("study") or {}
    saved = {name: read_record(folder / name) for name in (METRICS, ENVIRONMENT)}
    return Run(
        folder,
        str(study.get("method") or re.sub(r"-seed\d+", "", folder.name)),
        config.seed,
        number(study, "paper"),
        saved[METRICS],
        saved[ENVIRONMENT],
        read_answers(folder / "evaluation" / label) if label else None,
    )


def read_answers(folder: Path) -> Evaluation | None:
    """Read an evaluation whose rows say which question they answer; ``None`` if there is none, or not all of it.

    Raises:
        ValueError: it is broken, or from before questions had an ``id``.
    """
    if not (folder / METRICS).is_file():
        return None
    evaluation = read_evaluation(folder)
    for line, row in enumerate(evaluation.rows, start=1):
        if not isinstance(row.get("id"), str) or not isinstance(row.get("interventions") or {}, dict):
            where = f"{folder / 'predictions.jsonl'}:{line}"
            raise ValueError(f"{where}: id must be str, and interventions an object; {evaluation.remedy}")
    return evaluation


def descend(run: Run, runs: Mapping[Path, Run]) -> Run:
    """Give a run its ancestors, by following ``starts`` back to runs that took nobody's weights.

    Args:
        run: the youngest.
        runs: those already read, by folder; others are read from theirs.
    """
    ancestors: dict[Path, Run] = {}
    lost: list[str] = []

    def follow(child: Run, line: tuple[Path, ...]) -> None:
        """Add what a run started from, the oldest first."""
        for start in (child.environment.get("starts") or {}).values():
            parent = find_parent(Path(str(start)), runs)
            if parent is None or parent.folder in line:
                lost.append(str(start))
            elif parent.folder not in ancestors:
                follow(parent, (*line, parent.folder))
                ancestors[parent.folder] = parent

    follow(run, (run.folder,))
    return replace(run, ancestors=tuple(ancestors.values()), lost=lost[0] if lost else None)


def find_parent(start: Path, runs: Mapping[Path, Run]) -> Run | None:
    """Find the run that a path or a checkpoint belongs to.

    Where the path leads nowhere, as after runs were copied from another machine, it is the run whose own path ends
    like it, if only one does.
    """
    start = start.absolute()
    start = start.parents[1] if start.suffix == ".ckpt" else start
    if (start / CONFIG).is_file():
        try:
            return runs.get(start.resolve()) or read_run(start.resolve(), None)
        except ValueError:
            return None
    alike = {folder: shared_end(folder, start) for folder in runs}
    nearest = [folder for folder, length in alike.items() if length == max(alike.values()) > 0]
    return runs[nearest[0]] if len(nearest) == 1 else None


def shared_end(a: Path, b: Path) -> int:
    """How many parts two paths share, counted from the end."""
    pairs = zip(reversed(a.parts), reversed(b.parts), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
