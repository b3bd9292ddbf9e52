"""A report's sections on what the items score under other conditions, and on the model in numbers."""

from collections.abc import Mapping, Sequence
from html import escape
from math import isfinite
from typing import Any

from mirage_pl.engine.evaluation.measures import judge_difference, write_difference, write_number, write_value
from mirage_pl.engine.evaluation.results import Result
from mirage_pl.engine.evaluation.statistics import percent
from mirage_pl.engine.reports.page import cell, legend, note, table
from mirage_pl.engine.reports.plots import draw_by
from mirage_pl.engine.seams import Measure, Words

OWN = "own"
KNOWN = {"mean", "low", "high", "n", "groups", "difference", "measures"}
"""What every condition has; other keys are the evaluation's own."""


def lay_out_conditions(results: Sequence[Result], labels: Sequence[str], words: Words) -> str:
    """Table and plot of the runs that were scored under other conditions; empty without any."""
    tried = [(label, result) for label, result in zip(labels, results, strict=True) if result.conditions]
    if not tried:
        return ""
    names = known_first(words.CONDITIONS, (result.conditions for _, result in tried))
    rows = [
        (cell(name, words.CONDITIONS.get(name, "")), [describe_condition(result, name) for _, result in tried])
        for name in names
    ]
    first = results[0].first
    numbers = [
        {OWN: result.by_group(first)["all"], **{name: each for name, each in result.conditions.items() if each["n"]}}
        if result.conditions and result.by_group(first)
        else {}
        for result in results
    ]
    own_words = known_first(
        words.NUMBERS, (each.keys() - KNOWN for _, run in tried for each in run.conditions.values())
    )
    glossary = "".join(f" {name}: {words.NUMBERS[name]}." for name in own_words if name in words.NUMBERS)
    return (
        table([label for label, _ in tried], rows)
        + note(f"The test set scored again; differences are paired with the model's own, item by item.{glossary}")
        + f'<div class="bars">{legend([label for label, _ in tried])}'
        + f"{draw_by([OWN, *names], numbers, first, results[0].measures[first], 'condition')}</div>"
    )


def known_first(order: Mapping[str, str], found: Any) -> list[str]:
    """All names in some collections: those with a place first, in order."""
    names = dict.fromkeys(name for collection in found for name in sorted_if_set(collection))
    return [name for name in order if name in names] + [name for name in names if name not in order]


def sorted_if_set(names: Any) -> Any:
    """A set has no order of its own."""
    return sorted(names) if isinstance(names, set) else names


def describe_condition(result: Result, name: str) -> str:
    """One run under one condition: the first measure with its difference, then the others, then what is its own."""
    condition = result.conditions.get(name)
    if condition is None:
        return "–"
    if not condition["n"]:
        return "not graded"
    first, *others = result.measures
    lines = [describe_change(result.measures[first], condition)]
    for other in others:
        if (number := (condition.get("measures") or {}).get(other)) and number["n"]:
            value = " ".join(filter(None, write_value(result.measures[other], number)))
            lines.append(f"{other} {value}: {describe_change(result.measures[other], number)}")
    extra = [f"{key} {write_extra(value)}" for key, value in condition.items() if key not in KNOWN]
    value, interval = write_value(result.measures[first], condition)
    small = "<br>".join(escape(line) for line in filter(None, [interval, *lines, ", ".join(extra)]))
    return f"<b>{escape(value)}</b> <small>{small}</small>"


def describe_change(measure: Measure, number: Mapping[str, Any]) -> str:
    """A condition's difference to the model's own, and what it means; empty if it has none."""
    difference = number.get("difference")
    if not difference:
        return ""
    return f"{' '.join(filter(None, write_difference(measure, difference)))}, {judge_difference(measure, difference)}"


def write_extra(value: Any) -> str:
    """A number of the evaluation's own: a share with its interval in percent, else in a few digits."""
    if isinstance(value, dict):
        if value.get("mean") is None:
            return "–"
        return percent(value)[0] if "low" in value else f"{value['mean']:.3f}"
    return f"{value:.3g}" if isinstance(value, int | float) else str(value)


def lay_out_numbers(results: Sequence[Result], labels: Sequence[str], words: Words) -> str:
    """Table of numbers about the model; empty if no run has any."""
    described = [(label, result.numbers) for label, result in zip(labels, results, strict=True) if result.numbers]
    names = known_first(words.NUMBERS, (numbers for _, numbers in described))
    rows = [
        (cell(name, words.NUMBERS.get(name, "")), [describe_number(numbers.get(name)) for _, numbers in described])
        for name in names
    ]
    return table([label for label, _ in described], rows) if rows else ""


def describe_number(value: Any) -> str:
    """A number about the model, or an interval."""
    if isinstance(value, dict) and value.get("mean") is not None:
        if value.get("low") is None:
            return cell(write_number(value["mean"]), f"n = {value['n']}" if "n" in value else "")
        ends = ", ".join(f"{value[end]:.3g}" for end in ("low", "high"))
        return cell(f"{value['mean']:.3g}", f"[{ends}], n = {value['n']}")
    number = isinstance(value, int | float) and isfinite(value)
    return escape(f"{value:.3g}") if number else "–"
