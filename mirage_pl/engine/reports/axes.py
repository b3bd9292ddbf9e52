"""The picture of a sweep: loss and success over what was swept."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mirage_pl.engine.reports.lineage import number
from mirage_pl.engine.reports.plots import INK, color, describe, dress, line
from mirage_pl.engine.reports.sweep import say

PANELS = (("val/loss", "train/loss"), ("test/success", "val/success"))
"""A panel each, of the first of these that any run has."""
MOST_TICKS = 8
"""More values than these have no mark each."""
Result = Mapping[str, Any]
"""Metrics of a run, and its ``axes``: axis -> value."""


def draw_axes(results: Sequence[Result]) -> Figure | None:
    """Draw metrics over the numeric axis with most values, a line for each combination of the other axes.

    Seeds are averaged; a bar goes from the lowest to the highest. If no axis is numeric, the one with most values
    stands below, and there are points without lines.

    Returns:
        ``None`` if there is nothing to compare.
    """
    runs = [result for result in results if result.get("axes")]
    shown = [
        next((name for name in names if any(number(run, name) is not None for run in runs)), "") for names in PANELS
    ]
    metrics = [name for name in shown if name]
    if not metrics:
        return None
    axis, values = abscissa([run["axes"] for run in runs])
    groups: dict[str, list[Result]] = {}
    for run in runs:
        rest = {name: value for name, value in run["axes"].items() if name not in (axis, "seed")}
        groups.setdefault(", ".join(f"{name} {say(value)}" for name, value in rest.items()), []).append(run)
    legend = len(groups) > 1
    rows = -(-len(groups) // 3) if legend else 0
    width, height = 4.4 * len(metrics), 2.9 + 0.2 * rows
    figure = Figure(figsize=(width, height))
    sides = {"left": 0.6 / width, "right": 1 - 0.15 / width, "wspace": 0.2}
    grid = {**sides, "top": 1 - 0.3 / height, "bottom": (0.55 + 0.2 * rows) / height}
    panels = figure.subplots(1, len(metrics), squeeze=False, gridspec_kw=grid).flat
    for axes, metric in zip(panels, metrics, strict=True):
        describe(dress(axes), metric)
        axes.margins(x=0.06)
        axes.set_xlabel(axis, color=INK, parse_math=False)
        place_ticks(axes, values)
        for place, members in enumerate(groups.values()):
            draw_line(axes, place, spread(members, axis, metric), values)
    if legend:
        handles: Any = figure.axes[0].containers
        figure.legend(handles, list(groups), loc="lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def abscissa(places: Sequence[Mapping[str, Any]]) -> tuple[str, list[Any]]:
    """The axis that goes below, and its values in order: numbers before words, seeds only if there is nothing else."""
    columns = {name: list(dict.fromkeys(place[name] for place in places)) for name in places[0]}
    name = max(columns, key=lambda name: (name != "seed", numeric(columns[name]), len(columns[name])))
    return name, sorted(columns[name]) if numeric(columns[name]) else columns[name]


def numeric(values: Sequence[Any]) -> bool:
    """Whether they are numbers."""
    return all(isinstance(value, int | float) for value in values)


def place_ticks(axes: Axes, values: Sequence[Any]) -> None:
    """Mark the values: numbers where they are, on a logarithmic scale if they span a factor of ten; words in a row."""
    if numeric(values):
        if values[0] > 0 and values[-1] >= 10 * values[0]:
            axes.set_xscale("log")
        if len(values) <= MOST_TICKS:
            axes.set_xticks(values, [say(value) for value in values])
            axes.set_xticks([], minor=True)
    else:
        axes.set_xticks(range(len(values)), [str(value) for value in values], parse_math=False)
        axes.set_xlim(-0.5, len(values) - 0.5)


def spread(runs: Sequence[Result], axis: str, metric: str) -> dict[Any, list[float]]:
    """Value of the axis -> the metric of each run there that has one."""
    found: dict[Any, list[float]] = {}
    for run in runs:
        if (measured := number(run, metric)) is not None:
            found.setdefault(run["axes"][axis], []).append(measured)
    return found


def draw_line(axes: Axes, place: int, found: Mapping[Any, Sequence[float]], values: Sequence[Any]) -> None:
    """Draw means and ranges.

    Args:
        axes: where to.
        place: of the line among all.
        found: value of the axis -> one number a seed.
        values: of the axis, in order.
    """
    order = [value for value in values if value in found]
    means = np.array([np.mean(found[value]) for value in order])
    ranges = np.array([[np.min(found[value]), np.max(found[value])] for value in order]).reshape(-1, 2).T
    x = order if numeric(values) else [values.index(value) for value in order]
    style = line(place) if numeric(values) else "none"
    errors = np.abs(ranges - means)
    axes.errorbar(
        x, means, errors, color=color(place), linestyle=style, marker="o", markersize=4, linewidth=1.6, capsize=3
    )
