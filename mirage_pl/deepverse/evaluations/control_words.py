"""Words of ``evaluation=deepverse/control`` in a report. Imports no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from mirage_pl.engine.evaluation.measures import is_gain, is_loss, read_changes, reverse_difference, write_difference
from mirage_pl.engine.reports.page import lay_out_note
from mirage_pl.engine.seams import Measure
from mirage_pl.engine.words import PlainWords

CONDITIONS = {
    "random": "random actions, each held for up to five steps",
    "expert": "the scripted expert, which knows where everything is",
    "expert_clip": "what is read from the expert's own clip, out of its codes: what no imagination exceeds by much",
    "wrong_instruction": "told something else that could be done here; what should be done stays",
    "no_instruction": "told nothing",
}
NUMBERS: Mapping[str, str] = {}
READING = (
    "A clip shows an episode as it went, and right of it what had been imagined of its steps; after each look both "
    "sides are at the same frame again."
)
NAMES = {
    "random": "random actions",
    "expert": "the expert",
    "expert_clip": "the expert's own clip",
    "wrong_instruction": "another instruction",
    "no_instruction": "no instruction",
}
describe_method, judge_methods = PlainWords.describe_method, PlainWords.judge_methods


def sections(results: Sequence[Any]) -> Mapping[str, str]:
    """How the page is to be read."""
    return {"How to read clips": lay_out_note(READING)}


def verdict(metrics: Mapping[str, Any]) -> Sequence[str]:
    """Say how often acting by what is imagined succeeds, against others from the same starts."""
    changes, sentences = read_changes(metrics, "success"), []
    for condition, name in NAMES.items():
        if (change := changes.get(condition)) is None:
            continue
        measure = Measure(**metrics["measures"]["success"])
        how = "more" if is_loss(measure, change) else "less" if is_gain(measure, change) else "as"
        lead = " ".join(write_difference(measure, reverse_difference(change)))
        than = "often than" if how != "as" else "often as"
        shown = "" if how != "as" else ", as far as these episodes show"
        sentences.append(f"Acting by what is imagined succeeds {how} {than} {name}{shown}: {lead}.")
    return sentences
