"""The report's sections on latents: answers with other ones, what they look like as vectors, and what they see."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from mirage_pl.engine.evaluation.intervene import verdict
from mirage_pl.engine.evaluation.statistics import judge, percent, points
from mirage_pl.engine.reports.plots import cell, draw_bars, picture, table

MEANINGS = {
    "identity": "the model's own, fed back: must equal the answers above",
    "zero": "zeros",
    "noise": "Gaussian noise, one mean and variance for all numbers",
    "matched_noise": "Gaussian noise with the latents' mean and covariance",
    "first_repeated": "the sample's first latent, repeated",
    "shuffled": "those of another sample",
    "oracle": "compressed features of the true helper image",
    "matched_oracle": "the same, moved and scaled to the mean and spread of the model's own",
    "none": "an empty block",
}
NUMBERS = {
    "cosine_within": "mean cosine of two latents of a sample",
    "cosine_across": "mean cosine of the latents in one place of two samples",
    "effective_rank": "effective rank of all latents",
    "norm": "mean norm of latents",
    "norm_of_embeddings": "mean norm of token embeddings",
    "norm_of_targets": "mean norm of compressed helper features",
}
SIGHTS = {
    "row": (
        "On the images",
        "One sample a picture. Red: how the latent's column shares its attention among the patches of the input image, "
        "mean over layers and heads; below each, the share that goes to images in all, the rest going to text and to "
        "other latents, and the largest share of one patch. Blue: cosine of the latent to each patch of its helper "
        "image, the three nearest outlined and given below, the nearest boldest. For these cosines the mean latent in "
        "that place and the mean helper feature are taken off first, since all are nearly parallel otherwise: raw is "
        "the cosine of the nearest without that. A colour has one scale in a picture. A latent that looks where the "
        "answer lies has dark cells there, and other ones in other samples.",
    ),
    "plane": (
        "Among words and images",
        "Vectors of length 1 on the two axes along which they vary most (principal components). Latents that lie on "
        "one spot say the same whatever the question; helper images are what stage 1 draws them to, less the latents' "
        "own mean and length.",
    ),
    "geometry": (
        "As vectors",
        "Cosines at 1 mean latents that are all alike, within a sample or whatever the sample. Singular values that "
        "fall steeply mean few directions in use. Latents much longer or shorter than token embeddings are unlike any "
        "input that the backbone was made for. In the square each row is a sample's latents, each column a sample's "
        "helper image, both less their means: latents that carry their image show a red diagonal.",
    ),
}
"""What the pictures of a kind are called and how to read them; a file's name is its kind, or kind-number."""


def section(runs: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Lay out tables and bars of the runs that have interventions; empty without any.

    Args:
        runs: label in the run's colour, as HTML, and ``metrics.json`` of each, in the order of the report.
    """
    found = [(label, metrics) for label, metrics in runs if metrics.get("interventions")]
    if not found:
        return ""
    made = dict.fromkeys(name for _, metrics in found for name in metrics["interventions"])
    names = [name for name in MEANINGS if name in made] + [name for name in made if name not in MEANINGS]
    rows = [
        (cell(name, MEANINGS.get(name, "")), [outcome(m["interventions"].get(name)) for _, m in found])
        for name in names
    ]
    lines = {name: name.replace("_", "\n") for name in names}  # beside each other they would overlap
    shares = [metrics.get("interventions") or {} for _, metrics in runs]
    bars = draw_bars(
        [*lines.values()], [{lines[name]: share for name, share in each.items()} for each in shares], "intervention"
    )
    verdicts = [(label, verdict(metrics["interventions"])) for label, metrics in found]
    sentences = "".join(f"<p>{label}: {escape(sentence)}</p>" for label, sentence in verdicts if sentence)
    return (
        sentences
        + table([label for label, _ in found], rows)
        + '<p class="note">The test set answered again with other vectors in place of the latents. Differences are '
        "paired with the answers above (Newcombe's interval, exact McNemar test). Other answers: the text differs. KL: "
        "how far the next token's distribution moves while the first answer is read, tokens after the first latent.</p>"
        + f'<div class="bars">{bars}</div>'
        + table([label for label, _ in found], numbers([metrics.get("latents") or {} for _, metrics in found]))
    )


def outcome(row: Mapping[str, Any] | None) -> str:
    """One run under one intervention."""
    if row is None:
        return "–"
    lead = f"{' '.join(points(row['difference']))}, {judge(row['difference'])}"
    more = f"other answers {percent(row['changed'])[0]}, KL {row['kl']['mean']:.3f} nats"
    return f"{cell(*percent(row))} <small>{escape(lead)}; {escape(more)}</small>"


def numbers(found: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Rows about latents as vectors."""
    rows = [
        (escape(text), [f"{latents[key]:.3g}" if key in latents else "–" for latents in found])
        for key, text in NUMBERS.items()
    ]
    hits = [latents.get("retrieved") for latents in found]
    chance = " / ".join(dict.fromkeys(f"{1 / hit['n']:.2%}" for hit in hits if hit))
    name = cell("own helper image is the nearest of all", f"chance {chance}")
    return [*rows, (name, [cell(*percent(hit)) if hit else "–" for hit in hits])] if any(hits) else rows


def sights(runs: Sequence[tuple[str, Path]]) -> str:
    """Show what the latents see, the runs below each other; empty without pictures.

    Args:
        runs: label in the run's colour, as HTML, and evaluation folder of each, in the order of the report.
    """
    html = ""
    for kind, (heading, reading) in SIGHTS.items():
        found = [(label, file) for label, folder in runs for file in folder.glob(f"latents/{kind}*.png")]
        figures = [
            f'<figure style="max-width:60rem;margin-bottom:1rem">{picture(file, f"{heading}: {file.stem}")}'
            f"<figcaption>{label}</figcaption></figure>"
            for label, file in sorted(found, key=lambda pair: number(pair[1]))
        ]
        if figures:
            html += f'<h3>{heading}</h3><p class="note">{reading}</p>{"".join(figures)}'
    return html


def number(file: Path) -> int:
    """The row of a picture, 0 if it shows none; so that 10 comes after 9."""
    last = file.stem.rpartition("-")[2]
    return int(last) if last.isdigit() else 0
