"""DeepVerse's words in a report: what conditions and numbers mean, and what follows from them. Imports no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from mirage_pl.engine.evaluation.measures import say_against
from mirage_pl.engine.seams import Measure
from mirage_pl.engine.words import PlainWords

CONDITIONS = {"copy_first": "the clip's first frame and its depth, again and again: what doing nothing scores"}
NUMBERS = {
    "first_mean": "mean of the numbers in codes of first frames",
    "first_deviation": "their standard deviation",
    "later_mean": "mean of the numbers in codes of all later units",
    "later_deviation": "their standard deviation",
}
READING = (
    "A picture shows a clip and, beside it, its depth (near is light) and its normals (red to the right, green up, "
    "blue towards the viewer), where they are coded. Ours is what the codes have of it. The first frame is in no "
    "number. Intervals draw walks, since clips of one walk are alike; new maps are those in which no training walk was."
)
SAID = {"psnr": "PSNR", "absrel": "AbsRel of depth", "angle": "the median angle of normals"}
describe_method, judge_methods = PlainWords.describe_method, PlainWords.judge_methods


def sections(results: Sequence[Any]) -> Mapping[str, str]:
    """How the page is to be read."""
    return {"How to read clips": f'<p class="note">{READING}</p>'}


def verdict(metrics: Mapping[str, Any]) -> Sequence[str]:
    """Say whether this checkpoint beats copying the first frame, in colours, depth and normals."""
    copied = (metrics.get("conditions") or {}).get("copy_first") or {}
    sentences = []
    for name, words in SAID.items():
        change = copied.get("measures", {}).get(name, {}).get("difference") or {}
        if change.get("difference") is None:
            continue
        stands = say_against(Measure(**metrics["measures"][name]), change, "copying the first frame")
        sentences.append(f"This checkpoint {stands} in {words}.")
    return sentences
