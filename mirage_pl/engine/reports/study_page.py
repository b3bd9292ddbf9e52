"""The report of a study: a page, Markdown with pictures, and the numbers as JSON, all from the same findings."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from mirage_pl.engine.reports import tables
from mirage_pl.engine.reports.findings import Found
from mirage_pl.engine.reports.lineage import Run
from mirage_pl.engine.reports.panels import Bar, draw_bands, draw_panels, png
from mirage_pl.engine.reports.plots import Curve, color, comparable, label, svg, table, write, write_page
from mirage_pl.engine.reports.study import Study
from mirage_pl.engine.runs.folder import write_json

CURVES = ("val/success", "val/loss")
"""What the picture of learning curves shows; the page has all."""
PICTURES = {"success": "Success by group", "interventions": "Success with other latents", "curves": "Learning curves"}
INTERVALS = (
    "Brackets are 95 % intervals of a bootstrap that draws questions and training seeds; of a single seed, questions "
    "alone. In simulations with 3 seeds and 400 questions they held the truth 99 times in 100 where seeds hardly "
    "differ, and 87 times where they differ by 7 points."
)
MEASURES = (
    "Better or worse: the interval of the difference, paired by question, excludes 0. Optimal: right, and as short as "
    "possible. Invalid: no answer could be read. Cost and steps count the runs whose weights a run took."
)
DETAILS = (
    "Difference to the baseline. Seeds: success of each alone. Pooled: Wilson's interval of all seeds' answers, which "
    "treats them as independent; those to one question are not."
)
TAMPERING = (
    "The test set answered again with other vectors in place of the latents; small, the difference to the same runs "
    "with their own. Then the latents as vectors: mean over seeds, lowest and highest."
)


def write_study(folder: Path, study: Study, found: Mapping[str, Any]) -> Path:
    """Write ``report.html``, ``results.json``, ``results.md`` and the pictures it shows.

    Args:
        folder: where to; made if it isn't there.
        study: the runs.
        found: what :func:`mirage_pl.engine.reports.findings.find` says of them, and how the report was ``made``.

    Returns:
        The page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    places = {name: place for place, name in enumerate(found["methods"])}
    curves = comparable({place: gather(method.runs) for place, method in enumerate(study.methods)})
    figures = draw(found["methods"], curves)
    for name, figure in figures.items():
        write(folder / f"{name}.png", png(figure))
    write_json(folder / "results.json", found)
    write(folder / "results.md", markdown(found, figures).encode())
    sections = {
        "Success": tables.html(tables.main_table(found), places) + note(f"{INTERVALS} {MEASURES}"),
        "Left out": "".join(f"<p>{escape(text)}</p>" for text in found["notes"]),
        "Success by group": svg(figures["success"], PICTURES["success"])
        + tables.html(tables.details_table(found["methods"]), places)
        + note(DETAILS),
        "Do the latents matter?": latents(found["methods"], figures),
        "Learning curves": show(curves, list(places)),
        "How each run was made": made(study),
    }
    title = f"{len(places)} methods on {found['task']}"
    page = folder / "report.html"
    write_page(page, title, "\n\n".join(found["verdict"]), {name: html for name, html in sections.items() if html})
    return page


def gather(runs: Sequence[Run]) -> dict[str, list[Curve]]:
    """By TensorBoard tag, the curves of those seeds that logged it."""
    tags = dict.fromkeys(tag for run in runs for tag in run.curves)
    return {tag: [run.curves[tag] for run in runs if tag in run.curves] for tag in tags}


def draw(methods: Mapping[str, Found], curves: Mapping[str, Mapping[int, Sequence[Curve]]]) -> dict[str, Figure]:
    """Draw the pictures, by file name: those for which there is something to draw."""
    places = {name: place for place, name in enumerate(methods)}
    groups = next(iter(methods.values()))["success"]
    by_group = {
        group: {
            name: Bar(method["success"][group], color(places[name]), [s[group] for s in method["by_seed"].values()])
            for name, method in methods.items()
        }
        for group in sorted(groups, key=lambda group: group != "all")
    }
    by_intervention = {
        name: {
            key: Bar(share, color(places[name]))
            for key, share in {"its own": method["success"]["all"], **method["interventions"]}.items()
        }
        for name, method in methods.items()
        if method["interventions"]
    }
    figures = {"success": draw_panels(by_group)}
    if by_intervention:
        figures["interventions"] = draw_panels(by_intervention)
    if shown := {tag: curves[tag] for tag in CURVES if tag in curves}:
        figures["curves"] = draw_bands(shown, list(methods))
    return figures


def markdown(found: Mapping[str, Any], pictures: Iterable[str]) -> str:
    """Write verdict, tables and pictures as Markdown; pictures lie beside the file."""
    methods, made = found["methods"], found["made"]
    parts = [
        f"# {len(methods)} methods on {found['task']}",
        *found["verdict"],
        tables.markdown(tables.main_table(found)),
    ]
    parts += [f"{INTERVALS} {MEASURES}"]
    if any(method["interventions"] for method in methods.values()):
        parts += [
            "Success with other vectors in place of the latents, and the difference to the same runs with theirs:"
        ]
        parts += [tables.markdown(tables.interventions_table(methods))]
    parts += [f"![{PICTURES[name]}]({name}.png)" for name in pictures]
    parts += [f"Left out: {text}" for text in found["notes"]]
    parts += [f"Made by `{made['command']}` at git revision {made['git'] or 'unknown'}."]
    return "\n\n".join(parts) + "\n"


def note(text: str) -> str:
    """How to read what stands above."""
    return f'<p class="note">{escape(text)}</p>'


def latents(methods: Mapping[str, Found], figures: Mapping[str, Figure]) -> str:
    """Tables and bars of interventions, and the latents as vectors; empty if no method has any."""
    parts = []
    places = {name: place for place, name in enumerate(methods)}
    if "interventions" in figures:
        parts = [tables.html(tables.interventions_table(methods), places), note(TAMPERING)]
        parts += [svg(figures["interventions"], PICTURES["interventions"])]
    geometry = tables.latents_table(methods)
    return "".join(parts) + (tables.html(geometry, places) if geometry.rows else "")


def show(curves: Mapping[str, Mapping[int, Sequence[Curve]]], names: Sequence[str]) -> str:
    """Learning curves, with a legend; empty without any."""
    if not curves:
        return ""
    legend = " ".join(label(place, name) for place, name in enumerate(names))
    plots = "".join(svg(draw_bands({tag: methods}), f"{tag} over training steps") for tag, methods in curves.items())
    reading = "Lines are means over seeds, bands reach from the lowest to the highest. Steps go on from those of the "
    reading += "run whose weights were taken."
    return f'<p class="legend note">{legend}</p><div class="curves">{plots}</div>{note(reading)}'


def made(study: Study) -> str:
    """A row a run, ancestors included: how it was trained and evaluated."""
    evaluated = [run for method in study.methods for run in method.runs]
    runs = {run.folder: run for child in evaluated for run in (*child.ancestors, child)}
    heads = ["training", "git revision", "seconds", "devices", "steps", "evaluation", "test file", "rows", "seen"]
    rows = []
    for run in runs.values():
        scored = run.evaluation.metrics if run.evaluation else {}
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
    reading = "Seen: how many test questions are in the training file below; a dash where that was not checked."
    return table(heads, rows) + note(reading)


def fact(value: Any, detail: Any = "") -> str:
    """Something a run says of itself, as HTML."""
    return "–" if value is None else f"<code>{escape(str(value))}</code> <small>{escape(str(detail or ''))}</small>"
