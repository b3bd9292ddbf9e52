"""The report of a study: a page, Markdown with pictures, and the numbers as JSON, all from the same findings."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from mirage_pl.engine.evaluation.measures import read_measures
from mirage_pl.engine.reports import tables
from mirage_pl.engine.reports.lineage import Run
from mirage_pl.engine.reports.page import color, folded, label, legend, note, paragraphs, table, write, write_page
from mirage_pl.engine.reports.panels import Bar, draw_bands, draw_panels, png
from mirage_pl.engine.reports.plots import learnt, sort_curves, svg
from mirage_pl.engine.reports.study import Study
from mirage_pl.engine.runs.curves import Curve
from mirage_pl.engine.runs.folder import write_json
from mirage_pl.engine.seams import Words
from mirage_pl.engine.words import load_words

OWN = "its own"
CURVES = "curves"
INTERVALS = (
    "Brackets are 95 % intervals of a bootstrap that draws test rows and training seeds; of a single seed, rows alone."
)
SIMULATED = (
    "In simulations with shares, 3 seeds and 400 rows they held the truth 99 times in 100 where seeds hardly differ, "
    "and 87 times where they differ by 7 points."
)
JUDGED = (
    "Better or worse: the interval of the difference, paired by row, excludes 0. Cost and steps count the runs whose "
    "weights a run took."
)
DETAILS = "Difference to the baseline. Seeds: each alone."
POOLED = (
    " Pooled: Wilson's interval of all seeds' answers, which treats them as independent; those to one question are not."
)
CHANGED = (
    "The test set scored again under other conditions; small, the difference to the same runs as they are. Then the "
    "model in numbers: mean over seeds, lowest and highest."
)


def write_study(folder: Path, study: Study, results: Mapping[str, Any], words: str | None = None) -> Path:
    """Write ``report.html``, ``results.json``, ``results.md`` and the pictures it shows.

    Args:
        folder: where to; made if it isn't there.
        study: the runs.
        results: what :func:`mirage_pl.engine.reports.findings.find` says of them, and how the report was ``made``.
        words: dotted path of the family's words that the command itself names, if it does.

    Returns:
        The page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    family = load_words(results["words"], words)
    places = {name: place for place, name in enumerate(results["methods"])}
    curves = sort_curves(
        {place: gather_curves(method.runs) for place, method in enumerate(study.methods)}, study.methods[0].measures
    )
    figures = draw_figures(results, curves)
    for name, figure in figures.items():
        write(folder / f"{name}.png", png(figure))
    write_json(folder / "results.json", results)
    write(folder / "results.md", write_markdown(results, list(figures), family).encode())
    first = study.methods[0].first
    by_group = svg(figures[first], describe_picture(results, first)) if first in figures else ""
    sections = {
        "Results": tables.html(tables.main_table(results), places) + note(explain(results)),
        "Left out": paragraphs(results["notes"]),
        "Results by group": panels(by_group)
        + tables.html(tables.details_table(results), places)
        + note(DETAILS + (POOLED if any(each["pooled"] for each in results["methods"].values()) else "")),
        "Under other conditions": lay_out_conditions(results, figures, family),
        "Learning curves": lay_out_curves(curves, study),
        "How each run was made": lay_out_runs(study),
    }
    title = f"{len(places)} methods on {results['task']}"
    page = folder / "report.html"
    verdict = "\n\n".join(results["verdict"])
    write_page(page, title, verdict, {name: html for name, html in sections.items() if html})
    return page


def explain(results: Mapping[str, Any]) -> str:
    """How to read the main table: intervals, and what each measure means."""
    measures = read_measures(results["measures"])
    meanings = [measure.meaning for measure in measures.values() if measure.meaning]
    sets = [name for name, measure in measures.items() if measure.kind == "set"]
    of_sets = (
        [f"Of {', '.join(sets)}, one number for the whole set, they are Student's over seeds alone."] if sets else []
    )
    simulated = [SIMULATED] if any(measure.kind == "share" for measure in measures.values()) else []
    return " ".join([INTERVALS, *simulated, *of_sets, JUDGED, *meanings])


def describe_picture(results: Mapping[str, Any], name: str) -> str:
    """What a picture shows, by its file name."""
    first = next(iter(results["measures"]))
    if name == CURVES:
        return "Learning curves"
    return f"{first} by group" if name == first else f"{first} under other conditions"


def panels(svg_html: str) -> str:
    """A row of plots that a narrow window scrolls; empty without one."""
    return f'<div class="panels">{svg_html}</div>' if svg_html else ""


def gather_curves(runs: Sequence[Run]) -> dict[str, list[Curve]]:
    """By tag, the curves of those seeds that logged it."""
    tags = dict.fromkeys(tag for run in runs for tag in run.curves)
    return {tag: [run.curves[tag] for run in runs if tag in run.curves] for tag in tags}


def draw_figures(results: Mapping[str, Any], curves: Mapping[str, Mapping[int, Sequence[Curve]]]) -> dict[str, Figure]:
    """Draw the pictures, by file name: the first measure by group and by condition, and its learning curve."""
    measures, methods = read_measures(results["measures"]), results["methods"]
    first, measure = next(iter(measures.items()))
    colors = {name: color(place) for place, name in enumerate(methods)}
    by_group = {
        group: {
            name: Bar(method[first][group], colors[name], [s[group] for s in method["by_seed"].values() if group in s])
            for name, method in methods.items()
            if group in method[first]
        }
        for group in tables.groups_of(results)
    }
    by_condition = {}
    for name, method in methods.items():
        if conditions := method.get(results["conditions_in"]):
            numbers = {OWN: method[first]["all"], **conditions}
            by_condition[name] = {key: Bar(number, colors[name]) for key, number in numbers.items()}
    figures = {first: draw_panels(by_group, measure)} if by_group else {}
    if by_condition:
        figures[results["conditions_in"]] = draw_panels(by_condition, measure)
    if drawn := {tag: curves[tag] for tag in (f"val/{first}", "val/loss") if tag in curves}:
        figures[CURVES] = draw_bands(drawn, measures, list(methods))
    return figures


def write_markdown(results: Mapping[str, Any], pictures: Iterable[str], words: Words) -> str:
    """Write verdict, tables and pictures as Markdown; pictures lie beside the file."""
    methods, made = results["methods"], results["made"]
    parts = [
        f"# {len(methods)} methods on {results['task']}",
        *results["verdict"],
        tables.markdown(tables.main_table(results)),
        explain(results),
    ]
    conditions = tables.conditions_table(results, words)
    if conditions.rows:
        first = next(iter(results["measures"]))
        parts += [f"Under other conditions: {first}, and the difference to the same runs as they are:"]
        parts += [tables.markdown(conditions)]
    parts += [f"![{describe_picture(results, name)}]({name}.png)" for name in pictures]
    parts += [f"Left out: {text}" for text in results["notes"]]
    parts += [f"Made by `{made['command']}` at git revision {made['git'] or 'unknown'}."]
    return "\n\n".join(parts) + "\n"


def lay_out_conditions(results: Mapping[str, Any], figures: Mapping[str, Figure], words: Words) -> str:
    """Tables and bars of conditions, and the model in numbers; empty if no method has any."""
    parts = []
    places = {name: place for place, name in enumerate(results["methods"])}
    if (name := results["conditions_in"]) in figures:
        parts = [tables.html(tables.conditions_table(results, words), places), note(CHANGED)]
        parts += [panels(svg(figures[name], describe_picture(results, name)))]
    numbers = tables.numbers_table(results, words)
    return "".join(parts) + (tables.html(numbers, places) if numbers.rows else "")


def lay_out_curves(curves: Mapping[str, Mapping[int, Sequence[Curve]]], study: Study) -> str:
    """Learning curves, with a legend; empty without any. What is of the machine is folded away."""
    if not curves:
        return ""
    measures = study.methods[0].measures
    plots = {
        tag: svg(draw_bands({tag: methods}, measures), f"{tag} over training steps") for tag, methods in curves.items()
    }
    main, rest = ("".join(plot for tag, plot in plots.items() if learnt(tag) == wanted) for wanted in (True, False))
    colours = legend(label(place, method.name) for place, method in enumerate(study.methods))
    reading = "Lines are means over seeds, bands reach from the lowest to the highest. Steps go on from those of the "
    reading += "run whose weights were taken."
    folded_html = folded("other numbers that were logged", f'<div class="curves">{rest}</div>' if rest else "")
    return f'{colours}<div class="curves">{main}</div>{note(reading)}{folded_html}'


def lay_out_runs(study: Study) -> str:
    """A row a run, ancestors included: how it was trained and evaluated."""
    evaluated = [run for method in study.methods for run in method.runs]
    runs = {run.folder: run for child in evaluated for run in (*child.ancestors, child)}
    heads = ["training", "git revision", "seconds", "devices", "steps", "evaluation", "test file", "rows", "seen"]
    rows = []
    for run in runs.values():
        scored = run.result.metrics if run.result else {}
        test = scored.get("test") or {}
        changed = f"{run.environment.get('uncommitted_files')} uncommitted files"
        cells = [
            fact(run.environment.get("command")),
            fact(run.environment.get("git"), changed if run.environment.get("uncommitted_files") else ""),
            *(fact(run.metrics.get(key)) for key in ("seconds", "devices", "step")),
            fact(scored.get("command")),
            fact(test.get("digest"), test.get("file")),
            fact(test.get("rows")),
            fact(test.get("seen"), test.get("train_file")),
        ]
        rows.append((f"{escape(run.method)} <small>seed {run.seed}, {escape(str(run.folder))}</small>", cells))
    reading = "Seen: how many test rows are in the training file below; a dash where that was not checked."
    return table(heads, rows) + note(reading)


def fact(value: Any, detail: Any = "") -> str:
    """Something a run says of itself, as HTML."""
    return "–" if value is None else f"<code>{escape(str(value))}</code> <small>{escape(str(detail or ''))}</small>"
