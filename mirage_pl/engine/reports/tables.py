"""Tables of a study, for page, Markdown and console.

They are built from ``results.json`` alone, so that they can be built again without the runs.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from mirage_pl.engine.console import Grid, print_grid
from mirage_pl.engine.evaluation.measures import (
    Number,
    judge_difference,
    list_groups,
    read_measures,
    write_difference,
    write_number,
    write_short,
    write_value,
)
from mirage_pl.engine.evaluation.phrases import write_p, write_percent
from mirage_pl.engine.reports.corrected import count_corrected, find_lead
from mirage_pl.engine.reports.findings import MethodNumbers, list_marks
from mirage_pl.engine.reports.page import label_run, lay_out_cell, lay_out_table
from mirage_pl.engine.seams import Measure, Words
from mirage_pl.engine.words import order_names


class Entry(NamedTuple):
    """A cell of a table: a value, its interval, and details that only the page shows."""

    value: str
    interval: str = ""
    more: str = ""


class Table(NamedTuple):
    """Heads of the columns after the first, and method -> row."""

    heads: list[Entry]
    rows: dict[str, list[Entry]]


UNKNOWN = Entry("–")
SHOWN = {True: "yes", False: "no", None: "–"}
"""How a mark is written: whether something is shown of a method; ``None``: unknown."""


def build_main_table(results: Mapping[str, Any]) -> Table:
    """Build the main table: all measures, the first by group and against the baseline, cost, and the paper's number."""
    methods, measures = results["methods"], read_measures(results["measures"])
    first, *others = measures
    _, *groups = list_columns(results)
    corrected, marks = count_corrected(results), list_marks(results)
    heads = [
        Entry("seeds"),
        Entry(first, "", describe_direction(measures[first])),
        *map(Entry, groups),
        Entry(f"against {results['baseline']}"),
        *([Entry("p, Holm", "", f"for {corrected} comparisons")] if corrected > 1 else []),
        *map(Entry, marks),
        *(Entry(name, "", describe_direction(measures[name])) for name in others),
        *map(Entry, ("cost a run", "steps", "paper")),
    ]
    rows = {}
    for name, method in methods.items():
        seeds = f"seeds {write_seeds(method, 'all', measures[first])}"
        rows[name] = [
            Entry(str(len(method["seeds"]))),
            write_measure(method[first], "all", measures[first])._replace(more=seeds),
            *(write_measure(method[first], group, measures[first]) for group in groups),
            write_lead(method["difference"], "all", measures[first]),
            *([write_corrected(method)] if corrected > 1 else []),
            *(Entry(SHOWN[method.get(mark)]) for mark in marks),
            *(write_other_measure(method, other, measures[other]) for other in others),
            write_cost(method),
            UNKNOWN if method["steps"] is None else Entry(f"{method['steps']:,.0f}"),
            write_paper(method["paper"], measures),
        ]
    return Table(heads, rows)


def build_differences_table(results: Mapping[str, Any]) -> Table:
    """Build the table of differences from the baseline over all items, measure by measure.

    It has no row where only the first measure has one, which the main table shows.
    """
    measures, rows = read_measures(results["measures"]), {}
    first = next(iter(measures))
    for name, method in results["methods"].items():
        if any("all" in lead for lead in method["differences"].values()):
            leads = {first: method["difference"], **method["differences"]}
            rows[name] = [write_lead(leads.get(key), "all", measure) for key, measure in measures.items()]
    return Table([Entry(key, "", describe_direction(measure)) for key, measure in measures.items()], rows)


def build_details_table(results: Mapping[str, Any]) -> Table:
    """Build the table of details by group: difference from the baseline, each seed alone, all answers pooled."""
    name, measure = next(iter(read_measures(results["measures"]).items()))
    groups = list_columns(results)
    rows = {}
    for method_name, method in results["methods"].items():
        entries = []
        for group in groups:
            more = [f"seeds {write_seeds(method, group, measure)}"]
            if group in method["pooled"]:
                more.append(f"pooled {write_percent(method['pooled'][group])[1]}")
            entries.append(write_lead(method["difference"], group, measure)._replace(more="\n".join(more)))
        rows[method_name] = entries
    return Table([Entry(group, "", name if group == "all" else "") for group in groups], rows)


def build_conditions_table(results: Mapping[str, Any], words: Words) -> Table:
    """Build the table of conditions: the first measure under each, and its difference from the same runs' own."""
    measures = read_measures(results["measures"])
    first = next(iter(measures))
    conditions = {name: method.get(results["conditions_in"]) or {} for name, method in results["methods"].items()}
    entries = {
        name: {key: write_condition(condition, measures) for key, condition in by_name.items() if condition["n"]}
        for name, by_name in conditions.items()
    }
    return lay_out_by_condition(results, words, first, entries)


def build_measure_table(results: Mapping[str, Any], words: Words, measure: str) -> Table:
    """Build the table of a measure after the first, under the conditions under which it was scored."""
    kind = read_measures(results["measures"])[measure]
    entries: dict[str, dict[str, Entry]] = {}
    for name, method in results["methods"].items():
        by_name = method.get(results["conditions_in"]) or {}
        numbers = {key: (condition.get("measures") or {}).get(measure) for key, condition in by_name.items()}
        entries[name] = {key: write_change(number, kind) for key, number in numbers.items() if number}
    return lay_out_by_condition(results, words, measure, entries)


def lay_out_by_condition(
    results: Mapping[str, Any], words: Words, measure: str, entries: Mapping[str, Mapping[str, Entry]]
) -> Table:
    """Lay out a measure as it is, and under each condition, of the methods that have entries."""
    names = order_names(words.CONDITIONS, entries.values())
    kind = read_measures(results["measures"])[measure]
    rows = {
        name: [
            write_measure(results["methods"][name][measure], "all", kind),
            *(by_name.get(key, UNKNOWN) for key in names),
        ]
        for name, by_name in entries.items()
        if by_name
    }
    return Table([Entry("its own"), *(Entry(name, "", words.CONDITIONS.get(name, "")) for name in names)], rows)


def build_numbers_table(results: Mapping[str, Any], words: Words) -> Table:
    """Build the table of numbers about the model: mean over seeds, lowest and highest."""
    numbers = {name: method.get(results["numbers_in"]) or {} for name, method in results["methods"].items()}
    names = order_names(words.NUMBERS, numbers.values())
    rows = {
        name: [write_range(by_name[key]) if key in by_name else UNKNOWN for key in names]
        for name, by_name in numbers.items()
        if by_name
    }
    return Table([Entry(name, "", words.NUMBERS.get(name, "")) for name in names], rows)


def list_columns(results: Mapping[str, Any]) -> list[str]:
    """List ``all``, then the groups of items."""
    first = next(iter(results["measures"]))
    return ["all", *list_groups(method[first] for method in results["methods"].values())]


def describe_direction(measure: Measure) -> str:
    """Say that lower is better, where it is."""
    return "lower is better" if measure.better == "lower" else ""


def write_measure(numbers: Mapping[str, Number], group: str, measure: Measure) -> Entry:
    """Write a measure of a group."""
    return Entry(*write_value(measure, numbers[group])) if group in numbers else UNKNOWN


def write_other_measure(method: MethodNumbers, name: str, measure: Measure) -> Entry:
    """Write a measure after the first, with its difference from the baseline."""
    difference = (method["differences"].get(name) or {}).get("all")
    words = " ".join(filter(None, write_difference(measure, difference))) if difference else ""
    return write_measure(method[name], "all", measure)._replace(more=words)


def write_seeds(method: MethodNumbers, group: str, measure: Measure) -> str:
    """Write the first measure of each seed; shares in percent."""
    values = [means[group] for means in method["by_seed"].values() if group in means]
    return ", ".join(f"{100 * value:.1f}" if measure.kind == "share" else write_number(value) for value in values)


def write_lead(differences: Mapping[str, Number] | None, group: str, measure: Measure) -> Entry:
    """Write the difference from the baseline, and judge it."""
    if not differences or group not in differences:
        return UNKNOWN
    return Entry(*write_difference(measure, differences[group]), judge_difference(measure, differences[group]))


def write_corrected(method: MethodNumbers) -> Entry:
    """Write the p of the difference from the baseline, after Holm's correction."""
    lead = find_lead(method)
    return Entry(write_p(lead["adjusted"])) if "adjusted" in lead else UNKNOWN


def write_cost(method: MethodNumbers) -> Entry:
    """Write the device hours of one run and its ancestors."""
    if method["hours"] is None:
        return UNKNOWN
    device = method["device"] or ""
    if device.lower() == "cpu":
        return Entry(f"{method['hours']:.3g} CPU hours")
    return Entry(f"{method['hours']:.3g} GPU hours", "", device)


def write_paper(numbers: Mapping[str, float] | float | None, measures: Mapping[str, Measure]) -> Entry:
    """Write what the paper reports for one measure or several."""
    if numbers is None:
        return UNKNOWN
    first = next(iter(measures))
    by_name = numbers if isinstance(numbers, Mapping) else {first: numbers}
    plain = Measure("mean")  # the paper may report what wasn't measured here
    parts = {name: write_value(measures.get(name, plain), {"mean": value})[0] for name, value in by_name.items()}
    alone = list(parts) == [first]
    return Entry("\n".join(value if alone else f"{name} {value}" for name, value in parts.items()))


def write_condition(condition: Mapping[str, Any], measures: Mapping[str, Measure]) -> Entry:
    """Write the first measure under a condition with its difference from own; then the other measures."""
    first, *others = measures
    more = []
    for name in others:
        if number := (condition.get("measures") or {}).get(name):
            more.append(f"{name} {write_value(measures[name], number)[0]}")
    return write_change(condition, measures[first])._replace(more="\n".join(more))


def write_change(number: Mapping[str, Any], measure: Measure) -> Entry:
    """Write a number under a condition with its difference from own."""
    change = "\n".join(filter(None, write_difference(measure, number["difference"])))
    return Entry(write_value(measure, number)[0], change)


def write_range(number: Mapping[str, float]) -> Entry:
    """Write a number over seeds: mean, lowest and highest."""
    mean, low, high = (write_short(number[key]) for key in ("mean", "min", "max"))
    return Entry(mean, "" if low == high else f"{low} to {high}")


def render_html(content: Table, places: Mapping[str, int]) -> str:
    """Render a table as HTML.

    Args:
        content: the table.
        places: method -> its place in the report, which gives its color.
    """
    heads = [lay_out_cell(head.value, head.more) for head in content.heads]
    rows = []
    for name, row in content.rows.items():
        cells = [
            lay_out_cell(value, "\n".join(filter(None, [keep_together(interval), more])))
            for value, interval, more in row
        ]
        rows.append((label_run(places[name], name), cells))
    return f'<div class="dense">{lay_out_table(heads, rows)}</div>'


def keep_together(interval: str) -> str:
    """Make the space in an interval non-breaking."""
    return interval.replace(", ", ",\N{NO-BREAK SPACE}")


def render_markdown(content: Table) -> str:
    """Render a table as Markdown."""
    rows = [
        ["", *(head.value for head in content.heads)],
        ["---"] * (len(content.heads) + 1),
        *list_cells(content, "<br>"),
    ]
    cells = [[text.replace("|", r"\|") for text in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def print_table(content: Table, title: str) -> None:
    """Print a table."""
    heads = [head.value for head in content.heads]
    print_grid(Grid(["", *heads], list_cells(content, "\n")), title)


def list_cells(content: Table, between: str) -> list[list[str]]:
    """List the rows as texts: the method, then each value and interval with ``between`` in between."""
    return [
        [name, *(between.join(filter(None, entry[:2])).replace("\n", between) for entry in row)]
        for name, row in content.rows.items()
    ]
