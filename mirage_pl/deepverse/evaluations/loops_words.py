"""Words of ``evaluation=deepverse/loops`` in a report. Imports no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from mirage_pl.deepverse.evaluations.prediction_words import write_claims
from mirage_pl.engine.reports.page import lay_out_note
from mirage_pl.engine.words import PlainWords

CONDITIONS = {
    "copy_last": "the newest given frame and its depth, by a camera that stays: what doing nothing scores",
    "no_memory": "no view of the past but the newest units",
    "placebo_memory": "a view out of another walk, said to be where the right one is",
}
NUMBERS: Mapping[str, str] = {}
READING = (
    "The first part of a walk is given as it was, the rest imagined, window by window. Frames count as seen again if "
    "most of what they show was seen in the given part, before the newest units, which the model is given anyway; the "
    "memory is what can show it. A picture shows what is imagined, or came, beside its depth: near is light. Intervals "
    "draw walks."
)
CLAIMS = (
    ("no_memory", "psnr", "A view of the past helps where it is seen again", "A view of the past isn't shown to help"),
    ("no_memory", "absrel", "It helps depth", "It isn't shown to help depth"),
    ("placebo_memory", "psnr", "The right view helps more than another", "The right view isn't shown to help more"),
    ("copy_last", "psnr", "It beats copying the newest frame", "It isn't shown to beat copying the newest frame"),
)
"""Condition, measure, and what is said if its own value is better by more than the interval, and if not."""
describe_method, judge_methods = PlainWords.describe_method, PlainWords.judge_methods


def sections(results: Sequence[Any]) -> Mapping[str, str]:
    """How the page is to be read."""
    return {"How to read walks": lay_out_note(READING)}


def verdict(metrics: Mapping[str, Any]) -> Sequence[str]:
    """Say whether memory is shown to help, each with its interval."""
    return write_claims(metrics, CLAIMS)
