"""One HTML file that says how well a run does, beside other runs: numbers, plots, examples, and how it was made.

It is made of evaluation folders (``docs/reference/metrics.md``). The run folder's ``config.yaml``, ``environment.json``
and ``tensorboard/`` are used where they exist.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path

from mirage_pl.engine.evaluation.measures import judge_difference, write_difference, write_value
from mirage_pl.engine.evaluation.results import Result, read_result
from mirage_pl.engine.reports.conditions import lay_out_conditions, lay_out_numbers
from mirage_pl.engine.reports.examples import lay_out_examples
from mirage_pl.engine.reports.origin import describe_items, lay_out_origin
from mirage_pl.engine.reports.page import cell, folded, label, legend, note, paragraphs, table, write_page
from mirage_pl.engine.reports.plots import draw_by, draw_curves, learnt, measure_of, sort_curves
from mirage_pl.engine.runs.curves import read_curves
from mirage_pl.engine.words import load_words

SCOPE = (
    "All this is about one checkpoint: another seed, and the same seed on another machine, may come out otherwise. "
    "What holds of a method takes several seeds: python -m mirage_pl.report RUNS."
)
INTERVALS = {
    "share": "of shares Wilson's, of their differences Newcombe's paired ones with the exact McNemar test",
    "mean": "of means a bootstrap's, paired for differences",
    "set": "none of numbers that belong to the whole set",
}


def write_report(file: Path, evaluations: Sequence[Path], words: str | None = None) -> None:
    """Write the report; pictures and style are inside the file.

    Args:
        file: the HTML file to write.
        evaluations: evaluation folders: the run of interest, then those it is compared with.
        words: dotted path of the family's words that the command itself names, if it does.

    Raises:
        ValueError: no folder, or one that is incomplete or broken; names the file, the line and the command to run.
    """
    if not evaluations:
        raise ValueError("no evaluation to report; run python -m mirage_pl.evaluate ckpt=RUN and give its folder")
    results = [read_result(folder.absolute()) for folder in evaluations]
    shared = Counter(result.name for result in results)
    results = [
        replace(result, name=f"{result.name} ({result.folder})") if shared[result.name] > 1 else result
        for result in results
    ]
    family = load_words(results[0].metrics.get("words"), words)
    labels = [label(place, result.name) for place, result in enumerate(results)]
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
    verdict = "\n\n".join([say_score(results), *family.verdict(results[0].metrics), SCOPE])
    title = f"{results[0].name} on {results[0].task}"
    write_page(file, title, verdict, {heading: html for heading, html in sections.items() if html})


def say_score(results: Sequence[Result]) -> str:
    """Say in one sentence how good the first run is, and whether it differs from each of the others."""
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
    if ungraded := first.metrics.get("ungraded"):
        sentence += f" {ungraded} more can't be graded, because the test file withholds their answers."
    return sentence


def lay_out_groups(results: Sequence[Result], labels: Sequence[str]) -> str:
    """Table and plot of the first measure by group, of the others in all, and who leads; the rest is folded away."""
    first, *others = results
    rows, more = group_rows(results, first.first), ""
    for name in list(first.measures)[1:]:
        rows += group_rows(results, name)[-1:]
        more += folded(f"{name} by group", table(labels, group_rows(results, name)) + plot_groups(results, name))
    for name in first.measures:
        rows += lead_rows(results, labels, name)
    unpaired = [
        unlike(first, other) for other in others if first.items != other.items or first.measures != other.measures
    ]
    kinds = dict.fromkeys(each.kind for each in first.measures.values())
    reading = f"Brackets are 95 % intervals over test items ({'; '.join(INTERVALS[kind] for kind in kinds)}): they say "
    reading += "nothing about other training seeds."
    reading = " ".join([reading, *(each.meaning for each in first.measures.values() if each.meaning)])
    return table(labels, rows) + paragraphs(unpaired) + note(reading) + plot_groups(results, first.first, labels) + more


def groups_of(results: Sequence[Result], name: str) -> list[str]:
    """All groups of any run, ``all`` last."""
    groups = dict.fromkeys(group for result in results for group in result.by_group(name) if group != "all")
    return [*groups, *(["all"] if any(result.by_group(name) for result in results) else [])]


def group_rows(results: Sequence[Result], name: str) -> list[tuple[str, list[str]]]:
    """Rows of a table: a measure by group; of other measures than the first, the name stands in front."""
    measure, rows = results[0].measures[name], []
    for group in groups_of(results, name):
        numbers = [result.by_group(name).get(group) for result in results]
        counts = " / ".join(dict.fromkeys(str(number["n"]) for number in numbers if number))
        head = cell(group if name == results[0].first else f"{name}, {group}", f"n = {counts}")
        rows.append((head, [cell(*write_value(measure, number)) if number else "–" for number in numbers]))
    return rows


def lead_rows(results: Sequence[Result], labels: Sequence[str], name: str) -> list[tuple[str, list[str]]]:
    """A row on how far the first run leads each other; none if nobody can be paired with it."""
    first, *others = results
    measure = first.measures[name]
    leads = [first.lead_over(other, name) for other in others]
    if not any(leads):
        return []
    cells = ["–"]
    for lead in leads:
        value, interval = write_difference(measure, lead) if lead else ("not paired", "")
        cells.append(cell(value, f"{interval}, {judge_difference(measure, lead)}") if lead else value)
    of_what = "" if name == first.first else f"<small>{escape(name)}</small>"
    return [(f"lead of {labels[0]}{of_what}", cells)]


def plot_groups(results: Sequence[Result], name: str, labels: Sequence[str] = ()) -> str:
    """Plot a measure by group, below the runs' colours."""
    groups = groups_of(results, name)
    if not groups:
        return ""
    numbers = {place: result.by_group(name) for place, result in enumerate(results) if result.by_group(name)}
    plot = draw_by(groups, numbers, name, results[0].measures[name], "group")
    return f"<div>{legend(labels) if labels else ''}{plot}</div>"


def unlike(first: Result, other: Result) -> str:
    """Say why two runs can't be paired."""
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
    """Draw the runs' scalars over training; those that are of the machine are folded away."""
    scalars = {place: read_curves(result.run) for place, result in enumerate(results)}
    curves = sort_curves(scalars, results[0].measures)
    plots = {tag: draw_curves(tag, by_run, measure_of(tag, results[0].measures)) for tag, by_run in curves.items()}
    main = "".join(plot for tag, plot in plots.items() if learnt(tag))
    rest = "".join(plot for tag, plot in plots.items() if not learnt(tag))
    colours = legend([labels[place] for place, by_tag in scalars.items() if by_tag])
    sentence = "has no TensorBoard events in {0}/tensorboard and no {0}/csv/metrics.csv, so its curves are left out."
    without = [
        f"{result.name} {sentence.format(result.run)}" for place, result in enumerate(results) if not scalars[place]
    ]
    html = f'{colours}<div class="curves">{main}</div>' if plots else ""
    return (
        html
        + folded("other numbers that were logged", f'<div class="curves">{rest}</div>' if rest else "")
        + paragraphs(without)
    )


def lay_out_outcomes(results: Sequence[Result], labels: Sequence[str]) -> str:
    """Count how items ended, successes first; empty where they don't say."""
    counts = [Counter(str(row["outcome"]) for row in result.rows if row.get("outcome")) for result in results]
    total = sum(counts, Counter[str]())
    rows = []
    for word in sorted(total, key=lambda word: (word != "success", -total[word], word)):
        shares = [count[word] / max(1, count.total()) for count in counts]
        bars = [f'{share:.1%}<span class="bar"><i style="width:{share:.1%}"></i></span>' for share in shares]
        cells = [f"<b>{count[word]}</b> <small>{bar}</small>" for count, bar in zip(counts, bars, strict=True)]
        rows.append((escape(word), cells))
    return table(labels, rows) if rows else ""
