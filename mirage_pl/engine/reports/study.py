"""The runs of a study, found and grouped: a method is what its evaluated runs have in common but for the seed.

S: seeds, which are the runs of a method. Q: questions.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path

import numpy as np

from mirage_pl.engine.evaluation.results import Evaluation
from mirage_pl.engine.evaluation.statistics import Array
from mirage_pl.engine.reports.lineage import Run, descend, read_run
from mirage_pl.engine.runs.folder import METRICS, runs_below


@dataclass(frozen=True)
class Method:
    """Evaluated runs that differ only in their seed, and answered the same questions.

    Attributes:
        name: unlike any other in the study.
        runs: by seed.
        evaluations: theirs, in the same order.
    """

    name: str
    runs: tuple[Run, ...]
    evaluations: tuple[Evaluation, ...]

    @cached_property
    def right_SQ(self) -> Array:
        """Whether each seed answered each question right."""
        return np.array([[row["success"] for row in evaluation.rows] for evaluation in self.evaluations])

    @cached_property
    def groups(self) -> dict[str, Array]:
        """Group of questions -> their positions; ``all`` comes last."""
        names = np.array([row["group"] for row in self.evaluations[0].rows])
        return {str(name): np.flatnonzero(names == name) for name in np.unique(names)} | {"all": np.arange(len(names))}

    @cached_property
    def interventions_SQ(self) -> dict[str, tuple[Array, Array]]:
        """Intervention -> right or wrong with the model's own latents, and with others: of seeds that all made it."""
        rows = [[row.get("interventions") or {} for row in evaluation.rows] for evaluation in self.evaluations]
        found = {}
        for name in dict.fromkeys(name for made in rows for name in made[0]):
            whole = [all(name in answer for answer in made) for made in rows]
            others = [[answer[name] for answer in made] for made, ok in zip(rows, whole, strict=True) if ok]
            if others:
                found[name] = self.right_SQ[whole], np.array(others, dtype=bool)
        return found


@dataclass(frozen=True)
class Study:
    """What the runs make together.

    Attributes:
        root: the folder that holds all runs.
        task: on which they were evaluated.
        label: the name of their evaluations.
        methods: those that answer best come first.
        notes: what was left out, and what to do about it.
    """

    root: Path
    task: str
    label: str
    methods: tuple[Method, ...]
    notes: tuple[str, ...]


def read_study(given: Sequence[Path], label: str | None = None) -> Study:
    """Read and group all runs in some folders. A broken run is left out with a note.

    Args:
        given: run folders, or folders that hold some at any depth.
        label: name of the evaluations; ``None`` if the runs have evaluations of one name only.

    Raises:
        ValueError: no runs or no evaluations; or runs that can't be compared: of several tasks, over other questions,
            two of one method and seed.
    """
    folders = find_runs(given)
    label = label or only_label(folders)
    found, broken = {}, []
    for folder in folders:
        try:
            found[folder] = read_run(folder, label)
        except (ValueError, OSError) as error:
            broken.append(f"{folder} is left out: {error}")
    runs = [descend(run, found) for run in found.values()]
    notes = (*broken, *unfinished(runs, label))
    evaluated = [(run, run.evaluation) for run in runs if run.evaluation]
    if not evaluated:
        raise ValueError(f"none of {len(folders)} runs has a whole evaluation named {label}: {notes[0]}")
    check([evaluation for _, evaluation in evaluated])
    root = Path(os.path.commonpath([folder.parent for folder in folders]))
    return Study(root, task_of(evaluated[0][1]), label, group(evaluated), notes)


def find_runs(given: Iterable[Path]) -> list[Path]:
    """All run folders in some folders, each once, by path.

    Raises:
        ValueError: a folder holds none.
    """
    return sorted({run.resolve() for folder in given for run in runs_below(folder)})


def only_label(folders: Sequence[Path]) -> str:
    """The name that all evaluations share.

    Raises:
        ValueError: there is none, or more than one; names a run of each.
    """
    holders = {file.parent.name: folder for folder in folders for file in folder.glob(f"evaluation/*/{METRICS}")}
    if len(holders) == 1:
        return next(iter(holders))
    if not holders:
        raise ValueError(f"no run is evaluated; run python -m mirage_pl.evaluate ckpt={folders[0]} first")
    listed = ", ".join(f"{name} (as in {folder})" for name, folder in sorted(holders.items()))
    raise ValueError(f"the runs have evaluations of {len(holders)} names: {listed}; choose one by --label")


def unfinished(runs: Sequence[Run], label: str) -> list[str]:
    """Say which runs have no evaluation though no other starts from them, and whose cost can't be known."""
    parents = {parent.folder for run in runs for parent in run.ancestors}
    task = next((task_of(run.evaluation) for run in runs if run.evaluation), label)
    named = f"task={task}" if task == label else f"task={task} label={label}"
    return [
        f"{run.folder} is not evaluated: run python -m mirage_pl.evaluate ckpt={run.folder} {named}"
        for run in runs
        if not run.evaluation and run.folder not in parents
    ] + [
        f"{run.folder} took weights from {run.lost}, which is no run here, so cost and steps in all are not known"
        for run in runs
        if run.evaluation and run.lost
    ]


def task_of(evaluation: Evaluation) -> str:
    """The name of the task whose questions were answered."""
    return str(evaluation.metrics.get("task", evaluation.folder.name))


def check(evaluations: Sequence[Evaluation]) -> None:
    """Refuse evaluations of several tasks or over other questions: their answers can't be paired.

    Raises:
        ValueError: names two runs, how they differ, and what to do.
    """
    first, *others = evaluations
    remedy = "evaluate them alike under one --label, or give fewer runs"
    for other in others:
        if task_of(other) != task_of(first):
            tasks = f"{first.run} answered {task_of(first)}, and {other.run} answered {task_of(other)}"
            raise ValueError(f"one report needs one task: {tasks}; {remedy}")
    ids = [row["id"] for row in first.rows]
    for other in others:
        if [row["id"] for row in other.rows] != ids:
            sizes = (
                f"{first.run} answered {len(ids)} questions, and {other.run} {len(other.rows)} that are not the same"
            )
            raise ValueError(f"one report needs one test set: {sizes}; {remedy}")


def group(evaluated: Iterable[tuple[Run, Evaluation]]) -> tuple[Method, ...]:
    """Group runs by method; those that answer best come first.

    Raises:
        ValueError: two runs of one method and seed.
    """
    ordered = sorted(evaluated, key=lambda pair: (pair[0].method, pair[0].seed))
    for (a, _), (b, _) in zip(ordered, ordered[1:], strict=False):
        if (a.method, a.seed) == (b.method, b.seed):
            raise ValueError(
                f"{a.folder} and {b.folder} are both {a.method} with seed {a.seed}; "
                "give one of them another study.method in its config.yaml, or leave one out"
            )
    methods = []
    for name, pairs in groupby(ordered, key=lambda pair: pair[0].method):
        runs, evaluations = zip(*pairs, strict=True)
        methods.append(Method(name, runs, evaluations))
    return tuple(sorted(methods, key=lambda method: -float(method.right_SQ.mean())))
