"""One HTML file that says how well a run answers, against other runs: numbers, plots, pictures, and how it was made.

It is made of evaluation folders, ``<run>/evaluation/<task>/``, which hold

- ``metrics.json``: name, ckpt, command, task, ``success``, ``invalid`` and ``optimal`` by group and for ``all``,
  each ``{"mean", "low", "high", "n"}``, outcomes, seconds, steps, and ``interventions``, ``latents`` where made;
- ``predictions.jsonl``: a row a test sample: where, group, outcome, success, optimal, text, truth, latents;
- ``gallery/<row>.png`` and ``gallery/<row>_truth.png``: the answer and the true answer, drawn on the question. Rows
  count from 0.

The run folder's ``config.yaml``, ``environment.json`` and ``tensorboard/`` are used where they exist.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from yaml import YAMLError

from mirage_pl.engine.evaluation import intervene
from mirage_pl.engine.evaluation.results import Evaluation, parse, read_evaluation
from mirage_pl.engine.evaluation.statistics import judge, paired_difference, percent, points
from mirage_pl.engine.reports.latents import section, sights
from mirage_pl.engine.reports.plots import (
    cell,
    draw_all_curves,
    draw_bars,
    label,
    picture,
    read_curves,
    table,
    write_page,
)
from mirage_pl.engine.runs.folder import CONFIG
from mirage_pl.engine.runs.identity import flatten

SETTINGS = {"model": "model.name", "task": "task.name", "stage": "stage.name", "compression": "compression._target_"}
SETTINGS |= {"latent_size": "latent_size", "seed": "seed", "max_steps": "trainer.max_steps"}


def write_report(file: Path, evaluations: Sequence[Path]) -> None:
    """Write the report; pictures and style are inside the file.

    Args:
        file: the HTML file to write.
        evaluations: evaluation folders: the run of interest, then those it is compared with.

    Raises:
        ValueError: no folder, or one that is incomplete or broken; names the file, the line and the command to run.
    """
    if not evaluations:
        raise ValueError("no evaluation to report; run python -m mirage_pl.evaluate ckpt=RUN and give its folder")
    runs = [read_evaluation(folder.absolute(), place) for place, folder in enumerate(evaluations)]
    shared = Counter(run.name for run in runs)
    runs = [replace(run, name=f"{run.name} ({run.folder})") if shared[run.name] > 1 else run for run in runs]
    sections = {
        "Success by group": success(runs),
        "Do the latents matter?": section([(coloured(run), run.metrics) for run in runs]),
        "What the latents see": sights([(coloured(run), run.folder) for run in runs]),
        "Learning curves": curves(runs),
        "Outcomes": outcomes(runs),
        "Answers": gallery(runs),
        "How each run was made": "".join(map(made, runs)),
    }
    title = f"{runs[0].name} on {runs[0].metrics.get('task', runs[0].folder.name)}"
    write_page(file, title, verdict(runs), {heading: html for heading, html in sections.items() if html})


def coloured(run: Evaluation) -> str:
    """A run's name in its colour, as HTML."""
    return label(run.place, run.name)


def difference(first: Evaluation, other: Evaluation) -> dict[str, float] | None:
    """By how much ``first`` is better, or ``None`` if the two answered different samples."""
    if first.samples != other.samples:
        return None
    return paired_difference([row["success"] for row in other.rows], [row["success"] for row in first.rows])


def verdict(runs: Sequence[Evaluation]) -> str:
    """Say in one sentence how good the first run is, and whether it differs from each of the others."""
    first, *others = runs
    leads = [
        f"{' '.join(points(lead))} against {other.name} ({judge(lead)})"
        for other in others
        if (lead := difference(first, other))
    ]
    total = first.metrics["success"]["all"]
    sentence = f"{first.name} answers {' '.join(percent(total))} of {total['n']} held-out samples"
    sentence = f"{sentence}; that is {', and '.join(leads)}." if leads else f"{sentence}."
    return " ".join(filter(None, [sentence, intervene.verdict(first.metrics.get("interventions") or {})]))


def success(runs: Sequence[Evaluation]) -> str:
    """Table and bars of the shares, and which runs can't be compared sample by sample."""
    first, *others = runs
    groups = [*dict.fromkeys(group for run in runs for group in run.metrics["success"] if group != "all"), "all"]
    rows = []
    for share, group in [("success", group) for group in groups] + [("invalid", "all"), ("optimal", "all")]:
        found = [run.metrics[share].get(group) for run in runs]
        counts = " / ".join(dict.fromkeys(str(value["n"]) for value in found if value))
        name = cell(group if share == "success" else f"{share}, {group}", f"n = {counts}")
        rows.append((name, [cell(*percent(value)) if value else "–" for value in found]))
    leads = [difference(first, other) for other in others]
    if any(leads):
        cells = [cell(points(lead)[0], f"{points(lead)[1]}, {judge(lead)}") if lead else "not paired" for lead in leads]
        rows.append((f"lead of {coloured(first)}", ["–", *cells]))
    unpaired = [unlike(first, other) for other, lead in zip(others, leads, strict=True) if lead is None]
    return (
        table([coloured(run) for run in runs], rows)
        + "".join(f"<p>{escape(sentence)}</p>" for sentence in unpaired)
        + '<p class="note">Brackets are 95 % intervals over test samples (Wilson; for a lead, Newcombe\'s paired score '
        "interval, with the exact McNemar test): they say nothing about other training seeds. Invalid: no answer could "
        "be read. Optimal: right, and as short as possible.</p>"
        f'<div class="bars">{legend(runs)}{draw_bars(groups, [run.metrics["success"] for run in runs])}</div>'
    )


def unlike(first: Evaluation, other: Evaluation) -> str:
    """Say why two runs can't be paired."""
    ours, theirs = (", ".join({row["where"].rpartition(":")[0]: 0 for row in run.rows}) for run in (first, other))
    asked = f"{theirs} instead of {ours}" if ours != theirs else f"other rows, or another version, of {ours}"
    return (
        f"{other.name} is not compared with {first.name} sample by sample: it answered {asked}, "
        "and only answers to the same test file can be paired."
    )


def legend(runs: Sequence[Evaluation]) -> str:
    """Which colour is which run."""
    return f'<p class="legend note">{" ".join(coloured(run) for run in runs)}</p>'


def curves(runs: Sequence[Evaluation]) -> str:
    """Draw the runs' scalars over training."""
    scalars = {run.place: read_curves(run.run / "tensorboard") for run in runs}
    plots = "".join(draw_all_curves(scalars))
    shown = f'{legend([run for run in runs if scalars[run.place]])}<div class="curves">{plots}</div>' if plots else ""
    sentence = "has no TensorBoard events in {}/tensorboard, so its curves are left out."
    without = [f"{run.name} {sentence.format(run.run)}" for run in runs if not scalars[run.place]]
    return shown + "".join(f"<p>{escape(text)}</p>" for text in without)


def outcomes(runs: Sequence[Evaluation]) -> str:
    """Count how answers ended, successes first."""
    counts = [Counter(row["outcome"] for row in run.rows) for run in runs]
    total = sum(counts, Counter[str]())
    rows = []
    for word in sorted(total, key=lambda word: (word != "success", -total[word], word)):
        shares = [count[word] / count.total() for count in counts]
        bars = [f'{share:.1%}<span class="bar"><i style="width:{share:.1%}"></i></span>' for share in shares]
        cells = [f"<b>{count[word]}</b> <small>{bar}</small>" for count, bar in zip(counts, bars, strict=True)]
        rows.append((escape(word), cells))
    return table([coloured(run) for run in runs], rows)


def gallery(runs: Sequence[Evaluation]) -> str:
    """Show some questions with the true answer and each run's; only of runs that answered the same test file."""
    same = [run for run in runs if run.samples == runs[0].samples]
    numbers = {int(file.stem) for run in same for file in run.folder.glob("gallery/*.png") if file.stem.isdigit()}
    articles = []
    for number in sorted(numbers):
        if number >= len(runs[0].rows):
            raise ValueError(f"{runs[0].folder}/gallery/{number}.png has no row; delete gallery/, {runs[0].remedy}")
        row = runs[0].rows[number]
        truths = [run.folder / "gallery" / f"{number}_truth.png" for run in same]
        truth = picture(next((file for file in truths if file.is_file()), truths[0]), "the true answer")
        figures = [f"<figure>{truth}<figcaption>true answer<code>{escape(row['truth'])}</code></figcaption></figure>"]
        figures += [answer(run, number) for run in same]
        heading = f"{escape(row['group'])} <small>{escape(row['where'])}</small>"
        articles.append(f'<article><h3>{heading}</h3><div class="answers">{"".join(figures)}</div></article>')
    if articles:
        return f'<div class="gallery">{"".join(articles)}</div>'
    return "<p>The evaluations hold no gallery, so pictures of answers are left out.</p>"


def answer(run: Evaluation, number: int) -> str:
    """One run's answer to one question: picture, verdict, text."""
    row = run.rows[number]
    latents = f"{row['latents']} latents" if row.get("latents") else ""
    return (
        f"<figure>{picture(run.folder / 'gallery' / f'{number}.png', f'answer of {run.name}')}<figcaption>"
        f'{coloured(run)}<span class="{"good" if row["success"] else "bad"}">{"✓" if row["success"] else "✗"} '
        f"{escape(row['outcome'])}"
        f"</span><code>{escape(row['text'])}</code>{escape(latents)}</figcaption></figure>"
    )


def made(run: Evaluation) -> str:
    """List commands, checkpoint, versions and settings of a run."""
    facts = {"evaluation": run.metrics.get("command"), "checkpoint": run.metrics.get("ckpt")}
    missing = [name for name in ("environment.json", CONFIG) if not (run.run / name).is_file()]
    if "environment.json" not in missing:
        file = run.run / "environment.json"
        saved = parse(file.read_bytes(), str(file), {}, "train that run again, or delete this file")
        facts |= {"training": saved.get("command"), "started": saved.get("started")}
        changed = f" with {saved['uncommitted_files']} uncommitted files" if saved.get("uncommitted_files") else ""
        facts["git revision"] = f"{saved.get('git') or 'unknown'}{changed}"
        packages = {"python": saved.get("python")} | (saved.get("packages") or {})
        facts["packages"] = ", ".join(f"{name} {version}" for name, version in packages.items() if version)
    if CONFIG not in missing:
        try:
            leaves = flatten(OmegaConf.to_container(OmegaConf.load(run.run / CONFIG)), "")
        except YAMLError as error:
            raise ValueError(f"{run.run / CONFIG}: no YAML ({error}); restore it, or delete it") from None
        facts |= {name: leaves.get(f".{key}") for name, key in SETTINGS.items()}
    facts |= {"steps trained": run.metrics.get("steps"), "test set": tested(run.metrics.get("test") or {})}
    if run.metrics.get("seconds") is not None:
        facts["evaluation took"] = f"{float(run.metrics['seconds']):.1f} s"
    listed = "".join(
        f"<dt>{escape(name)}</dt><dd><code>{escape(str(value))}</code></dd>"
        for name, value in facts.items()
        if value is not None
    )
    absent = "".join(f"<p>{escape(str(run.run))} has no {name}, so what it says is left out.</p>" for name in missing)
    return f"<h3>{coloured(run)}</h3><dl>{listed}</dl>{absent}"


def tested(test: Mapping[str, Any]) -> str | None:
    """Say which questions were asked, and whether any of them are in the training file."""
    if not test:
        return None
    seen = "not known how many" if test.get("seen") is None else test["seen"]
    asked = f"{test.get('file')}: {test.get('rows')} questions, digest {test.get('digest')}"
    return f"{asked}; {seen} of them are in {test.get('train_file')}"
