"""What an evaluation prints: progress, tables, and conclusions about this checkpoint."""

from collections.abc import Iterator, Mapping, Sequence
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.progress import Progress

from mirage_pl.engine.console import Grid, fits_console, join_columns, print_grid
from mirage_pl.engine.evaluation.measures import (
    judge_difference,
    list_groups,
    read_measures,
    write_difference,
    write_extra,
    write_value,
)
from mirage_pl.engine.evaluation.test_set import TestSet
from mirage_pl.engine.seams import Measure, Row, Words
from mirage_pl.engine.words import order_names

SHOWN = ("mean", "low", "high", "n", "groups", "difference", "measures")
"""Keys of a condition in every evaluation; the table shows the others in columns of their own."""
LINE_EVERY_S = 30.0
"""Seconds between two lines of progress where output is no terminal."""


def show_progress(batches: Iterator[list[Row]], total: int, label: str) -> Iterator[list[Row]]:
    """Yield the same batches while a progress bar counts their rows; without a terminal, lines do now and then."""
    if not Console().is_terminal:
        yield from count_in_lines(batches, total, label)
        return
    with Progress(transient=True) as progress:
        bar = progress.add_task(label, total=total)
        for batch in batches:
            progress.advance(bar, len(batch))
            yield batch


def count_in_lines(batches: Iterator[list[Row]], total: int, label: str) -> Iterator[list[Row]]:
    """Yield the same batches; print how many rows there were, and the time that is left, every :data:`LINE_EVERY_S`."""
    begun = said = perf_counter()
    done = 0
    for batch in batches:
        done += len(batch)
        if (now := perf_counter()) - said >= LINE_EVERY_S and done < total:
            print(f"{label}: {done}/{total}  {(total - done) * (now - begun) / done / 60:.1f} min left", flush=True)
            said = now
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
    print(metrics["name"])
    for grid in build_scores(metrics):
        print_grid(grid)
    if metrics["ungraded"]:
        rows = metrics["ungraded"]
        print(f"{rows} item(s) have nothing to be graded against; their predictions are written")
    for remark in remarks:
        print(remark)


def build_scores(metrics: Mapping[str, Any]) -> list[Grid]:
    """Build the table of all measures by group; where that is too wide, one of the first and one of the others."""
    measures = read_measures(metrics["measures"])
    (first, numbers), *others = (
        (name, metrics[name]) for name in measures if name not in (metrics.get("hidden") or ())
    )
    numbers = {group: numbers[group] for group in [*list_groups([numbers]), "all"]}
    cells = [[group, join_lines(*write_number(measures[first], number))] for group, number in numbers.items()]
    main = Grid(["group", f"{first}\n[95 % interval]"], cells)
    counts = Grid(["n"], [[str(number["n"])] for number in numbers.values()])
    rest = Grid(
        [name for name, _ in others],
        [
            [write_number(measures[name], by_group.get(group) or {})[0] for name, by_group in others]
            for group in numbers
        ],
    )
    whole = join_columns(join_columns(main, rest), counts)
    if fits_console(whole):
        return [whole]
    return [join_columns(main, counts), join_columns(Grid(["group"], [[group] for group in numbers]), rest)]


def print_conditions(metrics: Mapping[str, Any], words: Words) -> None:
    """Print each condition against the model's own scores, and the family's verdict on this checkpoint."""
    conditions: Mapping[str, Any] = metrics.get(metrics["conditions_in"]) or {}
    if not conditions:
        return
    name, measure = next(iter(read_measures(metrics["measures"]).items()))
    further = list(dict.fromkeys(key for number in conditions.values() for key in number if key not in SHOWN))
    rows = []
    for condition in order_names(words.CONDITIONS, [conditions]):
        number = conditions[condition]
        paired = number["difference"]["n"] > 0
        change = join_lines(*write_difference(measure, number["difference"])) if paired else "–"
        judgement = judge_difference(measure, number["difference"]) if paired else ""
        others = [write_extra(number[key]) if key in number else "–" for key in further]
        rows.append([condition, join_lines(*write_number(measure, number)), change, judgement, *others])
    heads = [metrics["conditions_in"], f"{name}\n[95 % interval]", "against its own", "judgement", *further]
    print_grid(Grid(heads, rows))
    for sentence in words.verdict(metrics):
        print(sentence)


def write_number(measure: Measure, number: Mapping[str, Any]) -> tuple[str, str]:
    """Write a number and its interval; a dash where there is no value."""
    return ("–", "") if number.get("mean") is None else write_value(measure, number)


def join_lines(value: str, interval: str) -> str:
    """Put an interval below its value."""
    return f"{value}\n{interval}".rstrip()
