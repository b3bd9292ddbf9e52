"""The picture of a sweep: a loss and a measure over the swept axis."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mirage_pl.engine.reports.axes import list_measures, write_setting
from mirage_pl.engine.reports.lineage import read_number
from mirage_pl.engine.reports.page import choose_color, choose_line, write_file
from mirage_pl.engine.reports.panels import render_png
from mirage_pl.engine.reports.plots import INK, find_measure, label_steps, style_axes
from mirage_pl.engine.seams import Measure

LOSSES = ("val/loss", "train/loss")
"""The first panel shows the first of these that any run has; the second shows a measure."""
MOST_TICKS = 8
"""With more values than this, not each has a tick."""
Result = Mapping[str, Any]
"""Metrics of a run, and ``axes``: axis -> value."""


def draw_sweep(results: Sequence[Result], measures: Mapping[str, Measure]) -> Figure | None:
    """Draw metrics over the numeric axis with the most values, one line per combination of the other axes.

    Points are means over seeds, with a bar from the lowest to the highest. If no axis is numeric, the one with the most
    values is used, and points aren't joined.

    Args:
        results: of the runs.
        measures: by name; may lack some.

    Returns:
        ``None`` if there is nothing to compare.
    """
    runs = [result for result in results if result.get("axes")]
    losses = [name for name in LOSSES if any(read_number(run, name) is not None for run in runs)]
    metrics = losses[:1] + list_measures(runs)[:1]
    if not metrics:
        return None
    axis, values = choose_axis([run["axes"] for run in runs])
    groups: dict[str, list[Result]] = {}
    for run in runs:
        rest = {name: value for name, value in run["axes"].items() if name not in (axis, "seed")}
        groups.setdefault(", ".join(f"{name} {write_setting(value)}" for name, value in rest.items()), []).append(run)
    legend = len(groups) > 1
    rows = -(-len(groups) // 3) if legend else 0
    width, height = 4.4 * len(metrics), 2.9 + 0.2 * rows
    figure = Figure(figsize=(width, height))
    sides = {"left": 0.6 / width, "right": 1 - 0.15 / width, "wspace": 0.2}
    grid = {**sides, "top": 1 - 0.3 / height, "bottom": (0.55 + 0.2 * rows) / height}
    panels = figure.subplots(1, len(metrics), squeeze=False, gridspec_kw=grid).flat
    for axes, metric in zip(panels, metrics, strict=True):
        label_steps(style_axes(axes), metric, find_measure(metric, measures))
        axes.margins(x=0.06)
        axes.set_xlabel(axis, color=INK, parse_math=False)
        place_ticks(axes, values)
        for place, members in enumerate(groups.values()):
            draw_line(axes, place, gather_metric(members, axis, metric), values)
    if legend:
        handles: Any = figure.axes[0].containers
        figure.legend(handles, list(groups), loc="lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def choose_axis(places: Sequence[Mapping[str, Any]]) -> tuple[str, list[Any]]:
    """Choose the axis to plot over, and order its values; numbers go before words, and seeds are the last resort."""
    columns = {name: list(dict.fromkeys(place[name] for place in places)) for name in places[0]}
    name = max(columns, key=lambda name: (name != "seed", are_numbers(columns[name]), len(columns[name])))
    return name, sorted(columns[name]) if are_numbers(columns[name]) else columns[name]


def are_numbers(values: Sequence[Any]) -> bool:
    """Whether all values are numbers."""
    return all(isinstance(value, int | float) for value in values)


def place_ticks(axes: Axes, values: Sequence[Any]) -> None:
    """Place ticks: numbers at their values, on a logarithmic scale from a factor of ten; words in a row."""
    if are_numbers(values):
        if values[0] > 0 and values[-1] >= 10 * values[0]:
            axes.set_xscale("log")
        if len(values) <= MOST_TICKS:
            axes.set_xticks(values, [write_setting(value) for value in values])
            axes.set_xticks([], minor=True)
    else:
        axes.set_xticks(range(len(values)), [str(value) for value in values], parse_math=False)
        axes.set_xlim(-0.5, len(values) - 0.5)


def gather_metric(runs: Sequence[Result], axis: str, metric: str) -> dict[Any, list[float]]:
    """Value of the axis -> the metric of each run with that value."""
    numbers: dict[Any, list[float]] = {}
    for run in runs:
        if (number := read_number(run, metric)) is not None:
            numbers.setdefault(run["axes"][axis], []).append(number)
    return numbers


def draw_line(axes: Axes, place: int, numbers: Mapping[Any, Sequence[float]], values: Sequence[Any]) -> None:
    """Draw means and ranges.

    Args:
        axes: to draw on.
        place: of the line, which gives its color and style.
        numbers: value of the axis -> one number per seed.
        values: all values of the axis, in order.
    """
    order = [value for value in values if value in numbers]
    means = np.array([np.mean(numbers[value]) for value in order])
    ranges = np.array([[np.min(numbers[value]), np.max(numbers[value])] for value in order]).reshape(-1, 2).T
    x = order if are_numbers(values) else [values.index(value) for value in order]
    style = choose_line(place) if are_numbers(values) else "none"
    errors = np.abs(ranges - means)
    axes.errorbar(
        x, means, errors, color=choose_color(place), linestyle=style, marker="o", markersize=4, linewidth=1.6, capsize=3
    )


def save_picture(file: Path, figure: Figure) -> None:
    """Write a figure as PNG."""
    write_file(file, render_png(figure))
