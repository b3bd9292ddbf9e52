"""The report of an evaluation: one HTML file with numbers, plots, examples and origin of a run, beside other runs.

It is made from evaluation folders (``docs/reference/metrics.md``), and from ``config.yaml``, ``environment.json`` and
``tensorboard/`` of the run folder where they exist.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path

from mirage_pl.engine.evaluation.measures import judge_difference, list_groups, write_difference, write_value
from mirage_pl.engine.evaluation.results import Result, read_result
from mirage_pl.engine.reports.conditions import lay_out_conditions, lay_out_numbers
from mirage_pl.engine.reports.examples import lay_out_examples
from mirage_pl.engine.reports.origin import describe_items, lay_out_origin
from mirage_pl.engine.reports.page import (
    fold_away,
    label_run,
    lay_out_cell,
    lay_out_legend,
    lay_out_note,
    lay_out_paragraphs,
    lay_out_table,
    write_page,
)
from mirage_pl.engine.reports.plots import draw_by, draw_curves, find_measure, is_of_learning, sort_curves
from mirage_pl.engine.runs.curves import read_curves
from mirage_pl.engine.words import load_words

SCOPE = (
    "All this is about one checkpoint: another seed, or the same seed on another machine, may give other numbers. "
    "To judge a method, train several seeds and run python -m mirage_pl.report RUNS."
)
INTERVALS = {
    "share": "for shares Wilson's; for their differences Newcombe's paired interval, with the exact McNemar test",
    "mean": "for means a bootstrap's, paired for differences",
    "set": "none for numbers of the whole set",
}


def write_report(file: Path, evaluations: Sequence[Path], words: str | None = None) -> None:
    """Write the report; pictures and style are embedded in the file.

    Args:
        file: the HTML file to write.
        evaluations: evaluation folders: the run of interest, then those it is compared with.
        words: dotted path of the family's words, if the user's command names one.

    Raises:
        ValueError: no folder, or one that is incomplete or broken; names file, line and the command that repairs it.
    """
    if not evaluations:
        raise ValueError("no evaluation to report; run python -m mirage_pl.evaluate ckpt=RUN and give its folder")
    results = [read_result(folder.absolute()) for folder in evaluations]
    counts = Counter(result.name for result in results)
    results = [
        replace(result, name=f"{result.name} ({result.folder})") if counts[result.name] > 1 else result
        for result in results
    ]
    family = load_words(results[0].metrics.get("words"), words)
    labels = [label_run(place, result.name) for place, result in enumerate(results)]
    sections = {
        "Results by group": lay_out_groups(results, labels),
        "Under other conditions": lay_out_conditions(results, labels, family),
        "The model in numbers": lay_out_numbers(results, labels, family),
        **family.sections(results),
        "Learning curves": lay_out_curves(results, labels),
        "Outcomes": lay_out_outcomes(results, labels),
        "Examples": lay_out_examples(results, labels),
        "How each run was made": "".join(map(lay_out_origin, results, labels)),
    }
    verdict = "\n\n".join([write_verdict(results), *family.verdict(results[0].metrics), SCOPE])
    title = f"{results[0].name} on {results[0].task}"
    write_page(file, title, verdict, {heading: html for heading, html in sections.items() if html})


def write_verdict(results: Sequence[Result]) -> str:
    """Say how well the first run does, and whether it differs from each of the others."""
    first, *others = results
    name, measure = first.first, first.measures[first.first]
    items = describe_items(first)
    if (total := first.by_group(name).get("all")) is None:
        return f"{first.name}: none of {len(first.rows)} answers could be graded, because the test file withholds them."
    leads = []
    for other in others:
        if lead := first.lead_over(other, name):
            words = f"{' '.join(write_difference(measure, lead))} against {other.name}"
            leads.append(f"{words} ({judge_difference(measure, lead)})")
    value, of = " ".join(filter(None, write_value(measure, total))), "of" if measure.kind == "share" else "over"
    sentence = f"{first.name}: {name} {value} {of} {total['n']} {items}"
    sentence = f"{sentence}; that is {', and '.join(leads)}." if leads else f"{sentence}."
    if failures := first.metrics.get("failures"):
        sentence += f" {len(failures)} more couldn't be scored; the first: {failures[0].get('error')}."
    if ungraded := first.metrics.get("ungraded"):
        sentence += f" {ungraded} more can't be graded, because the test file withholds their answers."
    return sentence


def lay_out_groups(results: Sequence[Result], labels: Sequence[str]) -> str:
    """Lay out the first measure by group, the others over all items, and leads; the rest is folded away."""
    first, *others = results
    rows, more = build_group_rows(results, first.first), ""
    for name in list(first.shown)[1:]:
        rows += build_group_rows(results, name)[-1:]
        more += fold_away(
            f"{name} by group", lay_out_table(labels, build_group_rows(results, name)) + plot_groups(results, name)
        )
    for name in first.shown:
        rows += build_lead_rows(results, labels, name)
    unpaired = [
        explain_unpaired(first, other)
        for other in others
        if first.items != other.items or first.measures != other.measures
    ]
    kinds = dict.fromkeys(each.kind for each in first.shown.values())
    reading = f"Brackets are 95 % intervals over test items: {'; '.join(INTERVALS[kind] for kind in kinds)}. They say "
    reading += "nothing about other training seeds."
    reading = " ".join([reading, *(each.meaning for each in first.shown.values() if each.meaning)])
    return (
        lay_out_table(labels, rows)
        + lay_out_paragraphs(unpaired)
        + lay_out_note(reading)
        + plot_groups(results, first.first, labels)
        + more
    )


def list_rows(results: Sequence[Result], name: str) -> list[str]:
    """List the groups of all runs, ``all`` last; none if no run has a graded item."""
    measured = [result.by_group(name) for result in results]
    return [*list_groups(measured), "all"] if any(measured) else []


def build_group_rows(results: Sequence[Result], name: str) -> list[tuple[str, list[str]]]:
    """Build table rows of a measure by group; the heads of measures after the first begin with its name."""
    measure, rows = results[0].measures[name], []
    for group in list_rows(results, name):
        numbers = [result.by_group(name).get(group) for result in results]
        counts = " / ".join(dict.fromkeys(str(number["n"]) for number in numbers if number))
        head = lay_out_cell(group if name == results[0].first else f"{name}, {group}", f"n = {counts}")
        rows.append((head, [lay_out_cell(*write_value(measure, number)) if number else "–" for number in numbers]))
    return rows


def build_lead_rows(results: Sequence[Result], labels: Sequence[str], name: str) -> list[tuple[str, list[str]]]:
    """Build a row with the first run's lead over each other; no row if none can be paired with it."""
    first, *others = results
    measure = first.measures[name]
    leads = [first.lead_over(other, name) for other in others]
    if not any(leads):
        return []
    cells = ["–"]
    for lead in leads:
        value, interval = write_difference(measure, lead) if lead else ("not paired", "")
        cells.append(lay_out_cell(value, f"{interval}, {judge_difference(measure, lead)}") if lead else value)
    detail = "" if name == first.first else f"<small>{escape(name)}</small>"
    return [(f"lead of {labels[0]}{detail}", cells)]


def plot_groups(results: Sequence[Result], name: str, labels: Sequence[str] = ()) -> str:
    """Plot a measure by group, below a legend of the runs."""
    groups = list_rows(results, name)
    if not groups:
        return ""
    numbers = {place: result.by_group(name) for place, result in enumerate(results) if result.by_group(name)}
    plot = draw_by(groups, numbers, name, results[0].measures[name], "group")
    return f"<div>{lay_out_legend(labels) if labels else ''}{plot}</div>"


def explain_unpaired(first: Result, other: Result) -> str:
    """Explain why two runs can't be paired."""
    if other.measures != first.measures:
        ours, theirs = (", ".join(each.measures) for each in (first, other))
        return f"{other.name} is not compared with {first.name}: it was measured by {theirs}, not by {ours}."
    ours, theirs = (", ".join({row["where"].rpartition(":")[0]: 0 for row in run.rows}) for run in (first, other))
    items = f"{theirs} instead of {ours}" if ours != theirs else f"other rows, or another version, of {ours}"
    return (
        f"{other.name} is not compared with {first.name} item by item: it was given {items}, "
        "and only results on the same test set can be paired."
    )


def lay_out_curves(results: Sequence[Result], labels: Sequence[str]) -> str:
    """Draw the runs' scalars over training; those that aren't about learning are folded away."""
    scalars = {place: read_curves(result.run) for place, result in enumerate(results)}
    curves = sort_curves(scalars, results[0].measures, results[0].hidden)
    plots = {tag: draw_curves(tag, by_run, find_measure(tag, results[0].measures)) for tag, by_run in curves.items()}
    main = "".join(plot for tag, plot in plots.items() if is_of_learning(tag))
    rest = "".join(plot for tag, plot in plots.items() if not is_of_learning(tag))
    colours = lay_out_legend([labels[place] for place, by_tag in scalars.items() if by_tag])
    sentence = "has no TensorBoard events in {0}/tensorboard and no {0}/csv/metrics.csv, so its curves are left out."
    without = [
        f"{result.name} {sentence.format(result.run)}" for place, result in enumerate(results) if not scalars[place]
    ]
    html = f'{colours}<div class="curves">{main}</div>' if plots else ""
    return (
        html
        + fold_away("other numbers that were logged", f'<div class="curves">{rest}</div>' if rest else "")
        + lay_out_paragraphs(without)
    )


def lay_out_outcomes(results: Sequence[Result], labels: Sequence[str]) -> str:
    """Lay out the counts of outcomes, successes first; empty if rows have no outcome."""
    counts = [Counter(str(row["outcome"]) for row in result.rows if row.get("outcome")) for result in results]
    total = sum(counts, Counter[str]())
    rows = []
    for word in sorted(total, key=lambda word: (word != "success", -total[word], word)):
        shares = [count[word] / max(1, count.total()) for count in counts]
        bars = [f'{100 * share:.1f} %<span class="bar"><i style="width:{share:.1%}"></i></span>' for share in shares]
        cells = [f"<b>{count[word]}</b> <small>{bar}</small>" for count, bar in zip(counts, bars, strict=True)]
        rows.append((escape(word), cells))
    return lay_out_table(labels, rows) if rows else ""
