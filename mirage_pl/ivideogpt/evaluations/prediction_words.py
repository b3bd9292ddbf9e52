"""Words of ``evaluation=ivideogpt/prediction`` in a report. Imports no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from mirage_pl.engine.evaluation.measures import (
    has_interval,
    is_loss,
    reverse_difference,
    write_difference,
    write_number,
)
from mirage_pl.engine.reports.page import label_run, lay_out_note
from mirage_pl.engine.reports.plots import render_svg
from mirage_pl.engine.seams import Measure
from mirage_pl.engine.words import PlainWords
from mirage_pl.ivideogpt.evaluations.horizon import draw_horizon, find_lead

BASELINE = "copy_last"
CONDITIONS = {
    BASELINE: "the newest context frame, again and again: what doing nothing scores",
    "tokenizer": "the true frames through their codes: what no model over these codes exceeds by much",
    "shuffled_actions": "the actions of a clip of another episode",
    "no_actions": "zeros in place of actions",
    "no_context": "a gray context",
    "unigram": "no model: each code as often as in its place in other episodes, and their mean reward",
    "drawn": "the mean of several draws of each clip",
    "best_drawn": "the best of these draws, by each measure its own, as published",
}
NUMBERS = {
    "fvd_clips": "clips whose features make an FVD",
    "fvd_frames": "frames of each",
    "fvd_real": "FVD of half of the true clips and those of other episodes: as far are real ones apart",
    "fvd_halves": "the same of imagined clips: this one compares with fvd_real, since both are of half as many clips",
}
READING = (
    "A picture shows the frames after the context, one after the other: as they were imagined from the context and the "
    "clip's actions, and beside them the absolute error, white is large; strips of them lie in gallery/. PSNR ranks "
    "greedy rollouts before drawn ones, which are sharper, and FVD the other way round. Context frames are in no "
    "number unless context_counts is true. Intervals draw episodes, since clips of one episode are alike."
)
COSTS = {
    "shuffled_actions": ("It uses its actions", "It isn't shown to use its actions", "those of another clip"),
    "no_context": ("It uses its context", "It isn't shown to use its context", "a gray one"),
    "unigram": (
        "It knows more of a code than how often it is",
        "It isn't shown to know more of a code than how often it is",
        "that alone",
    ),
}
"""Condition -> what is said if it costs cross-entropy, and if not, and what stands in place of the model's own."""
PSNR, NATS = Measure("mean", "higher", "dB"), Measure("mean", "lower", "nats")
describe_method, judge_methods = PlainWords.describe_method, PlainWords.judge_methods


def sections(results: Sequence[Any]) -> Mapping[str, str]:
    """Each run's curves over frames, and how the page is to be read."""
    html = ""
    for place, result in enumerate(results):
        horizon = result.metrics.get("horizon") or {}
        if horizon.get("gain"):
            figure = render_svg(draw_horizon(horizon, BASELINE), f"{result.name}: PSNR by frame")
            html += f'<figure class="wide">{figure}<figcaption>{label_run(place, result.name)}</figcaption></figure>'
    curves = {"Frame by frame": html} if html else {}
    return curves | {"How to read clips": lay_out_note(READING)}


def verdict(metrics: Mapping[str, Any]) -> Sequence[str]:
    """Say whether this checkpoint beats copying and uses what it is given, and its FVD with what that is read with."""
    conditions = metrics.get("conditions") or {}
    sentences = [
        say_lead((metrics.get("horizon") or {}).get("gain") or [], conditions.get(BASELINE)),
        *(say_cost(conditions.get(name) or {}, *words) for name, words in COSTS.items()),
    ]
    value = (metrics.get("fvd") or {}).get("all", {}).get("mean")
    if value is not None:
        frozen = ((conditions.get(BASELINE) or {}).get("measures") or {}).get("fvd", {}).get("mean")
        sentences.append(write_fvd(value, metrics.get("fvd_facts") or {}, frozen))
    return [sentence for sentence in sentences if sentence]


def say_lead(gains: Sequence[Mapping[str, Any]], copied: Mapping[str, Any] | None) -> str:
    """Say from which frame on copying is beaten."""
    if not gains or copied is None:
        return ""
    total, first = (
        reverse_difference(copied["difference"]) if has_interval(copied["difference"]) else None,
        find_lead(gains),
    )
    mean = f" ({' '.join(write_difference(PSNR, total))} over all frames)" if total else ""
    if first is None:
        return f"It isn't shown to beat copying the newest context frame in the last frame{mean}."
    return f"It beats copying the newest context frame from frame {first} on, by more than the interval{mean}."


def say_cost(condition: Mapping[str, Any], shown: str, hidden: str, other: str) -> str:
    """Say whether a condition costs cross-entropy."""
    change = ((condition.get("measures") or {}).get("cross_entropy") or {}).get("difference") or {}
    if change.get("difference") is None:
        return ""
    words = shown if is_loss(NATS, change) else hidden
    return f"{words}: with {other} a code has {' '.join(write_difference(NATS, change))}."


def write_fvd(value: float, facts: Mapping[str, Any], frozen: float | None = None) -> str:
    """Write an FVD with what it must be read with."""
    text = f"FVD {write_number(value)} over {facts.get('fvd_clips')} clips of {facts.get('fvd_frames')} frames"
    text += f", of a frozen frame {write_number(frozen)}" if frozen is not None else ""
    if facts.get("fvd_real") is None:
        return f"{text}; there is one episode, so what real clips are apart isn't known."
    halves = (write_number(facts[key]) for key in ("fvd_halves", "fvd_real"))
    return "{}; halves of other episodes: {} from the true ones, where true ones are {} apart.".format(text, *halves)
