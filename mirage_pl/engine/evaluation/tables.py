"""What an evaluation says in the console: progress, tables, and sentences about this checkpoint."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from mirage_pl.engine.evaluation.measures import judge_difference, read_measures, write_difference, write_value
from mirage_pl.engine.evaluation.test_set import TestSet
from mirage_pl.engine.seams import Row, Words

SHOWN = ("mean", "low", "high", "n", "groups", "difference", "measures")
"""Keys of a condition that every evaluation has."""


def follow(batches: Iterator[list[Row]], total: int, label: str) -> Iterator[list[Row]]:
    """The same batches, with a bar that counts their rows."""
    with Progress(transient=True) as progress:
        bar = progress.add_task(label, total=total)
        for batch in batches:
            progress.advance(bar, len(batch))
            yield batch


def print_losses(failures: Sequence[Mapping[str, str]], test: TestSet) -> None:
    """Say what couldn't be scored, and what the model was trained on."""
    if failures:
        print(f"{len(failures)} item(s) could not be scored and are left out; the first: {failures[0]['error']}")
    if seen := test.facts["seen"]:
        some = seen < test.facts["rows"]
        words = f"{seen} of the test items are" if some else "all test items are"
        print(f"{words} in {test.facts['train_file']}{'; see group unseen' if some else ': none of them is unseen'}")


def print_scores(metrics: Mapping[str, Any], remarks: Sequence[str]) -> None:
    """Print the measures by group, and what limits them."""
    measures = read_measures(metrics["measures"])
    first, *others = measures
    table = Table("group", first, "95 % interval", *others, "n", title=str(metrics["name"]))
    for group, number in metrics[first].items():
        values = [write_number(measures[name], metrics[name].get(group) or {})[0] for name in others]
        table.add_row(group, *write_number(measures[first], number), *values, str(number["n"]))
    print_table(table)
    if metrics["ungraded"]:
        rows = metrics["ungraded"]
        print(f"{rows} item(s) have nothing to be graded against: their predictions are written, ungraded")
    for remark in remarks:
        print(remark)


def print_conditions(metrics: Mapping[str, Any], words: Words) -> None:
    """Print each condition against the model's own, and the family's verdict on this checkpoint."""
    conditions: Mapping[str, Any] = metrics.get(metrics["conditions_in"]) or {}
    if not conditions:
        return
    measures = read_measures(metrics["measures"])
    name, measure = next(iter(measures.items()))
    further = list(dict.fromkeys(key for made in conditions.values() for key in made if key not in SHOWN))
    table = Table(metrics["conditions_in"], name, "95 % interval", "against its own", "", *further)
    for condition, made in conditions.items():
        known = made["difference"]["n"] > 0
        change = " ".join(write_difference(measure, made["difference"])) if known else "–"
        judged = judge_difference(measure, made["difference"]) if known else ""
        others = [f"{made[key]['mean']:.3f}" if key in made else "–" for key in further]
        table.add_row(condition, *write_number(measure, made), change, judged, *others)
    print_table(table)
    for sentence in words.verdict(metrics):
        print(sentence)


def write_number(measure: Any, number: Mapping[str, Any]) -> tuple[str, str]:
    """A number and its interval; dashes where nothing has a value."""
    return ("–", "") if number.get("mean") is None else write_value(measure, number)


def print_table(table: Table) -> None:
    """Print a table, wide enough where output is no terminal."""
    console = Console()
    (console if console.is_terminal else Console(width=140)).print(table)
