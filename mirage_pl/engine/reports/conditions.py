"""A report's sections on what the items score under other conditions, and on the model in numbers."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from math import isfinite
from typing import Any

from mirage_pl.engine.evaluation.measures import judge_difference, write_difference, write_number, write_value
from mirage_pl.engine.evaluation.results import Result
from mirage_pl.engine.evaluation.statistics import percent
from mirage_pl.engine.reports.page import cell, folded, legend, note, table
from mirage_pl.engine.reports.plots import draw_by
from mirage_pl.engine.seams import Measure, Words

OWN = "own"
KNOWN = {"mean", "low", "high", "n", "groups", "difference", "measures"}
"""What every condition has; other keys are the evaluation's own."""


def lay_out_conditions(results: Sequence[Result], labels: Sequence[str], words: Words) -> str:
    """Table and plot of the runs that were scored under other conditions; other measures are folded away."""
    tried = {place: result for place, result in enumerate(results) if result.conditions}
    if not tried:
        return ""
    names = known_first(words.CONDITIONS, (result.conditions for result in tried.values()))
    heads = [cell(name, words.CONDITIONS.get(name, "")) for name in names]
    shown = [labels[place] for place in tried]
    first, *others = results[0].measures
    rows = [
        (head, [describe_condition(run, name) for run in tried.values()])
        for head, name in zip(heads, names, strict=True)
    ]
    more = ""
    for measure in others:
        cells = [[describe_measure(run, name, measure) for run in tried.values()] for name in names]
        plot = plot_conditions(tried, names, measure)
        more += folded(f"{measure} under other conditions", table(shown, zip(heads, cells, strict=True)) + plot)
    keys = (condition.keys() - KNOWN for run in tried.values() for condition in run.conditions.values())
    own_words = known_first(words.NUMBERS, map(sorted, keys))
    glossary = "".join(f" {name}: {words.NUMBERS[name]}." for name in own_words if name in words.NUMBERS)
    return (
        table(shown, rows)
        + note(f"The test set scored again; differences are paired with the model's own, item by item.{glossary}")
        + legend(shown)
        + plot_conditions(tried, names, first)
        + more
    )


def plot_conditions(tried: Mapping[int, Result], names: Sequence[str], measure: str) -> str:
    """Plot a measure under each condition, the model's own above; empty if nothing was graded."""
    numbers = {}
    for place, result in tried.items():
        own = {OWN: result.by_group(measure)["all"]} if result.by_group(measure) else {}
        numbers[place] = own | {name: each for name in names if (each := find_condition(result, name, measure))}
    if not any(numbers.values()):
        return ""
    return draw_by([OWN, *names], numbers, measure, tried[min(tried)].measures[measure], "condition")


def find_condition(result: Result, name: str, measure: str) -> Mapping[str, Any] | None:
    """A measure under a condition; ``None`` if it wasn't made, or nothing was graded."""
    condition = result.conditions.get(name) or {}
    number = condition if measure == result.first else (condition.get("measures") or {}).get(measure)
    return number if number and number["n"] else None


def known_first(order: Mapping[str, str], collections: Iterable[Iterable[str]]) -> list[str]:
    """All names in some collections: those with a place first, in order."""
    names = dict.fromkeys(name for collection in collections for name in collection)
    return [name for name in order if name in names] + [name for name in names if name not in order]


def describe_condition(result: Result, name: str) -> str:
    """One run under one condition: the first measure with its difference, the others, then what is its own."""
    condition = result.conditions.get(name)
    if condition is None:
        return "–"
    numbers = {measure: find_condition(result, name, measure) for measure in list(result.measures)[1:]}
    lines = [f"{each} {write_value(result.measures[each], number)[0]}" for each, number in numbers.items() if number]
    lines += [f"{key} {write_extra(value)}" for key, value in condition.items() if key not in KNOWN]
    return describe_measure(result, name, result.first, ", ".join(lines))


def describe_measure(result: Result, name: str, measure: str, more: str = "") -> str:
    """A measure under a condition: value, interval, difference to the model's own; further words below."""
    if name not in result.conditions:
        return "–"
    if (number := find_condition(result, name, measure)) is None:
        return "not graded"
    value, interval = write_value(result.measures[measure], number)
    change = describe_change(result.measures[measure], number)
    small = "<br>".join(escape(line) for line in (interval, change, more) if line)
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
