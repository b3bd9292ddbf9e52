"""Tables of a study: the same content on the page, in Markdown and on the console."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from mirage_pl.engine.evaluation.statistics import judge, percent, points
from mirage_pl.engine.reports.findings import Found
from mirage_pl.engine.reports.latents import MEANINGS, NUMBERS
from mirage_pl.engine.reports.plots import cell, label, table


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


def main_table(found: Mapping[str, Any]) -> Table:
    """Of each method success over all questions and by group, difference to the baseline, and cost."""
    methods = found["methods"]
    _, *groups = groups_of(methods)
    heads = [
        "seeds",
        "all",
        *groups,
        f"against {found['baseline']}",
        "optimal",
        "invalid",
        "cost a run",
        "steps",
        "paper",
    ]
    rows = {}
    for name, method in methods.items():
        rows[name] = [
            Entry(str(len(method["seeds"]))),
            Entry(*percent(method["success"]["all"]), f"seeds {each_seed(method, 'all')}"),
            *(Entry(*percent(method["success"][group])) for group in groups),
            lead(method, "all"),
            share(method["optimal"]),
            share(method["invalid"]),
            cost(method),
            UNKNOWN if method["steps"] is None else Entry(f"{method['steps']:,.0f}"),
            share(method["paper"]),
        ]
    return Table([Entry(head) for head in heads], rows)


def details_table(methods: Mapping[str, Found]) -> Table:
    """Of each method by group: the difference to the baseline, each seed alone, and all answers pooled."""
    groups = groups_of(methods)
    rows = {}
    for name, method in methods.items():
        pooled = {group: f"pooled {percent(method['pooled'][group])[1]}" for group in groups}
        more = {group: f"seeds {each_seed(method, group)}\n{pooled[group]}" for group in groups}
        rows[name] = [lead(method, group)._replace(more=more[group]) for group in groups]
    return Table([Entry(group) for group in groups], rows)


def groups_of(methods: Mapping[str, Found]) -> list[str]:
    """``all``, and the groups of questions after it."""
    return sorted(next(iter(methods.values()))["success"], key=lambda group: group != "all")


def interventions_table(methods: Mapping[str, Found]) -> Table:
    """Of each method that has interventions, success under each, and the difference to its own latents."""
    names = known_first(MEANINGS, (method["interventions"] for method in methods.values()))
    rows = {}
    for name, method in methods.items():
        if made := method["interventions"]:
            own = Entry(*percent(method["success"]["all"]))
            rows[name] = [own, *(changed(made[key]) if key in made else UNKNOWN for key in names)]
    return Table([Entry("its own"), *(Entry(name, "", MEANINGS.get(name, "")) for name in names)], rows)


def latents_table(methods: Mapping[str, Found]) -> Table:
    """Of each method that has latents, numbers about them as vectors."""
    names = known_first(NUMBERS, (method["latents"] for method in methods.values()))
    meanings = {
        **NUMBERS,
        "rows": "answers with latents",
        "retrieved": "share whose nearest helper image of all is the sample's own",
    }
    rows = {
        name: [spread(method["latents"][key]) if key in method["latents"] else UNKNOWN for key in names]
        for name, method in methods.items()
        if method["latents"]
    }
    return Table([Entry(name, "", meanings.get(name, "")) for name in names], rows)


def known_first(order: Iterable[str], found: Iterable[Iterable[str]]) -> list[str]:
    """All names that are found: those with a place first, in order."""
    names = dict.fromkeys(name for some in found for name in some)
    return [name for name in order if name in names] + [name for name in names if name not in set(order)]


def share(value: float | None) -> Entry:
    """A share without interval."""
    return UNKNOWN if value is None else Entry(f"{100 * value:.1f} %")


def each_seed(method: Found, group: str) -> str:
    """Success of each seed alone, in percent."""
    return ", ".join(f"{100 * shares[group]:.1f}" for shares in method["by_seed"].values())


def lead(method: Found, group: str) -> Entry:
    """Difference to the baseline."""
    if not method["difference"]:
        return UNKNOWN
    difference = method["difference"][group]
    return Entry(*points(difference), judge(difference))


def cost(method: Found) -> Entry:
    """Device hours of one run and its ancestors."""
    if method["hours"] is None:
        return UNKNOWN
    device = method["device"] or ""
    if device.lower() == "cpu":
        return Entry(f"{method['hours']:.3g} CPU hours")
    return Entry(f"{method['hours']:.3g} GPU hours", "", device)


def changed(found: Mapping[str, Any]) -> Entry:
    """Success under one intervention, and what that costs."""
    return Entry(percent(found)[0], "\n".join(points(found["difference"])))


def spread(found: Mapping[str, float]) -> Entry:
    """A number over seeds: mean, lowest and highest."""
    mean, low, high = (f"{found[key]:.3g}" for key in ("mean", "min", "max"))
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
    from rich.console import Console
    from rich.table import Table as Printed
    from rich.text import Text

    printed = Printed(title=title)
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
