"""The report's section on interventions: answers with other latents, and what the latents look like as vectors."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from mirage_pl.intervene import verdict
from mirage_pl.plots import cell, draw_bars, table
from mirage_pl.statistics import judge, percent, points

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
