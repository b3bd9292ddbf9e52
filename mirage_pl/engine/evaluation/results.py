"""Read and check an evaluation folder, in the format of ``docs/reference/metrics.md``.

Imports no torch.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from mirage_pl.engine.evaluation.measures import estimate_change, read_measures
from mirage_pl.engine.evaluation.statistics import Array
from mirage_pl.engine.evaluation.summary import read_units
from mirage_pl.engine.runs.folder import METRICS
from mirage_pl.engine.seams import Measure

PREDICTIONS = "predictions.jsonl"
ROW = {"where": str, "group": str}
"""Keys that every row must have besides the first measure, and their types; all others are optional."""


@dataclass(frozen=True)
class Result:
    """The evaluation of one run.

    Attributes:
        folder: the evaluation folder, ``RUN/evaluation/LABEL``.
        name: the name of the run.
        metrics: the content of ``metrics.json``.
        rows: the rows of ``predictions.jsonl``.
        measures: by name; the first one ranks runs.
    """

    folder: Path
    name: str
    metrics: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    measures: Mapping[str, Measure]

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.folder.parent.parent

    @property
    def task(self) -> str:
        """The name of the task that the run was scored on."""
        return str(self.metrics.get("task", self.folder.name))

    @property
    def first(self) -> str:
        """The measure that ranks runs."""
        return next(iter(self.measures))

    @property
    def shown(self) -> Mapping[str, Measure]:
        """The measures that say something of this task's items."""
        return {name: measure for name, measure in self.measures.items() if name not in self.hidden}

    @property
    def hidden(self) -> Sequence[str]:
        """The other measures, which the task doesn't grade."""
        return self.metrics.get("hidden") or ()

    @property
    def conditions(self) -> Mapping[str, Mapping[str, Any]]:
        """Condition -> the first measure's interval, ``groups`` and ``difference`` from own; ``measures``; and more."""
        return self.metrics.get(self.conditions_in) or {}

    @property
    def conditions_in(self) -> str:
        """The key under which metrics and rows hold conditions."""
        return str(self.metrics.get("conditions_in", "conditions"))

    @property
    def numbers(self) -> Mapping[str, Any]:
        """Numbers about the model: name -> a number, or an interval."""
        return self.metrics.get(self.numbers_in) or {}

    @property
    def numbers_in(self) -> str:
        """The key under which metrics hold numbers about the model, and the folder of their pictures."""
        return str(self.metrics.get("numbers_in", "numbers"))

    @cached_property
    def items(self) -> list[tuple[str, ...]]:
        """Identities of the scored items: equal lists mean the same test set, whose rows can be paired."""
        return [tuple(str(row.get(key)) for key in ("where", "group", "id", "truth")) for row in self.rows]

    @property
    def kind_option(self) -> str:
        """``evaluation=KIND`` as the command said it; empty where it is the run's own kind."""
        return "".join(re.findall(r"(?<= )evaluation=\S+", str(self.metrics.get("command")))[:1])

    @property
    def remedy(self) -> str:
        """The command that repairs a bad folder."""
        return (
            f"run python -m mirage_pl.evaluate ckpt={self.run} label={self.folder.name} again, with its other options"
        )

    def by_group(self, measure: str) -> Mapping[str, Mapping[str, Any]]:
        """Group -> interval of a measure, ``all`` last; groups without a graded row are left out."""
        return {group: number for group, number in self.metrics.get(measure, {}).items() if number["n"]}

    def values(self, measure: str, condition: str | None = None) -> Array | None:
        """One number per row, NaN where a row wasn't graded; ``None`` if no row has one.

        Args:
            measure: its name.
            condition: its name; ``None``: the model as it is.
        """
        rows = self.rows
        if condition is not None:
            rows = [(row.get(self.conditions_in) or {}).get(condition) or {} for row in self.rows]
        values = [row.get(measure) for row in rows]
        if not any(value is not None for value in values):
            return None
        return np.array([np.nan if value is None else float(value) for value in values])

    def lead_over(self, other: "Result", measure: str) -> Mapping[str, Any] | None:
        """This run's measure minus another's, paired by item; ``None`` if they can't be paired."""
        ours, theirs = self.values(measure), other.values(measure)
        if self.items != other.items or ours is None or theirs is None or measure not in other.measures:
            return None
        graded = ~np.isnan(ours) & ~np.isnan(theirs)
        units = [unit for unit, counts in zip(read_units(self.rows), graded, strict=True) if counts]
        return estimate_change(self.measures[measure], theirs[graded], ours[graded], units) if graded.any() else None


def is_number(value: Any) -> bool:
    """Whether a value is a finite number or a bool."""
    return isinstance(value, int | float) and isfinite(value)


def read_result(folder: Path) -> Result:
    """Read and check ``metrics.json`` and ``predictions.jsonl``.

    Raises:
        ValueError: a file is missing or broken, or the two contradict each other; names file and line, and the command
            that repairs it.
    """
    empty = Result(folder, folder.parent.parent.name, {}, [], {})
    contents = {}
    for file in (folder / METRICS, folder / PREDICTIONS):
        if not file.is_file():
            raise ValueError(f"{file} does not exist; {empty.remedy}")
        contents[file.name] = file.read_bytes().rstrip(b"\n")
    metrics = parse_object(contents[METRICS], str(folder / METRICS), {}, empty.remedy)
    try:
        measures = read_measures(metrics.get("measures"))
        check_intervals(metrics, measures)
    except ValueError as error:
        raise ValueError(f"{folder / METRICS}: {error}; {empty.remedy}") from None
    lines = enumerate(contents[PREDICTIONS].split(b"\n"), start=1)
    rows = [parse_row(line, f"{folder / PREDICTIONS}:{number}", measures, empty.remedy) for number, line in lines]
    result = replace(empty, name=str(metrics.get("name", empty.name)), metrics=metrics, rows=rows, measures=measures)
    check_agreement(result)
    return result


def check_intervals(metrics: Mapping[str, Any], measures: Mapping[str, Measure]) -> None:
    """Check that each measure has an interval for ``all`` and for each group.

    Raises:
        ValueError: names measure and group.
    """
    for name in measures:
        groups = metrics.get(name)
        if not isinstance(groups, dict):
            raise ValueError(f"{name} must be dict, got {groups!r}")
        for group in ("all", *groups):
            number = groups.get(group)
            if not isinstance(number, dict) or not {"mean", "low", "high", "n"} <= set(number):
                raise ValueError(f"{name} of {group} needs mean, low, high, n")
            if number["n"] and not is_number(number["mean"]):
                raise ValueError(f"{name} of {group} must have a finite mean, got {number['mean']!r}")


def check_agreement(result: Result) -> None:
    """Check that the rows give the metrics' mean and count of the first measure.

    Raises:
        ValueError: they don't; gives both.
    """
    name = result.first
    total, values = result.metrics[name]["all"], result.values(name)
    if result.measures[name].kind == "set":
        return
    graded = np.array([]) if values is None else values[~np.isnan(values)]
    mean = float(graded.mean()) if len(graded) else 0.0
    if total["n"] != len(graded) or abs((total["mean"] or 0.0) - mean) > 1e-3 * max(1.0, abs(mean)):
        claim = f"{total['mean']} over {total['n']}"
        raise ValueError(
            f"{result.folder / PREDICTIONS} has {name} {mean:.4g} over {len(graded)} rows, {METRICS} says {claim}; "
            f"{result.remedy}"
        )


def parse_row(line: bytes, where: str, measures: Mapping[str, Measure], remedy: str) -> dict[str, Any]:
    """Read one row of predictions; a measure is a bool (share), a number (mean), or ``null`` (ungraded).

    Raises:
        ValueError: a value of another type; names its place and the remedy.
    """
    row = parse_object(line, where, ROW, remedy)
    for number, (name, measure) in enumerate(measures.items()):
        if measure.kind == "set" or (name not in row and number):
            continue
        value = row.get(name, "nothing")
        if not (value is None or (isinstance(value, bool) if measure.kind == "share" else is_number(value))):
            expected = "bool" if measure.kind == "share" else "a finite number"
            raise ValueError(f"{where}: {name} must be {expected}, got {value!r}; {remedy}")
    return row


def parse_object(line: bytes, where: str, kinds: Mapping[str, type], remedy: str) -> dict[str, Any]:
    """Read a JSON object that must have certain keys.

    Raises:
        ValueError: not an object, or a key is missing or of another type; names its place and the remedy.
    """
    try:
        content = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where}: no JSON ({error}); {remedy}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{where}: expected an object, got {type(content).__name__}; {remedy}")
    for key, kind in kinds.items():
        if not isinstance(content.get(key), kind):
            raise ValueError(f"{where}: {key} must be {kind.__name__}, got {content.get(key)!r}; {remedy}")
    return content
