"""Figures of a study: many methods side by side, and learning curves as bands over seeds.

Pass them to :func:`mirage_pl.engine.reports.plots.render_svg` on a page and :func:`render_png` as files.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from matplotlib.figure import Figure

from mirage_pl.engine.evaluation.measures import Number, has_interval
from mirage_pl.engine.evaluation.statistics import Array
from mirage_pl.engine.reports.page import choose_color, choose_line
from mirage_pl.engine.reports.plots import (
    INK,
    draw_interval,
    find_measure,
    label_steps,
    scale_axis,
    style_axes,
    thin_curve,
    write_title,
)
from mirage_pl.engine.runs.curves import Curve
from mirage_pl.engine.seams import Measure

COLUMNS = 5
"""Panels in a row."""
ENDS = ("low", "high")


@dataclass(frozen=True)
class Bar:
    """A number to draw.

    Attributes:
        number: ``mean``, ``low``, ``high``; between 0 and 1 for shares.
        color: of the bar or point.
        seeds: the number of each seed, drawn as dots.
    """

    number: Number
    color: str
    seeds: Sequence[float] = ()


def draw_panels(panels: Mapping[str, Mapping[str, Bar]], measure: Measure) -> Figure:
    """Draw horizontal bars (shares) or points with their intervals.

    Args:
        panels: title -> name beside the bar -> bar. A panel leaves the line of a bar that only others have empty.
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
        style_axes(axes, "x")
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


def number_groups(groups: Iterable[str]) -> tuple[str, dict[str, int]]:
    """Find what groups that are called ``level_3`` or ``steps_4`` count: its name, and each group's number.

    Returns:
        ``("level", {"level_3": 3, ...})``, without ``all``; an empty name unless three groups or more count one thing.
    """
    found = {group: re.fullmatch(r"(.+)_(\d+)", group) for group in groups if group != "all"}
    matches = {group: match for group, match in found.items() if match}
    names = {match[1] for match in matches.values()}
    if len(matches) < max(3, len(found)) or len(names) > 1:
        return "", {}
    return names.pop(), {group: int(match[2]) for group, match in matches.items()}


def draw_levels(counted: str, levels: Mapping[int, Mapping[str, Bar]], name: str, measure: Measure) -> Figure:
    """Draw a measure over what groups count, such as the steps of a puzzle: a line a method, with its intervals.

    Args:
        counted: what groups count, below the axis.
        levels: number -> name in the legend -> mean and interval.
        name: of the measure.
        measure: what is drawn.
    """
    names = list(dict.fromkeys(method for bars in levels.values() for method in bars))
    legend = 0.2 * -(-len(names) // 3)
    width, height = 6.4, 3.2 + legend
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0.6 / width, (0.55 + legend) / height, 1 - 0.8 / width, 2.3 / height))
    style_axes(axes)
    apart = 0.4 * (max(levels) - min(levels)) / (len(levels) - 1) / (5 + len(names))
    for place, method in enumerate(names):
        bars = {number: bars[method] for number, bars in sorted(levels.items()) if method in bars}
        at = np.array(list(bars)) + (place - (len(names) - 1) / 2) * apart
        numbers = [bar.number for bar in bars.values()]
        errors = [[abs(each[end] - each["mean"]) if has_interval(each) else 0.0 for each in numbers] for end in ENDS]
        color, means = next(iter(bars.values())).color, [each["mean"] for each in numbers]
        axes.plot(
            at, means, "o", color=color, linestyle=choose_line(place), linewidth=1.6, markersize=3.5, label=method
        )
        axes.errorbar(at, means, yerr=errors, fmt="none", ecolor=color, elinewidth=1.1, capsize=2.5)
    axes.set_title(write_title(name, measure), fontsize=10, color=INK, loc="left", parse_math=False)
    axes.set_xlabel(counted.replace("_", " "), color=INK, parse_math=False)
    axes.set_xticks(sorted(levels))
    scale_axis(axes, "y", measure)
    figure.legend(loc="lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def break_name(name: str, width: int) -> str:
    """Break a name into lines of at most ``width`` characters, after spaces and underscores."""
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
        names: of the methods, by place, for a legend; empty for no legend.
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
        style_axes(axes)
        for place, seeds in methods.items():
            steps, mean, low, high = summarize_seeds(seeds)
            axes.fill_between(steps, low, high, color=choose_color(place), alpha=0.18, linewidth=0)
            (handles[place],) = axes.plot(
                steps, mean, color=choose_color(place), linestyle=choose_line(place), linewidth=1.6
            )
        label_steps(axes, tag, find_measure(tag, measures))
    if names:
        shown = sorted(handles)
        labels = [names[place] for place in shown]
        figure.legend(
            [handles[place] for place in shown], labels, loc="lower center", ncols=3, fontsize=8, frameon=False
        )
    return figure


def summarize_seeds(seeds: Sequence[Curve]) -> tuple[Array, Array, Array, Array]:
    """Steps, and at each the mean, lowest and highest value of the seeds that reach it.

    Args:
        seeds: the curve of each seed, interpolated linearly between its steps.
    """
    thinned = [np.array(thin_curve(curve), dtype=float).T for curve in seeds]
    steps = np.unique(np.concatenate([x for x, _ in thinned]))
    values_ST = np.array([np.interp(steps, x, y, left=np.nan, right=np.nan) for x, y in thinned])
    return steps, np.nanmean(values_ST, axis=0), np.nanmin(values_ST, axis=0), np.nanmax(values_ST, axis=0)


def render_png(figure: Figure) -> bytes:
    """Render a figure as PNG on white."""
    page = BytesIO()
    figure.savefig(page, format="png", dpi=110, facecolor="white")
    return page.getvalue()
