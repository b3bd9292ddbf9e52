"""The section of examples: some items, the truth, and what each run made of them."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from mirage_pl.engine.evaluation.measures import add_unit, write_number
from mirage_pl.engine.evaluation.results import Result
from mirage_pl.engine.reports.page import MEDIA, embed_medium, find_medium, lay_out_paragraphs
from mirage_pl.engine.seams import Measure


def lay_out_examples(results: Sequence[Result], labels: Sequence[str]) -> str:
    """Lay out the items of the galleries, from the runs with the same test set as the first.

    Raises:
        ValueError: a picture belongs to no row.
    """
    same = [(label, result) for label, result in zip(labels, results, strict=True) if result.items == results[0].items]
    numbers = {
        int(file.stem)
        for _, result in same
        for file in result.folder.glob("gallery/*")
        if file.stem.isdigit() and file.suffix in MEDIA
    }
    for number in sorted(numbers):
        if number >= len(results[0].rows):
            raise ValueError(f"{results[0].folder}/gallery/{number} shows no row; delete gallery/, {results[0].remedy}")
    if numbers:
        return f'<div class="gallery">{"".join(lay_out_example(same, number) for number in sorted(numbers))}</div>'
    return lay_out_paragraphs(["The evaluations hold no gallery, so pictures of answers are left out."])


def lay_out_example(same: Sequence[tuple[str, Result]], number: int) -> str:
    """Lay out one item: its question, the truth, and each run's answer."""
    row = same[0][1].rows[number]
    truths = [find_medium(result.folder / "gallery", f"{number}_truth") for _, result in same]
    truth = next((file for file in truths if file), None)
    figures = ""
    if truth or row.get("truth"):
        picture = embed_medium(truth, "the truth") if truth else ""
        figures = f"<figure>{picture}<figcaption>truth{lay_out_text(row.get('truth'))}</figcaption></figure>"
    figures += "".join(lay_out_answer(label, result, number) for label, result in same)
    question = f'<p class="question">{escape(str(row["question"]))}</p>' if row.get("question") else ""
    heading = f"{escape(row['group'])} <small>{escape(row['where'])}</small>"
    return f'<article><h3>{heading}</h3>{question}<div class="answers">{figures}</div></article>'


def lay_out_answer(label: str, result: Result, number: int) -> str:
    """Lay out one run's answer to one item: picture or clip, score, text."""
    row = result.rows[number]
    picture = embed_medium(find_medium(result.folder / "gallery", str(number)), f"answer of {result.name}")
    counts = "".join(
        escape(f"{row[key]} {key}") for key in [result.numbers_in] if row.get(key) and not isinstance(row[key], dict)
    )
    mark = mark_item(result.first, result.measures[result.first], row)
    parts = [label, mark, write_other_measures(result, row), lay_out_text(row.get("text")), counts]
    return f"<figure>{picture}<figcaption>{' '.join(filter(None, parts))}</figcaption></figure>"


def mark_item(name: str, measure: Measure, row: Mapping[str, Any]) -> str:
    """Mark an item as right or wrong, with its score, or as not graded."""
    value, outcome = row.get(name), escape(str(row.get("outcome") or ""))
    if value is None:
        return '<span class="open">not graded</span>' if measure.kind != "set" else ""
    if measure.kind == "share":
        return f'<span class="{"good" if value else "bad"}">{"✓" if value else "✗"} {outcome or escape(name)}</span>'
    return f'<span class="open">{escape(name)} {write_score(measure, value)} {outcome}</span>'


def write_other_measures(result: Result, row: Mapping[str, Any]) -> str:
    """Write an item's scores by the measures of kind ``mean`` after the first."""
    parts = [
        f"{name} {write_score(measure, row[name])}"
        for name, measure in list(result.measures.items())[1:]
        if measure.kind == "mean" and row.get(name) is not None
    ]
    return escape(", ".join(parts))


def write_score(measure: Measure, value: float) -> str:
    """Write the score of one item with its unit."""
    return escape(add_unit(write_number(value), measure))


def lay_out_text(text: Any) -> str:
    """Lay out an answer as it was written; ``(empty)`` if it has no visible character."""
    if text is None:
        return ""
    return f"<code>{escape(str(text))}</code>" if str(text).strip() else " <small>(empty)</small>"
