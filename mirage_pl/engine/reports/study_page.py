"""The report of a study: a page, Markdown with pictures, and numbers as JSON, all from the same findings."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from mirage_pl.engine.evaluation.measures import read_measures
from mirage_pl.engine.reports import tables
from mirage_pl.engine.reports.corrected import count_corrected
from mirage_pl.engine.reports.findings import list_marks
from mirage_pl.engine.reports.lineage import Run
from mirage_pl.engine.reports.page import (
    choose_color,
    fold_away,
    label_run,
    lay_out_legend,
    lay_out_note,
    lay_out_paragraphs,
    lay_out_table,
    write_file,
    write_page,
)
from mirage_pl.engine.reports.panels import Bar, draw_bands, draw_levels, draw_panels, number_groups, render_png
from mirage_pl.engine.reports.plots import is_of_learning, render_svg, sort_curves
from mirage_pl.engine.reports.study import Study
from mirage_pl.engine.runs.curves import Curve
from mirage_pl.engine.runs.folder import write_json
from mirage_pl.engine.seams import Words
from mirage_pl.engine.words import load_words, order_names

OWN = "its own"
CURVES = "curves"
BY = "by_"
INTERVALS = (
    "Brackets are 95 % intervals of a bootstrap over test rows and training seeds; with a single seed, over "
    "rows alone, of shares Wilson's and of their differences Newcombe's. Where all answers are alike, which a "
    "bootstrap takes for certain, they are Wilson's as well. Rows that aren't independent, such as the clips of an "
    "episode, are drawn together."
)
SIMULATED = (
    "In simulations of shares with 3 seeds and 400 rows they contained the true value 99 times in 100 where seeds "
    "hardly differ, and 87 times where seeds differ by 7 points."
)
JUDGED = (
    "Better or worse: the interval of the difference, paired by row, excludes 0. Cost and steps include the runs that "
    "a run took weights from."
)
CORRECTED = (
    "P, Holm: two-sided, by the bootstrap, of single seeds McNemar's; corrected for all methods that are compared."
)
MARKED = "Yes: shown by intervals; useful: better than the baseline."
DETAILS = "The difference from the baseline. Seeds: the measure of each seed alone."
POOLED = (
    " Pooled: Wilson's interval of all seeds' answers, taken as independent, which answers to one question are not."
)
CHANGED = (
    "The test set scored again under other conditions; small below, the difference from the same runs as they are. The "
    "last table has numbers about the model: mean over seeds, lowest and highest."
)


def write_study(folder: Path, study: Study, results: Mapping[str, Any], words: str | None = None) -> Path:
    """Write ``report.html``, ``results.json``, ``results.md`` and the pictures it shows.

    Args:
        folder: created if missing.
        study: the runs.
        results: from :func:`mirage_pl.engine.reports.findings.compute_findings`; and ``made``: command and revision.
        words: dotted path of the family's words, if the user's command names one.

    Returns:
        The page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    family = load_words(results["words"], words)
    places = {name: place for place, name in enumerate(results["methods"])}
    gathered = {place: gather_curves(method.runs) for place, method in enumerate(study.methods)}
    scored = study.methods[0].results[0]
    curves = sort_curves(gathered, scored.measures, scored.hidden)
    figures = draw_figures(results, curves, family)
    for name, figure in figures.items():
        write_file(folder / f"{name}.png", render_png(figure))
    write_json(folder / "results.json", results)
    write_file(folder / "results.md", write_markdown(results, list(figures), family).encode())
    first = study.methods[0].first
    by_group = "".join(
        render_svg(figure, describe_picture(results, name))
        for name, figure in figures.items()
        if name == first or name.startswith(BY)
    )
    sections = {
        "Results": tables.render_html(tables.build_main_table(results), places) + lay_out_note(explain_table(results)),
        "Left out": lay_out_paragraphs(results["notes"]),
        "Results by group": lay_out_panels(by_group)
        + tables.render_html(tables.build_details_table(results), places)
        + lay_out_note(DETAILS + (POOLED if any(each["pooled"] for each in results["methods"].values()) else "")),
        "Under other conditions": lay_out_conditions(results, figures, family),
        "Learning curves": lay_out_curves(curves, study),
        "How each run was made": lay_out_runs(study),
    }
    title = write_title(results)
    page = folder / "report.html"
    verdict = "\n\n".join(results["verdict"])
    write_page(page, title, verdict, {name: html for name, html in sections.items() if html})
    return page


def write_title(results: Mapping[str, Any]) -> str:
    """Say how many methods are compared, and on what."""
    count = len(results["methods"])
    return f"{count} method{'' if count == 1 else 's'} on {results['task']}"


def explain_table(results: Mapping[str, Any]) -> str:
    """Explain the main table: its intervals, and what each measure means."""
    measures = read_measures(results["measures"])
    meanings = [measure.meaning for measure in measures.values() if measure.meaning]
    sets = [name for name, measure in measures.items() if measure.kind == "set"]
    of_sets = (
        [f"For {', '.join(sets)}, one number for the whole set, they are Student's over seeds alone."] if sets else []
    )
    simulated = [SIMULATED] if any(measure.kind == "share" for measure in measures.values()) else []
    marked = [MARKED] if list_marks(results) else []
    corrected = [CORRECTED] if count_corrected(results) > 1 else []
    return " ".join([INTERVALS, *simulated, *of_sets, JUDGED, *corrected, *marked, *meanings])


def describe_picture(results: Mapping[str, Any], name: str) -> str:
    """Say what a picture shows, by its file name."""
    first = next(iter(results["measures"]))
    if name == CURVES:
        return "Learning curves"
    if name.startswith(BY):
        return f"{first} by {name.removeprefix(BY)}"
    return f"{first} by group" if name == first else f"{first} under other conditions"


def lay_out_panels(svg_html: str) -> str:
    """Lay out plots that scroll sideways in a narrow window; empty without any."""
    return f'<div class="panels">{svg_html}</div>' if svg_html else ""


def gather_curves(runs: Sequence[Run]) -> dict[str, list[Curve]]:
    """Tag -> the curves of the seeds that logged it."""
    tags = dict.fromkeys(tag for run in runs for tag in run.curves)
    return {tag: [run.curves[tag] for run in runs if tag in run.curves] for tag in tags}


def draw_figures(
    results: Mapping[str, Any], curves: Mapping[str, Mapping[int, Sequence[Curve]]], words: Words
) -> dict[str, Figure]:
    """File name -> picture: the first measure by group and by condition, and learning curves."""
    measures, methods = read_measures(results["measures"]), results["methods"]
    first, measure = next(iter(measures.items()))
    colors = {name: choose_color(place) for place, name in enumerate(methods)}
    by_group = {
        group: {
            name: Bar(method[first][group], colors[name], [s[group] for s in method["by_seed"].values() if group in s])
            for name, method in methods.items()
            if group in method[first]
        }
        for group in tables.list_columns(results)
    }
    by_condition = {}
    for name, method in methods.items():
        conditions = method.get(results["conditions_in"]) or {}
        if scored := {key: number for key, number in conditions.items() if number["n"]}:
            ordered = {key: scored[key] for key in order_names(words.CONDITIONS, [scored])}
            numbers = {OWN: method[first]["all"]} | ordered
            by_condition[name] = {key: Bar(number, colors[name]) for key, number in numbers.items()}
    figures = {first: draw_panels(by_group, measure)}
    counted, numbers = number_groups(by_group)
    if counted:
        bars = {number: by_group[group] for group, number in numbers.items()}
        figures[BY + counted] = draw_levels(counted, bars, first, measure)
    if by_condition:
        figures[results["conditions_in"]] = draw_panels(by_condition, measure)
    if main := {tag: curves[tag] for tag in (f"val/{first}", "val/loss") if tag in curves}:
        figures[CURVES] = draw_bands(main, measures, list(methods))
    return figures


def write_markdown(results: Mapping[str, Any], pictures: Iterable[str], words: Words) -> str:
    """Write verdict, tables and pictures as Markdown; pictures lie beside the file."""
    origin = results["made"]
    parts = [
        f"# {write_title(results)}",
        *results["verdict"],
        tables.render_markdown(tables.build_main_table(results)),
        explain_table(results),
    ]
    if (differences := tables.build_differences_table(results)).rows:
        parts += [f"Difference from {results['baseline']} on the same rows:", tables.render_markdown(differences)]
    for name, table in build_condition_tables(results, words).items():
        parts += [f"Under other conditions: {name}, and the difference from the same runs as they are:"]
        parts += [tables.render_markdown(table)]
    parts += [f"![{describe_picture(results, name)}]({name}.png)" for name in pictures]
    parts += [f"Left out: {text}" for text in results["notes"]]
    parts += [f"Made by `{origin['command']}` at git revision {origin['git'] or 'unknown'}."]
    return "\n\n".join(parts) + "\n"


def build_condition_tables(results: Mapping[str, Any], words: Words) -> dict[str, tables.Table]:
    """Measure -> its table of conditions, the first measure's first; those that were scored under none are left out."""
    first, *others = results["measures"]
    built = {first: tables.build_conditions_table(results, words)}
    built |= {name: tables.build_measure_table(results, words, name) for name in others}
    return {name: table for name, table in built.items() if table.rows}


def lay_out_conditions(results: Mapping[str, Any], figures: Mapping[str, Figure], words: Words) -> str:
    """Lay out tables and bars of conditions, and numbers about the model; empty if no method has any."""
    parts = []
    places = {name: place for place, name in enumerate(results["methods"])}
    built = build_condition_tables(results, words)
    if (name := results["conditions_in"]) in figures:
        parts = [tables.render_html(built.pop(next(iter(built))), places), lay_out_note(CHANGED)]
        parts += [lay_out_panels(render_svg(figures[name], describe_picture(results, name)))]
    for measure, table in built.items():
        parts.append(fold_away(f"{measure} under other conditions", tables.render_html(table, places)))
    numbers = tables.build_numbers_table(results, words)
    return "".join(parts) + (tables.render_html(numbers, places) if numbers.rows else "")


def lay_out_curves(curves: Mapping[str, Mapping[int, Sequence[Curve]]], study: Study) -> str:
    """Lay out learning curves with a legend; empty without any. Other scalars are folded away."""
    if not curves:
        return ""
    measures = study.methods[0].measures
    plots = {
        tag: render_svg(draw_bands({tag: methods}, measures), f"{tag} over training steps")
        for tag, methods in curves.items()
    }
    main, rest = (
        "".join(plot for tag, plot in plots.items() if is_of_learning(tag) == wanted) for wanted in (True, False)
    )
    colours = lay_out_legend(label_run(place, method.name) for place, method in enumerate(study.methods))
    reading = (
        "Lines are means over seeds; bands reach from the lowest seed to the highest. Steps continue from those of "
    )
    reading += "the run that weights were taken from, whose curve stands before it if it is scored alike."
    folded_html = fold_away("other numbers that were logged", f'<div class="curves">{rest}</div>' if rest else "")
    return f'{colours}<div class="curves">{main}</div>{lay_out_note(reading)}{folded_html}'


def lay_out_runs(study: Study) -> str:
    """Lay out one row per run, ancestors included: how it was trained and evaluated."""
    evaluated = [run for method in study.methods for run in method.runs]
    runs = {run.folder: run for child in evaluated for run in (*child.ancestors, child)}
    heads = ["training", "git revision", "seconds", "devices", "steps", "evaluation", "test file", "rows", "seen"]
    rows = []
    for run in runs.values():
        evaluation = run.result.metrics if run.result else {}
        test = evaluation.get("test") or {}
        changed = f"{run.environment.get('uncommitted_files')} uncommitted files"
        cells = [
            lay_out_fact(run.environment.get("command")),
            lay_out_fact(run.environment.get("git"), changed if run.environment.get("uncommitted_files") else ""),
            *(lay_out_fact(run.metrics.get(key)) for key in ("seconds", "devices", "step")),
            lay_out_fact(evaluation.get("command")),
            lay_out_fact(test.get("digest"), test.get("file")),
            lay_out_fact(test.get("rows")),
            lay_out_fact(test.get("seen"), test.get("train_file")),
        ]
        rows.append((f"{escape(run.method)} <small>seed {run.seed}, {escape(str(run.folder))}</small>", cells))
    reading = "Seen: how many test rows are in the training file named below; a dash where that wasn't checked."
    return lay_out_table(heads, rows) + lay_out_note(reading)


def lay_out_fact(value: Any, detail: Any = "") -> str:
    """Lay out a fact about a run, with its detail; a dash if it is unknown."""
    return "–" if value is None else f"<code>{escape(str(value))}</code> <small>{escape(str(detail or ''))}</small>"
