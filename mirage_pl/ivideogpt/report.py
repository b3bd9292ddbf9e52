"""iVideoGPT's words in a report: what conditions and numbers mean, and what follows from them. Imports no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from mirage_pl.engine.evaluation.measures import is_loss, read_changes, say_against, write_difference
from mirage_pl.engine.seams import Measure
from mirage_pl.engine.words import PlainWords

CONDITIONS = {
    "copy_context": "the newest context frame, again and again: what doing nothing scores",
    "no_context": "the frames through their codes with a gray context in place of their own",
}
NUMBERS = {
    "context_codes": "codes that the context's book has",
    "context_used": "of them used by these clips",
    "context_perplexity": "as many would be used, were all used equally",
    "dynamics_codes": "codes that the book of later frames has",
    "dynamics_used": "of them used by these clips",
    "dynamics_perplexity": "as many would be used, were all used equally",
}
READING = (
    "A picture shows the frames after the context, one after the other: as their codes have them, and beside them the "
    "absolute error, white is large. psnr_1 and so on are means of the first frame after the context and the next "
    "ones; copy_context_psnr_1 are those of the copied context. Context frames themselves are in no number. Intervals "
    "draw episodes, since clips of one episode are alike."
)
describe_method, judge_methods = PlainWords.describe_method, PlainWords.judge_methods


def sections(results: Sequence[Any]) -> Mapping[str, str]:
    """How the page is to be read."""
    return {"How to read clips": f'<p class="note">{READING}</p>'}


def verdict(metrics: Mapping[str, Any]) -> Sequence[str]:
    """Say whether this checkpoint beats copying the context, and whether it needs the context."""
    if not (changes := read_changes(metrics, "psnr")):
        return []
    measure, sentences = Measure(**metrics["measures"]["psnr"]), []
    if "copy_context" in changes:
        stands = say_against(measure, changes["copy_context"], "copying the newest context frame")
        sentences.append(f"This checkpoint {stands} in PSNR.")
    if change := changes.get("no_context"):
        costs = "costs" if is_loss(measure, change) else "isn't shown to cost anything:"
        sentences.append(f"A gray context {costs} {' '.join(write_difference(measure, change))}.")
    return sentences
