"""The runs of a study, found and grouped: a method is what its evaluated runs have in common but for the seed.

S: seeds, which are the runs of a method. Q: items, such as questions.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path

import numpy as np

from mirage_pl.engine.evaluation.results import Result
from mirage_pl.engine.evaluation.statistics import Array
from mirage_pl.engine.reports.lineage import Run, add_ancestors, read_run
from mirage_pl.engine.runs.folder import METRICS, find_runs_below
from mirage_pl.engine.seams import Measure


@dataclass(frozen=True)
class Method:
    """Evaluated runs that differ only in their seed, and were given the same items.

    Attributes:
        name: unlike any other in the study.
        runs: by seed.
        results: theirs, in the same order.
    """

    name: str
    runs: tuple[Run, ...]
    results: tuple[Result, ...]

    @property
    def measures(self) -> Mapping[str, Measure]:
        """What was measured; the first one ranks."""
        return self.results[0].measures

    @property
    def first(self) -> str:
        """The measure that ranks."""
        return self.results[0].first

    @cached_property
    def groups(self) -> dict[str, Array]:
        """Group of items -> their positions; ``all`` comes last."""
        names = np.array([row["group"] for row in self.results[0].rows])
        return {str(name): np.flatnonzero(names == name) for name in np.unique(names)} | {"all": np.arange(len(names))}

    def values_SQ(self, measure: str) -> Array | None:
        """What each seed scored at each item, NaN where it isn't graded; ``None`` if the rows don't hold it."""
        values = [result.values(measure) for result in self.results]
        whole = [each for each in values if each is not None]
        return np.array(whole) if len(whole) == len(values) else None

    def values_S(self, measure: str, group: str) -> Array | None:
        """One number a seed, as its ``metrics.json`` says; ``None`` if not all have it."""
        numbers = [result.by_group(measure).get(group) for result in self.results]
        return np.array([number["mean"] for number in numbers if number]) if all(numbers) else None

    def conditions_SQ(self, measure: str) -> dict[str, tuple[Array, Array]]:
        """Condition -> scores as the model is, and under it: of those seeds that made it for all items."""
        own_SQ = self.values_SQ(measure)
        pairs: dict[str, tuple[Array, Array]] = {}
        if own_SQ is None:
            return pairs
        for name in dict.fromkeys(name for result in self.results for name in result.conditions):
            changed = [result.values(measure, name) for result in self.results]
            whole = [
                values is not None and bool((np.isnan(own) | ~np.isnan(values)).all())
                for own, values in zip(own_SQ, changed, strict=True)
            ]
            kept = [values for values, complete in zip(changed, whole, strict=True) if complete]
            if kept:
                pairs[name] = own_SQ[whole], np.array(kept)
        return pairs


@dataclass(frozen=True)
class Study:
    """What the runs make together.

    Attributes:
        root: the folder that holds all runs.
        task: on which they were evaluated.
        label: the name of their evaluations.
        methods: the best come first.
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
        ValueError: no runs or no evaluations; or runs that can't be compared: of several tasks, over other items,
            two of one method and seed.
    """
    folders = find_runs(given)
    label = label or only_label(folders)
    read, broken = {}, []
    for folder in folders:
        try:
            read[folder] = read_run(folder, label)
        except (ValueError, OSError) as error:
            broken.append(f"{folder} is left out: {error}")
    runs = [add_ancestors(run, read) for run in read.values()]
    notes = (*broken, *list_gaps(runs, label))
    evaluated = [(run, run.result) for run in runs if run.result]
    if not evaluated:
        raise ValueError(f"none of {len(folders)} runs has a whole evaluation named {label}: {notes[0]}")
    check_alike([result for _, result in evaluated])
    root = Path(os.path.commonpath([folder.parent for folder in folders]))
    return Study(root, evaluated[0][1].task, label, group_methods(evaluated), notes)


def find_runs(given: Iterable[Path]) -> list[Path]:
    """All run folders in some folders, each once, by path.

    Raises:
        ValueError: a folder holds none.
    """
    return sorted({run.resolve() for folder in given for run in find_runs_below(folder)})


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


def list_gaps(runs: Sequence[Run], label: str) -> list[str]:
    """Say which runs have no evaluation though no other starts from them, and whose cost can't be known."""
    parents = {parent.folder for run in runs for parent in run.ancestors}
    task = next((run.result.task for run in runs if run.result), label)
    named = f"task={task}" if task == label else f"task={task} label={label}"
    return [
        f"{run.folder} is not evaluated: run python -m mirage_pl.evaluate ckpt={run.folder} {named}"
        for run in runs
        if not run.result and run.folder not in parents
    ] + [
        f"{run.folder} took weights from {run.lost}, which is no run here, so cost and steps in all are not known"
        for run in runs
        if run.result and run.lost
    ]


def check_alike(results: Sequence[Result]) -> None:
    """Refuse results of several tasks or evaluations, or on other items: they can't be paired.

    Raises:
        ValueError: names two runs, how they differ, and what to do.
    """
    first, *others = results
    remedy = "evaluate them alike under one --label, or give fewer runs"
    ids = [row["id"] for row in first.rows]
    for other in others:
        if other.task != first.task:
            tasks = f"{first.run} was tested on {first.task}, and {other.run} on {other.task}"
            raise ValueError(f"one report needs one task: {tasks}; {remedy}")
        if other.measures != first.measures:
            names = f"{first.run} has {', '.join(first.measures)}, and {other.run} {', '.join(other.measures)}"
            raise ValueError(f"one report needs the same measures, of the same kinds: {names}; {remedy}")
        if [row["id"] for row in other.rows] != ids:
            sizes = f"{first.run} has {len(ids)} rows, and {other.run} {len(other.rows)} that are not the same"
            raise ValueError(f"one report needs one test set: {sizes}; {remedy}")


def group_methods(evaluated: Iterable[tuple[Run, Result]]) -> tuple[Method, ...]:
    """Group runs by method; the best come first.

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
        runs, results = zip(*pairs, strict=True)
        methods.append(Method(name, runs, results))
    return tuple(sorted(methods, key=rank_method))


def rank_method(method: Method) -> float:
    """A number that is the lower the better a method does by the first measure; those without any come last."""
    values_S = method.values_S(method.first, "all")
    if values_S is None:
        return float("inf")
    return float(values_S.mean()) * (-1 if method.measures[method.first].better == "higher" else 1)
