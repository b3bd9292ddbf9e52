"""Sections of a report: scores under other conditions, and numbers about the model."""

from collections.abc import Mapping, Sequence
from html import escape
from math import isfinite
from typing import Any

from mirage_pl.engine.evaluation.measures import (
    judge_difference,
    write_difference,
    write_extra,
    write_number,
    write_short,
    write_value,
)
from mirage_pl.engine.evaluation.results import Result
from mirage_pl.engine.reports.page import fold_away, lay_out_cell, lay_out_legend, lay_out_note, lay_out_table
from mirage_pl.engine.reports.plots import draw_by
from mirage_pl.engine.seams import Measure, Words
from mirage_pl.engine.words import order_names

OWN = "own"
STANDARD = {"mean", "low", "high", "n", "groups", "difference", "measures"}
"""Keys that every condition has; other keys are the evaluation's own."""


def lay_out_conditions(results: Sequence[Result], labels: Sequence[str], words: Words) -> str:
    """Lay out table and plot of the runs scored under other conditions; measures after the first are folded away."""
    scored = {place: result for place, result in enumerate(results) if result.conditions}
    if not scored:
        return ""
    names = order_names(words.CONDITIONS, (result.conditions for result in scored.values()))
    heads = [lay_out_cell(name, words.CONDITIONS.get(name, "")) for name in names]
    labels_html = [labels[place] for place in scored]
    first, *others = results[0].shown
    rows = [
        (head, [describe_condition(run, name) for run in scored.values()])
        for head, name in zip(heads, names, strict=True)
    ]
    more = ""
    for measure in others:
        cells = [[describe_measure(run, name, measure) for run in scored.values()] for name in names]
        plot = plot_conditions(scored, names, measure)
        more += fold_away(
            f"{measure} under other conditions", lay_out_table(labels_html, zip(heads, cells, strict=True)) + plot
        )
    keys = (condition.keys() - STANDARD for run in scored.values() for condition in run.conditions.values())
    own_words = order_names(words.NUMBERS, map(sorted, keys))
    glossary = "".join(f" {name}: {words.NUMBERS[name]}." for name in own_words if name in words.NUMBERS)
    return (
        lay_out_table(labels_html, rows)
        + lay_out_note(
            "The test set scored again under each condition; small below, the interval and the difference from the "
            f"model's own scores, paired by item.{glossary}"
        )
        + lay_out_legend(labels_html)
        + plot_conditions(scored, names, first)
        + more
    )


def plot_conditions(results: Mapping[int, Result], names: Sequence[str], measure: str) -> str:
    """Plot a measure under each condition, the model's own at the top; empty if nothing was graded."""
    numbers = {}
    for place, result in results.items():
        own = {OWN: result.by_group(measure)["all"]} if result.by_group(measure) else {}
        numbers[place] = own | {name: each for name in names if (each := find_condition(result, name, measure))}
    if not any(numbers.values()):
        return ""
    return draw_by([OWN, *names], numbers, measure, results[min(results)].measures[measure], "condition")


def find_condition(result: Result, name: str, measure: str) -> Mapping[str, Any] | None:
    """Find a measure under a condition; ``None`` if the condition wasn't scored, or nothing was graded."""
    condition = result.conditions.get(name) or {}
    number = condition if measure == result.first else (condition.get("measures") or {}).get(measure)
    return number if number and number["n"] else None


def describe_condition(result: Result, name: str) -> str:
    """Describe one run under one condition: the first measure with its difference, the others, then further numbers."""
    condition = result.conditions.get(name)
    if condition is None:
        return "–"
    numbers = {measure: find_condition(result, name, measure) for measure in list(result.shown)[1:]}
    lines = [f"{each} {write_value(result.measures[each], number)[0]}" for each, number in numbers.items() if number]
    lines += [f"{key} {write_extra(value)}" for key, value in condition.items() if key not in STANDARD]
    return describe_measure(result, name, result.first, ", ".join(lines))


def describe_measure(result: Result, name: str, measure: str, more: str = "") -> str:
    """Describe a measure under a condition: value, interval, difference from the model's own; then ``more``."""
    if name not in result.conditions:
        return "–"
    if (number := find_condition(result, name, measure)) is None:
        return "not graded"
    value, interval = write_value(result.measures[measure], number)
    change = describe_change(result.measures[measure], number)
    small = "<br>".join(escape(line) for line in (interval, change, more) if line)
    return f"<b>{escape(value)}</b> <small>{small}</small>"


def describe_change(measure: Measure, number: Mapping[str, Any]) -> str:
    """Describe a condition's difference from the model's own, and judge it; empty if it has none."""
    difference = number.get("difference")
    if not difference or difference["difference"] is None:
        return ""
    return f"{' '.join(filter(None, write_difference(measure, difference)))}, {judge_difference(measure, difference)}"


def lay_out_numbers(results: Sequence[Result], labels: Sequence[str], words: Words) -> str:
    """Lay out a table of numbers about the model; empty if no run has any."""
    numbered = [(label, result.numbers) for label, result in zip(labels, results, strict=True) if result.numbers]
    names = order_names(words.NUMBERS, (numbers for _, numbers in numbered))
    rows = [
        (
            lay_out_cell(name, words.NUMBERS.get(name, "")),
            [describe_number(numbers.get(name)) for _, numbers in numbered],
        )
        for name in names
    ]
    return lay_out_table([label for label, _ in numbered], rows) if rows else ""


def describe_number(value: Any) -> str:
    """Describe a number about the model, or an interval."""
    if isinstance(value, dict) and value.get("mean") is not None:
        if value.get("low") is None:
            return lay_out_cell(write_number(value["mean"]), f"n = {value['n']}" if "n" in value else "")
        ends = ", ".join(write_short(value[end]) for end in ("low", "high"))
        return lay_out_cell(write_short(value["mean"]), f"[{ends}], n = {value['n']}")
    number = isinstance(value, int | float) and isfinite(value)
    return escape(write_short(value)) if number else "–"
