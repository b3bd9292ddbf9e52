"""Plots of an audit, in the style of all reports."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from mirage_pl.engine.evaluation.measures import has_interval
from mirage_pl.engine.reports.page import choose_color
from mirage_pl.engine.reports.plots import INK, make_axes, render_svg

Points = Sequence[tuple[float, Mapping[str, Any]]]
"""Place on the axis, and the number there with its interval."""


def draw_lines(title: str, below: str, lines: Mapping[str, Points], label: str, chance: float | None = None) -> str:
    """Draw shares with their intervals.

    Args:
        title: of the plot.
        below: what the horizontal axis says.
        lines: name -> its points, in the order of their colors.
        label: of the plot, for those who can't see it; another one in each plot of a page.
        chance: drawn as a dotted line.
    """
    figure, axes = make_axes(4.4, 2.9)
    for number, points in enumerate(lines.values()):
        draw_line(axes, points, choose_color(number))
    if chance is not None:
        axes.axhline(chance, color=INK, alpha=0.5, linewidth=0.9, linestyle=":")
    axes.set_title(title, fontsize=10, color=INK, loc="left", parse_math=False)
    axes.set_xlabel(below, color=INK)
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.margins(x=0.04)
    return render_svg(figure, label)


def draw_line(axes: Axes, points: Points, color: str) -> None:
    """Draw points, a line through them, and their intervals as a band."""
    known = [(x, number) for x, number in points if number.get("mean") is not None]
    places, means = [x for x, _ in known], [number["mean"] for _, number in known]
    axes.plot(places, means, "o-", color=color, linewidth=1.6, markersize=3.5)
    if known and all(has_interval(number) for _, number in known):
        low, high = ([number[end] for _, number in known] for end in ("low", "high"))
        axes.fill_between(places, low, high, color=color, alpha=0.18, linewidth=0)
