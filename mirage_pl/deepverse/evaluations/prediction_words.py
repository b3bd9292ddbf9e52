"""Words of ``evaluation=deepverse/prediction`` in a report. Imports no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from mirage_pl.engine.evaluation.measures import is_gain, is_loss, read_changes, reverse_difference, write_difference
from mirage_pl.engine.reports.page import lay_out_note
from mirage_pl.engine.seams import Measure
from mirage_pl.engine.words import PlainWords

CONDITIONS = {
    "copy_last": "the newest given frame and its depth, by a camera that stays: what doing nothing scores",
    "codes": "the true units through their codes: what no model over these codes exceeds by much",
    "wrong_turn": "the same moves, each with another turn",
    "no_memory": "no view of the past but the given units, in clips that have one",
    "placebo_memory": "a view out of another walk in its place, in clips that have one",
    "no_rays": "given units without their cameras",
    "no_depth": "given units without their depth",
}
NUMBERS: Mapping[str, str] = {}
READING = (
    "A picture shows the units after the given ones, beside their depth: near is light. PSNR is of the next unit where "
    "the camera moves in it; units at rest are a group by themselves, since copying is right there. What rays say of "
    "the camera is compared with where it was. Intervals draw walks, since clips of one walk are alike; new maps are "
    "those in which no training walk was."
)
CLAIMS = (
    ("copy_last", "psnr", "It beats copying the newest frame", "It isn't shown to beat copying the newest frame"),
    ("copy_last", "absrel", "Its depth beats copying", "Its depth isn't shown to beat copying"),
    ("wrong_turn", "psnr", "It turns as it is told", "It isn't shown to turn as it is told"),
    ("no_memory", "psnr", "A view of the past helps", "A view of the past isn't shown to help"),
    ("placebo_memory", "psnr", "The right view helps more than another", "The right view isn't shown to help more"),
    ("no_rays", "psnr", "It uses the cameras of what is given", "It isn't shown to use the cameras of what is given"),
    ("no_depth", "psnr", "It uses the depth of what is given", "It isn't shown to use the depth of what is given"),
)
"""Condition, measure, and what is said if its own value is better by more than the interval, and if not."""
describe_method, judge_methods = PlainWords.describe_method, PlainWords.judge_methods


def sections(results: Sequence[Any]) -> Mapping[str, str]:
    """How the page is to be read."""
    return {"How to read clips": lay_out_note(READING)}


def verdict(metrics: Mapping[str, Any]) -> Sequence[str]:
    """Say what this checkpoint is shown to do, and what not, each with its interval."""
    return write_claims(metrics, CLAIMS)


def write_claims(metrics: Mapping[str, Any], claims: Sequence[tuple[str, str, str, str]]) -> list[str]:
    """Say of each claim whether it is shown; of conditions that weren't scored nothing.

    Args:
        metrics: of the evaluation.
        claims: condition, measure, and what is said if the model's own value is better, and if not.
    """
    sentences = []
    for condition, name, shown, hidden in claims:
        if (change := read_changes(metrics, name).get(condition)) is None:
            continue
        measure = Measure(**metrics["measures"][name])
        words = shown if is_loss(measure, change) else hidden
        worse = "; it is worse" if is_gain(measure, change) else ""
        gain = " ".join(write_difference(measure, reverse_difference(change)))
        sentences.append(f"{words}{worse}: {gain} in {'PSNR' if name == 'psnr' else 'AbsRel of depth'}.")
    return sentences
