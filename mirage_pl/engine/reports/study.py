"""The runs of a study, grouped by method: evaluated runs that differ only in their seed.

Shapes: S seeds (the runs of a method), Q items, such as questions.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path

import numpy as np

from mirage_pl.engine.evaluation.results import Result
from mirage_pl.engine.evaluation.statistics import Array
from mirage_pl.engine.evaluation.summary import read_units, split_numbers
from mirage_pl.engine.reports.lineage import Run, add_ancestors, read_run
from mirage_pl.engine.runs.folder import METRICS, find_runs_below
from mirage_pl.engine.seams import Measure


@dataclass(frozen=True)
class Method:
    """Evaluated runs that differ only in their seed, scored on the same items.

    Attributes:
        name: unique in the study.
        runs: ordered by seed.
        results: of the runs, in the same order.
    """

    name: str
    runs: tuple[Run, ...]
    results: tuple[Result, ...]

    @property
    def measures(self) -> Mapping[str, Measure]:
        """The measures by name; the first one ranks methods."""
        return self.results[0].measures

    @property
    def first(self) -> str:
        """The measure that ranks methods."""
        return self.results[0].first

    @cached_property
    def groups(self) -> dict[str, Array]:
        """Group -> positions of its items; ``all`` comes last."""
        names = np.array([row["group"] for row in self.results[0].rows])
        ordered = sorted(map(str, np.unique(names)), key=split_numbers)
        return {name: np.flatnonzero(names == name) for name in ordered} | {"all": np.arange(len(names))}

    @cached_property
    def units_Q(self) -> Array:
        """The unit of each item: those of one, such as the clips of an episode, aren't independent."""
        return np.array([str(unit) for unit in read_units(self.results[0].rows)])

    def values_SQ(self, measure: str) -> Array | None:
        """Each seed's score of each item, NaN where not graded; ``None`` unless all seeds have scores."""
        values = [result.values(measure) for result in self.results]
        scores = [each for each in values if each is not None]
        return np.array(scores) if len(scores) == len(values) else None

    def values_S(self, measure: str, group: str) -> Array | None:
        """One number per seed, from its ``metrics.json``; ``None`` unless all seeds have one."""
        numbers = [result.by_group(measure).get(group) for result in self.results]
        return np.array([number["mean"] for number in numbers if number]) if all(numbers) else None

    def conditions_SQ(self, measure: str) -> dict[str, tuple[Array, Array]]:
        """Condition -> own scores, and scores under it, of the seeds that scored all items under it."""
        own_SQ = self.values_SQ(measure)
        pairs: dict[str, tuple[Array, Array]] = {}
        if own_SQ is None:
            return pairs
        for name in dict.fromkeys(name for result in self.results for name in result.conditions):
            changed = [result.values(measure, name) for result in self.results]
            complete = [
                values is not None and bool((np.isnan(own) | ~np.isnan(values)).all())
                for own, values in zip(own_SQ, changed, strict=True)
            ]
            scores = [values for values, usable in zip(changed, complete, strict=True) if usable]
            if scores:
                pairs[name] = own_SQ[complete], np.array(scores)
        return pairs


@dataclass(frozen=True)
class Study:
    """Evaluated runs, by method.

    Attributes:
        root: the deepest folder that contains all runs.
        task: on which they were evaluated.
        label: the name of their evaluations.
        methods: the best come first.
        notes: what was left out, and the remedy.
    """

    root: Path
    task: str
    label: str
    methods: tuple[Method, ...]
    notes: tuple[str, ...]


def read_study(paths: Sequence[Path], label: str | None = None) -> Study:
    """Read and group all runs in some folders; a broken run is left out with a note.

    Args:
        paths: run folders, or folders that contain some at any depth.
        label: name of the evaluations; ``None``: the only name that all evaluated runs have.

    Raises:
        ValueError: no runs or no evaluations; or runs that can't be compared: different tasks or items, or two runs
            of one method and seed.
    """
    folders = find_runs(paths)
    names = list_names(folders)
    notes = [] if label else list_others(names)
    label = label or choose_name(names, folders)
    by_folder = {}
    for folder in folders:
        try:
            by_folder[folder] = read_run(folder, label)
        except (ValueError, OSError) as error:
            notes.append(f"{folder} is left out: {error}")
    runs = [add_ancestors(run, by_folder) for run in by_folder.values()]
    notes += list_gaps(runs, label)
    evaluated = [(run, run.result) for run in runs if run.result]
    if not evaluated:
        there = f" (they have {', '.join(names)})" if names else ""
        raise ValueError(f"none of {len(folders)} runs has a whole evaluation named {label}{there}: {notes[0]}")
    check_alike([result for _, result in evaluated])
    shared, others = share_measures([result for _, result in evaluated])
    if others:
        notes.append(f"{', '.join(others)}: not measured of every run, so runs aren't compared by it")
    root = Path(os.path.commonpath([folder.parent for folder in folders]))
    methods = group_methods([(run, replace(result, measures=shared)) for run, result in evaluated])
    return Study(root, evaluated[0][1].task, label, methods, tuple(notes))


def find_runs(paths: Iterable[Path]) -> list[Path]:
    """Find the run folders in some folders, each once, ordered by path.

    Raises:
        ValueError: a folder contains none.
    """
    return sorted({run.resolve() for folder in paths for run in find_runs_below(folder)})


def list_names(folders: Sequence[Path]) -> dict[str, list[Path]]:
    """Name of evaluations -> the runs that have one of it."""
    names: dict[str, list[Path]] = defaultdict(list)
    for folder in folders:
        for file in sorted(folder.glob(f"evaluation/*/{METRICS}")):
            names[file.parent.name].append(folder)
    return dict(sorted(names.items()))


def choose_name(names: Mapping[str, Sequence[Path]], folders: Sequence[Path]) -> str:
    """Choose the one name of which every evaluated run has an evaluation.

    Raises:
        ValueError: there is no evaluation, or there are several such names or none; gives a run of each.
    """
    whole = find_whole(names)
    if len(whole) == 1:
        return whole[0]
    if not names:
        raise ValueError(f"no run is evaluated; run python -m mirage_pl.evaluate ckpt={folders[0]} first")
    listed = ", ".join(f"{name} (as in {runs[-1]})" for name, runs in names.items())
    raise ValueError(f"the runs have evaluations of {len(names)} names: {listed}; choose one by --label")


def find_whole(names: Mapping[str, Sequence[Path]]) -> list[str]:
    """The names of which every evaluated run has an evaluation."""
    evaluated = {run for runs in names.values() for run in runs}
    return [name for name, runs in names.items() if len(runs) == len(evaluated)]


def list_others(names: Mapping[str, Sequence[Path]]) -> list[str]:
    """Say which names of evaluations only some runs have."""
    whole = find_whole(names)
    return [
        f"evaluations named {name}, of {len(runs)} run(s) only: --label {name} shows them"
        for name, runs in names.items()
        if name not in whole
    ]


def list_gaps(runs: Sequence[Run], label: str) -> list[str]:
    """List the runs that should be evaluated, since none starts from them, half evaluated ones, and unknown costs."""
    parents = {parent.folder for run in runs for parent in run.ancestors}
    example = next((run.result for run in runs if run.result), None)
    again = {run.folder: f"run python -m mirage_pl.evaluate {list_options(run, example, label)}" for run in runs}
    gaps = [
        f"{run.folder} is not evaluated: {again[run.folder]}"
        for run in runs
        if not run.result and run.folder not in parents
    ]
    gaps += [
        f"{run.folder}'s evaluation was interrupted, so conditions and numbers are missing: {again[run.folder]} with "
        "the same options, which continues it"
        for run in runs
        if run.result and run.result.metrics.get("finished") is False
    ]
    gaps += [
        f"{run.folder} took weights from {run.lost}, which is no run here, so its total cost and steps are unknown"
        for run in runs
        if run.result and run.lost
    ]
    return gaps


def list_options(run: Run, example: Result | None, label: str) -> str:
    """Options that evaluate a run as another one was: kind, task where its own is another, label."""
    words = [f"ckpt={run.folder}"]
    if example is not None:
        words += [example.kind_option] if example.kind_option else []
        words += [f"task={example.task}"] if run.task != example.task else []
    if example is None or label != example.task:
        words.append(f"label={label}")
    return " ".join(words)


def check_alike(results: Sequence[Result]) -> None:
    """Check that results can be paired: one task, ranked by the same measure, the same items.

    Raises:
        ValueError: names two runs, their difference, and the remedy.
    """
    first, *others = results
    remedy = "evaluate them alike under one --label, or give fewer runs"
    ids = [row["id"] for row in first.rows]
    for other in others:
        if other.task != first.task:
            tasks = f"{first.run} was tested on {first.task}, and {other.run} on {other.task}"
            raise ValueError(f"one report needs one task: {tasks}; {remedy}")
        if other.first != first.first or other.measures[other.first] != first.measures[first.first]:
            names = f"{first.run} has {', '.join(first.measures)}, and {other.run} {', '.join(other.measures)}"
            raise ValueError(f"one report needs the same measure first, of the same kind: {names}; {remedy}")
        if [row["id"] for row in other.rows] != ids:
            sizes = f"{first.run} has {len(ids)} rows, and {other.run} {len(other.rows)} that are not the same"
            raise ValueError(f"one report needs one test set: {sizes}; {remedy}")


def share_measures(results: Sequence[Result]) -> tuple[dict[str, Measure], list[str]]:
    """Find the measures that all results have, of the same kinds; and the names of the others."""
    first = results[0].measures
    shared = {name: each for name, each in first.items() if all(other.measures.get(name) == each for other in results)}
    return shared, [*dict.fromkeys(name for other in results for name in other.measures if name not in shared)]


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


def rank_method(method: Method) -> tuple[float, int]:
    """Sort key: the best method by the first measure comes first, of equal ones that of the most seeds; methods without
    a number come last.
    """
    values_S = method.values_S(method.first, "all")
    if values_S is None:
        return float("inf"), 0
    return float(values_S.mean()) * (-1 if method.measures[method.first].better == "higher" else 1), -len(values_S)
