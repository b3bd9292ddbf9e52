"""Summarize scored rows: each measure by group, and each condition against the model's own, paired by item.

The format is that of ``docs/reference/metrics.md``. Rows are never changed.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any

from mirage_pl.engine.evaluation.measures import estimate_change, estimate_interval, read_measures
from mirage_pl.engine.seams import OWN, Evaluation, Measure, Row, Trial

NOTHING = {"mean": None, "low": None, "high": None, "n": 0}
"""The interval of a measure that no item has a value of."""


def summarize_scores(
    evaluation: Evaluation, trial: Trial, rows: Mapping[str, Sequence[Row]], numbers: Mapping[str, Any]
) -> dict[str, Any]:
    """Build the part of ``metrics.json`` that holds scores.

    Args:
        evaluation: names the measures.
        trial: of the module that was scored.
        rows: by condition, ``own`` first; the items of each in the same order.
        numbers: about the model, from :meth:`Trial.describe`.
    """
    own = rows[OWN]
    conditions = {
        condition: summarize_condition(evaluation, trial, condition, own, scored)
        for condition, scored in rows.items()
        if condition != OWN
    }
    return {
        **{name: summarize_measure(evaluation, trial, name, OWN, own) for name in evaluation.measures},
        **trial.summarize(own),
        **({"hidden": list(trial.hidden)} if trial.hidden else {}),
        "ungraded": count_ungraded(evaluation.measures, own),
        "failures": [dict(failure) for failure in trial.failures],
        **({evaluation.conditions_in: conditions} if conditions else {}),
        **({evaluation.numbers_in: dict(numbers)} if numbers else {}),
    }


def describe_evaluation(evaluation: Evaluation) -> dict[str, Any]:
    """Build the part of ``metrics.json`` that says how to read it: kind, measures, keys."""
    measures = {name: asdict(measure) for name, measure in evaluation.measures.items()}
    read_measures(measures)  # refuses what no report could read
    places = {"conditions_in": evaluation.conditions_in, "numbers_in": evaluation.numbers_in}
    return {"evaluation": evaluation.name, "measures": measures} | places | {"words": evaluation.words}


def summarize_measure(
    evaluation: Evaluation, trial: Trial, name: str, condition: str, rows: Sequence[Row]
) -> dict[str, dict[str, Any]]:
    """Summarize a measure by group, and for ``all``."""
    groups = split_groups(rows)
    return {
        group: estimate_rows(evaluation.measures[name], trial, name, condition, members)
        for group, members in groups.items()
    }


def split_groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Split rows by group; then come ``unseen``, if the model was trained on some rows but not these, and ``all``."""
    names = sorted({row["group"] for row in rows}, key=split_numbers)
    groups = {name: [row for row in rows if row["group"] == name] for name in names}
    if unseen := [row for row in rows if row.get("seen") is False]:
        groups["unseen"] = unseen
    return groups | {"all": list(rows)}


def estimate_rows(
    measure: Measure, trial: Trial, name: str, condition: str, rows: Sequence[Row]
) -> dict[str, float | None]:
    """Compute ``mean``, ``low``, ``high`` and ``n`` of a measure over rows; kind ``set`` has no interval."""
    if measure.kind == "set":
        value = trial.over_all(condition, rows).get(name) if rows else None
        valid = value is not None and isfinite(value)
        return NOTHING | {"mean": value if valid else None, "n": len(rows) if valid else 0}
    graded = [row for row in rows if read_value(row, name) is not None]
    return estimate_interval(measure, [row[name] for row in graded], read_units(graded)) if graded else dict(NOTHING)


def summarize_condition(
    evaluation: Evaluation, trial: Trial, condition: str, own: Sequence[Row], rows: Sequence[Row]
) -> dict[str, Any]:
    """Summarize a condition: each measure over all items and by group, and its paired difference from ``own``."""
    measures: dict[str, dict[str, Any]] = {}
    for name, measure in evaluation.measures.items():
        groups = summarize_measure(evaluation, trial, name, condition, rows)
        total = groups.pop("all")
        if measure.kind == "set":
            before = estimate_rows(measure, trial, name, OWN, own)
            difference = subtract_means(before, total)
        else:
            difference = compare_rows(measure, name, own, rows)
        measures[name] = total | {"groups": groups, "difference": difference}
    first = next(iter(evaluation.measures))
    return measures[first] | {"measures": measures} | dict(trial.contrast(condition, own, rows))


def compare_rows(measure: Measure, name: str, own: Sequence[Row], rows: Sequence[Row]) -> dict[str, Any]:
    """Compute the paired difference from ``own`` over items with a value in both."""
    pairs = list(zip(own, rows, strict=True))
    complete = [pair for pair in pairs if all(read_value(row, name) is not None for row in pair)]
    if not complete:
        return {"difference": None, "low": None, "high": None, "n": 0}
    before, after = ([row[name] for row in side] for side in zip(*complete, strict=True))
    return dict(estimate_change(measure, before, after, read_units([row for row, _ in complete])))


def read_units(rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The ``unit`` of each row; a row that names none is one of its own."""
    return [row.get("unit", number) for number, row in enumerate(rows)]


def subtract_means(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Compute the difference of two numbers of whole sets, without an interval."""
    complete = before["mean"] is not None and after["mean"] is not None
    return {
        "difference": after["mean"] - before["mean"] if complete else None,
        "low": None,
        "high": None,
        "n": after["n"] if complete else 0,
    }


def read_value(row: Row, name: str) -> float | None:
    """A row's value of a measure; ``None`` if it has none or the value isn't finite."""
    value = row.get(name)
    return value if value is not None and isfinite(value) else None


def count_ungraded(measures: Mapping[str, Measure], rows: Sequence[Row]) -> int:
    """Count rows without a value of any measure."""
    names = [name for name, measure in measures.items() if measure.kind != "set"]
    return sum(all(read_value(row, name) is None for name in names) for row in rows) if names else 0


def join_conditions(evaluation: Evaluation, rows: Mapping[str, Sequence[Row]]) -> list[Row]:
    """Add to each row of ``own`` its values under every scored condition."""
    names = [name for name, measure in evaluation.measures.items() if measure.kind != "set"]
    others = {condition: scored for condition, scored in rows.items() if condition != OWN}
    values = [
        {condition: {name: scored[number].get(name) for name in names} for condition, scored in others.items()}
        for number in range(len(rows[OWN]))
    ]
    if not others:
        return list(rows[OWN])
    return [row | {evaluation.conditions_in: value} for row, value in zip(rows[OWN], values, strict=True)]


def split_numbers(name: str) -> list[str | int]:
    """Sort key: ``steps_2`` comes before ``steps_10``."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"(\d+)", name))]
