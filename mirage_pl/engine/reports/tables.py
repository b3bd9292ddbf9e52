"""Tables of a study: the same content on the page, in Markdown and on the console.

They are made of ``results.json`` alone, so that they can be made again without the runs.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from mirage_pl.engine.evaluation.measures import (
    Number,
    judge_difference,
    read_measures,
    write_difference,
    write_number,
    write_value,
)
from mirage_pl.engine.evaluation.statistics import percent
from mirage_pl.engine.reports.findings import Found
from mirage_pl.engine.reports.page import cell, label, table
from mirage_pl.engine.seams import Measure, Words


class Entry(NamedTuple):
    """What stands in a table: a value, its interval, and what only the page has room for."""

    value: str
    interval: str = ""
    more: str = ""


class Table(NamedTuple):
    """What stands above the columns, but for the first, and a row a method."""

    heads: list[Entry]
    rows: dict[str, list[Entry]]


UNKNOWN = Entry("–")


def main_table(results: Mapping[str, Any]) -> Table:
    """Of each method all measures, the first by group and against the baseline, cost, and what the paper reports."""
    methods, measures = results["methods"], read_measures(results["measures"])
    first, *others = measures
    _, *groups = groups_of(results)
    heads = [
        Entry("seeds"),
        Entry(first, "", describe_direction(measures[first])),
        *map(Entry, groups),
        Entry(f"against {results['baseline']}"),
        *(Entry(name, "", describe_direction(measures[name])) for name in others),
        *map(Entry, ("cost a run", "steps", "paper")),
    ]
    rows = {}
    for name, method in methods.items():
        seeds = f"seeds {each_seed(method, 'all', measures[first])}"
        rows[name] = [
            Entry(str(len(method["seeds"]))),
            measured(method[first], "all", measures[first])._replace(more=seeds),
            *(measured(method[first], group, measures[first]) for group in groups),
            lead(method["difference"], "all", measures[first]),
            *(further(method, other, measures[other]) for other in others),
            cost(method),
            UNKNOWN if method["steps"] is None else Entry(f"{method['steps']:,.0f}"),
            paper(method["paper"], measures),
        ]
    return Table(heads, rows)


def details_table(results: Mapping[str, Any]) -> Table:
    """Of each method by group: the difference to the baseline, each seed alone, and all answers pooled."""
    name, measure = next(iter(read_measures(results["measures"]).items()))
    groups = groups_of(results)
    rows = {}
    for method_name, method in results["methods"].items():
        entries = []
        for group in groups:
            more = [f"seeds {each_seed(method, group, measure)}"]
            if group in method["pooled"]:
                more.append(f"pooled {percent(method['pooled'][group])[1]}")
            entries.append(lead(method["difference"], group, measure)._replace(more="\n".join(more)))
        rows[method_name] = entries
    return Table([Entry(group, "", name if group == "all" else "") for group in groups], rows)


def conditions_table(results: Mapping[str, Any], words: Words) -> Table:
    """Of each method that has conditions, the first measure under each, and the difference to the same runs' own."""
    measures = read_measures(results["measures"])
    first, measure = next(iter(measures.items()))
    conditions = {name: method.get(results["conditions_in"]) or {} for name, method in results["methods"].items()}
    names = known_first(words.CONDITIONS, conditions.values())
    rows = {}
    for name, by_name in conditions.items():
        if by_name:
            own = measured(results["methods"][name][first], "all", measure)
            rows[name] = [own, *(changed(by_name[key], measures) if key in by_name else UNKNOWN for key in names)]
    return Table([Entry("its own"), *(Entry(name, "", words.CONDITIONS.get(name, "")) for name in names)], rows)


def numbers_table(results: Mapping[str, Any], words: Words) -> Table:
    """Of each method that has some, numbers about the model: mean over seeds, lowest and highest."""
    numbers = {name: method.get(results["numbers_in"]) or {} for name, method in results["methods"].items()}
    names = known_first(words.NUMBERS, numbers.values())
    rows = {
        name: [ranged(by_name[key]) if key in by_name else UNKNOWN for key in names]
        for name, by_name in numbers.items()
        if by_name
    }
    return Table([Entry(name, "", words.NUMBERS.get(name, "")) for name in names], rows)


def groups_of(results: Mapping[str, Any]) -> list[str]:
    """``all``, and the groups of items after it."""
    first = next(iter(results["measures"]))
    groups = dict.fromkeys(group for method in results["methods"].values() for group in method[first])
    return sorted(groups, key=lambda group: group != "all")


def known_first(order: Iterable[str], collections: Iterable[Iterable[str]]) -> list[str]:
    """All names in some collections: those with a place first, in order."""
    names = dict.fromkeys(name for collection in collections for name in collection)
    return [name for name in order if name in names] + [name for name in names if name not in set(order)]


def describe_direction(measure: Measure) -> str:
    """Whether less of a measure is better."""
    return "lower is better" if measure.better == "lower" else ""


def measured(numbers: Mapping[str, Number], group: str, measure: Measure) -> Entry:
    """A measure of a group."""
    return Entry(*write_value(measure, numbers[group])) if group in numbers else UNKNOWN


def further(method: Found, name: str, measure: Measure) -> Entry:
    """A measure that doesn't rank, with its difference to the baseline."""
    difference = (method["differences"].get(name) or {}).get("all")
    words = " ".join(filter(None, write_difference(measure, difference))) if difference else ""
    return measured(method[name], "all", measure)._replace(more=words)


def each_seed(method: Found, group: str, measure: Measure) -> str:
    """The first measure of each seed alone; shares in percent."""
    values = [means[group] for means in method["by_seed"].values() if group in means]
    return ", ".join(f"{100 * value:.1f}" if measure.kind == "share" else write_number(value) for value in values)


def lead(differences: Mapping[str, Number] | None, group: str, measure: Measure) -> Entry:
    """Difference to the baseline."""
    if not differences or group not in differences:
        return UNKNOWN
    return Entry(*write_difference(measure, differences[group]), judge_difference(measure, differences[group]))


def cost(method: Found) -> Entry:
    """Device hours of one run and its ancestors."""
    if method["hours"] is None:
        return UNKNOWN
    device = method["device"] or ""
    if device.lower() == "cpu":
        return Entry(f"{method['hours']:.3g} CPU hours")
    return Entry(f"{method['hours']:.3g} GPU hours", "", device)


def paper(numbers: Mapping[str, float] | float | None, measures: Mapping[str, Measure]) -> Entry:
    """What the paper reports, of one measure or several."""
    if numbers is None:
        return UNKNOWN
    first = next(iter(measures))
    by_name = numbers if isinstance(numbers, Mapping) else {first: numbers}
    plain = Measure("mean")  # a name that is no measure here
    parts = {name: write_value(measures.get(name, plain), {"mean": value})[0] for name, value in by_name.items()}
    alone = list(parts) == [first]
    return Entry("\n".join(value if alone else f"{name} {value}" for name, value in parts.items()))


def changed(condition: Mapping[str, Any], measures: Mapping[str, Measure]) -> Entry:
    """The first measure under one condition, and what that costs; then the others."""
    first, *others = measures
    more = []
    for name in others:
        if number := (condition.get("measures") or {}).get(name):
            more.append(f"{name} {write_value(measures[name], number)[0]}")
    costs = "\n".join(filter(None, write_difference(measures[first], condition["difference"])))
    return Entry(write_value(measures[first], condition)[0], costs, "\n".join(more))


def ranged(number: Mapping[str, float]) -> Entry:
    """A number over seeds: mean, lowest and highest."""
    mean, low, high = (f"{number[key]:.3g}" for key in ("mean", "min", "max"))
    return Entry(mean, "" if low == high else f"{low} to {high}")


def html(content: Table, places: Mapping[str, int]) -> str:
    """Lay out a table for the page.

    Args:
        content: what it holds.
        places: of the methods in the report, which give their colours.
    """
    heads = [cell(head.value, head.more) for head in content.heads]
    rows = []
    for name, row in content.rows.items():
        cells = [cell(value, "\n".join(filter(None, [unbroken(interval), more]))) for value, interval, more in row]
        rows.append((label(places[name], name), cells))
    return f'<div class="dense">{table(heads, rows)}</div>'


def unbroken(interval: str) -> str:
    """Keep the two ends of an interval on one line."""
    return interval.replace(", ", ",\N{NO-BREAK SPACE}")


def markdown(content: Table) -> str:
    """Write a table in Markdown."""
    rows = [["", *(head.value for head in content.heads)], ["---"] * (len(content.heads) + 1), *plain(content, "<br>")]
    cells = [[text.replace("|", r"\|") for text in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def print_table(content: Table, title: str) -> None:
    """Print a table."""
    printed = RichTable(title=title)
    printed.add_column(no_wrap=True)
    for head in content.heads:
        printed.add_column(Text(head.value))
    for row in plain(content, "\n"):
        printed.add_row(*map(Text, row))  # a name in brackets is no markup
    console = Console()
    (console if console.is_terminal else Console(width=200)).print(printed)


def plain(content: Table, between: str) -> list[list[str]]:
    """The rows in short: a name, then values and their intervals with something between the two."""
    return [
        [name, *(between.join(filter(None, entry[:2])).replace("\n", between) for entry in row)]
        for name, row in content.rows.items()
    ]
