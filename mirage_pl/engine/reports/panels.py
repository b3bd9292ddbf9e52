"""Pictures of a study: many methods beside each other, and learning curves as bands over seeds.

They are figures, for :func:`mirage_pl.engine.reports.plots.svg` on a page and :func:`png` as files.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from matplotlib.figure import Figure

from mirage_pl.engine.evaluation.measures import Number
from mirage_pl.engine.evaluation.statistics import Array
from mirage_pl.engine.reports.page import color, line
from mirage_pl.engine.reports.plots import INK, draw_interval, dress, label_steps, measure_of, scale_axis, thin
from mirage_pl.engine.runs.curves import Curve
from mirage_pl.engine.seams import Measure

COLUMNS = 5
"""Panels beside each other."""


@dataclass(frozen=True)
class Bar:
    """A number to draw.

    Attributes:
        number: ``mean``, ``low``, ``high``; of shares between 0 and 1.
        color: of the bar or point.
        seeds: the number of each seed alone, drawn as dots.
    """

    number: Number
    color: str
    seeds: Sequence[float] = ()


def draw_panels(panels: Mapping[str, Mapping[str, Bar]], measure: Measure) -> Figure:
    """Draw lying bars (shares) or points with their intervals, so that any number of them can be read.

    Args:
        panels: title -> name beside the bar -> bar. A panel without a bar that others have leaves its line empty.
        measure: what is drawn.
    """
    names = list(dict.fromkeys(name for bars in panels.values() for name in bars))
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    left, height = 0.3 + 0.075 * max(map(len, names)), 0.75 + 0.24 * len(names)
    figure = Figure(figsize=(left + 1.8 * columns, height * rows))
    inches, above = figure.get_figwidth(), 0.42 / height
    places = {"left": left / inches, "right": 1 - 0.15 / inches, "top": 1 - above / rows, "bottom": 0.3 / height / rows}
    grid = {**places, "wspace": 0.22, "hspace": 0.75 / (0.24 * len(names))}
    grid_of_axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False, gridspec_kw=grid)
    for axes, (title, bars) in zip(grid_of_axes.flat, panels.items(), strict=False):
        dress(axes, "x")
        axes.set_title(break_name(title, 24), fontsize=9, color=INK, loc="left", parse_math=False)
        for place, bar in ((names.index(name), bar) for name, bar in bars.items()):
            axes.plot(bar.seeds, [place] * len(bar.seeds), "o", color=INK, alpha=0.45, markersize=2.4)
            draw_interval(axes, place, bar.number, measure, bar.color, 0.8)
        axes.set_yticks(range(len(names)), names, parse_math=False)
        axes.tick_params(labelbottom=True)
    for axes in figure.axes[len(panels) :]:
        axes.set_visible(False)
    first = figure.axes[0]
    first.set_ylim(len(names) - 0.4, -0.6)  # the first name stands above
    scale_axis(first, "x", measure, 3)
    return figure


def break_name(name: str, width: int) -> str:
    """Break a name into lines behind its spaces and underscores, where it is longer than so many characters."""
    lines = [""]
    for part in re.findall(r"[^ _]+[ _]*|[ _]+", name):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip(" ") for line in lines)


def draw_bands(
    curves: Mapping[str, Mapping[int, Sequence[Curve]]], measures: Mapping[str, Measure], names: Sequence[str] = ()
) -> Figure:
    """Draw scalars over training steps: the mean over seeds, and the range from lowest to highest.

    Args:
        curves: tag -> place of the method in the report -> the curve of each seed.
        measures: by name, for tags that end in one.
        names: of the methods, by place, for a legend; none without.
    """
    lines = -(-len(names) // 3)
    width, height = 4.4 * len(curves), 2.7 + 0.2 * lines
    figure = Figure(figsize=(width, height))
    sides = {"left": 0.6 / width, "right": 1 - 0.25 / width, "wspace": 0.2}
    grid = {**sides, "top": 1 - 0.3 / height, "bottom": (0.45 + 0.2 * lines) / height}
    handles = {}
    for axes, (tag, methods) in zip(
        figure.subplots(1, len(curves), squeeze=False, gridspec_kw=grid).flat, curves.items(), strict=True
    ):
        dress(axes)
        for place, seeds in methods.items():
            steps, mean, low, high = band(seeds)
            axes.fill_between(steps, low, high, color=color(place), alpha=0.18, linewidth=0)
            (handles[place],) = axes.plot(steps, mean, color=color(place), linestyle=line(place), linewidth=1.6)
        label_steps(axes, tag, measure_of(tag, measures))
    if names:
        shown = sorted(handles)
        labels = [names[place] for place in shown]
        figure.legend(
            [handles[place] for place in shown], labels, loc="lower center", ncols=3, fontsize=8, frameon=False
        )
    return figure


def band(seeds: Sequence[Curve]) -> tuple[Array, Array, Array, Array]:
    """Steps, and at each the mean, lowest and highest of the seeds that have got so far.

    Args:
        seeds: the curve of each; between two steps a curve is a straight line.
    """
    thinned = [np.array(thin(curve), dtype=float).T for curve in seeds]
    steps = np.unique(np.concatenate([x for x, _ in thinned]))
    values_ST = np.array([np.interp(steps, x, y, left=np.nan, right=np.nan) for x, y in thinned])
    return steps, np.nanmean(values_ST, axis=0), np.nanmin(values_ST, axis=0), np.nanmax(values_ST, axis=0)


def png(figure: Figure) -> bytes:
    """Render a figure on white."""
    page = BytesIO()
    figure.savefig(page, format="png", dpi=110, facecolor="white")
    return page.getvalue()
