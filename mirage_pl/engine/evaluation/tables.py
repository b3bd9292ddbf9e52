"""What an evaluation prints: progress, tables, and conclusions about this checkpoint."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from mirage_pl.engine.evaluation.measures import (
    judge_difference,
    read_measures,
    write_difference,
    write_extra,
    write_value,
)
from mirage_pl.engine.evaluation.test_set import TestSet
from mirage_pl.engine.seams import Measure, Row, Words

SHOWN = ("mean", "low", "high", "n", "groups", "difference", "measures")
"""Keys of a condition in every evaluation; the table shows the others in columns of their own."""


def show_progress(batches: Iterator[list[Row]], total: int, label: str) -> Iterator[list[Row]]:
    """Yield the same batches while a progress bar counts their rows, on a terminal."""
    if not Console().is_terminal:
        yield from batches
        return
    with Progress(transient=True) as progress:
        bar = progress.add_task(label, total=total)
        for batch in batches:
            progress.advance(bar, len(batch))
            yield batch


def print_losses(failures: Sequence[Mapping[str, str]], test: TestSet) -> None:
    """Print which items couldn't be scored, and how many the model was trained on."""
    if failures:
        print(f"{len(failures)} item(s) could not be scored and are left out; the first: {failures[0]['error']}")
    if seen := test.facts["seen"]:
        file = test.facts["train_file"]
        if seen < test.facts["rows"]:
            print(f"{seen} of the test items are in {file}; see group unseen")
        else:
            print(f"all test items are in {file}: none of them is unseen")


def print_scores(metrics: Mapping[str, Any], remarks: Sequence[str]) -> None:
    """Print the measures by group, and remarks on what limits them."""
    measures = read_measures(metrics["measures"])
    first, *others = measures
    table = Table("group", first, "95 % interval", *others, "n", title=str(metrics["name"]))
    for group, number in metrics[first].items():
        values = [write_number(measures[name], metrics[name].get(group) or {})[0] for name in others]
        table.add_row(group, *write_number(measures[first], number), *values, str(number["n"]))
    print_table(table)
    if metrics["ungraded"]:
        rows = metrics["ungraded"]
        print(f"{rows} item(s) have nothing to be graded against; their predictions are written")
    for remark in remarks:
        print(remark)


def print_conditions(metrics: Mapping[str, Any], words: Words) -> None:
    """Print each condition against the model's own scores, and the family's verdict on this checkpoint."""
    conditions: Mapping[str, Any] = metrics.get(metrics["conditions_in"]) or {}
    if not conditions:
        return
    measures = read_measures(metrics["measures"])
    name, measure = next(iter(measures.items()))
    further = list(dict.fromkeys(key for number in conditions.values() for key in number if key not in SHOWN))
    table = Table(metrics["conditions_in"], name, "95 % interval", "against its own", "", *further)
    for condition, number in conditions.items():
        paired = number["difference"]["n"] > 0
        change = " ".join(write_difference(measure, number["difference"])) if paired else "–"
        judgement = judge_difference(measure, number["difference"]) if paired else ""
        others = [write_extra(number[key]) if key in number else "–" for key in further]
        table.add_row(condition, *write_number(measure, number), change, judgement, *others)
    print_table(table)
    for sentence in words.verdict(metrics):
        print(sentence)


def write_number(measure: Measure, number: Mapping[str, Any]) -> tuple[str, str]:
    """Write a number and its interval; a dash where there is no value."""
    return ("–", "") if number.get("mean") is None else write_value(measure, number)


def print_table(table: Table) -> None:
    """Print a table, 140 columns wide if the output isn't a terminal."""
    console = Console()
    (console if console.is_terminal else Console(width=140)).print(table)
