"""How well frames are predicted, the further ahead the worse: curves over a clip's frames. Imports no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from mirage_pl.engine.evaluation.measures import estimate_change
from mirage_pl.engine.reports.page import choose_color
from mirage_pl.engine.reports.plots import INK, style_axes
from mirage_pl.engine.seams import OWN, Measure

PSNR = Measure("mean", "higher", "dB")
Curves = Mapping[str, Sequence[Sequence[float]]]
"""PSNR of each frame of each clip, by condition."""


def measure_horizon(curves: Curves, baseline: str, units: Sequence[Any]) -> dict[str, Any]:
    """Mean PSNR of each frame by condition, and the paired gain of ``own`` over a baseline, with its interval.

    Args:
        curves: the clips of each condition in the same order; of a condition without frames nothing is said.
        baseline: a condition.
        units: the episode of each clip; intervals draw episodes.
    """
    whole = {name: frames for name, frames in curves.items() if len(frames) == len(units) and all(frames)}
    means = {name: [sum(frame) / len(frame) for frame in zip(*each, strict=True)] for name, each in whole.items()}
    if OWN not in whole or baseline not in whole:
        return {"psnr": means, "gain": []}
    pairs = zip(zip(*whole[baseline], strict=True), zip(*whole[OWN], strict=True), strict=True)
    return {"psnr": means, "gain": [dict(estimate_change(PSNR, before, after, units)) for before, after in pairs]}


def draw_horizon(horizon: Mapping[str, Any], baseline: str) -> Figure:
    """Draw PSNR by frame under every condition, and the gain over the baseline with its interval."""
    figure = Figure(figsize=(9.2, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    frames = range(1, 1 + max(map(len, horizon["psnr"].values())))
    for place, (name, means) in enumerate(horizon["psnr"].items()):
        width = 2.4 if name == OWN else 1.2
        style_axes(left).plot(frames, means, color=choose_color(place), linewidth=width, label=name)
    left.set_title("PSNR in dB by frame after the context", fontsize=9, loc="left", color=INK)
    left.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    means, lows, highs = ([gain[key] for gain in horizon["gain"]] for key in ("difference", "low", "high"))
    style_axes(right).axhline(0, color=INK, linewidth=0.8)
    right.plot(frames[: len(means)], means, color=choose_color(0), linewidth=2.4)
    if None not in lows:
        right.fill_between(frames[: len(means)], lows, highs, color=choose_color(0), alpha=0.2, linewidth=0)
    right.set_title(f"gain over {baseline}, with its 95 % interval", fontsize=9, loc="left", color=INK)
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def find_lead(gains: Sequence[Mapping[str, Any]]) -> int | None:
    """The frame, from 1, from which on every gain is above 0 by more than its interval; ``None``: there is none."""
    above = [gain["low"] is not None and gain["low"] > 0 for gain in gains]
    return next((place + 1 for place in range(len(above)) if all(above[place:])), None)
