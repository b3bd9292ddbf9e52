"""Plots of a report, as SVG in the page's text colour, so that dark mode works.

The page says which colour is which run, so a plot has no legend of its own.
"""

import re
from collections.abc import Mapping, Sequence
from html import escape
from io import StringIO
from typing import Literal, TypeVar

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, MultipleLocator, PercentFormatter

from mirage_pl.engine.evaluation.measures import has_interval
from mirage_pl.engine.reports.page import color, line
from mirage_pl.engine.runs.curves import Curve
from mirage_pl.engine.seams import Measure

INK = "#010203"  # stands for the page's text colour until the SVG is written
MAX_POINTS = 200
Logged = TypeVar("Logged")
Interval = Mapping[str, float]


def draw_by(
    names: Sequence[str], runs: Mapping[int, Mapping[str, Interval]], name: str, measure: Measure, by: str
) -> str:
    """Draw a measure of every run by group or condition, below each other; one that a run lacks leaves a gap.

    Shares are bars from 0 to 100 %. Means and numbers of a set are points, on a scale that their intervals fill: a bar
    would have to begin at 0, which for most of them means nothing.

    Args:
        names: of the groups or conditions, from the top.
        runs: place of the run in the report -> name -> ``mean``, ``low``, ``high``.
        name: the measure's.
        measure: what it is.
        by: ``group`` or ``condition``; no two plots of a page may have the same name and by.
    """
    left, row = 0.3 + 0.078 * max(map(len, names)), max(0.24, 0.13 * len(runs) + 0.12)
    width, height = left + 3.6, row * len(names) + 0.75
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((left / width, 0.45 / height, 1 - (left + 0.25) / width, row * len(names) / height))
    step = 0.8 / len(runs)
    for index, (place, numbers) in enumerate(runs.items()):
        for at, group in ((at, group) for at, group in enumerate(names) if group in numbers):
            draw_interval(axes, at + (index - (len(runs) - 1) / 2) * step, numbers[group], measure, color(place), step)
    dress(axes, "x")
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_ylim(len(names) - 0.4, -0.6)  # the first name stands above
    scale_axis(axes, "x", measure)
    axes.set_title(title_of(name, measure), fontsize=9, color=INK, loc="left", parse_math=False)
    return svg(figure, f"{name} by {by} with 95 % intervals")


def draw_interval(axes: Axes, at: float, number: Interval, measure: Measure, ink: str, thickness: float) -> None:
    """Draw a lying bar (shares) or a point, and the interval if there is one."""
    mean = number["mean"]
    if measure.kind == "share":
        axes.barh(at, mean, thickness * 0.9, color=ink)
    else:
        axes.plot(mean, at, "o", color=ink, markersize=5)
    if has_interval(number):
        errors = [[max(0.0, mean - number["low"])], [max(0.0, number["high"] - mean)]]
        whisker = INK if measure.kind == "share" else ink
        axes.errorbar(mean, at, xerr=errors, fmt="none", ecolor=whisker, elinewidth=1.2, capsize=2.5)


def scale_axis(axes: Axes, letter: Literal["x", "y"], measure: Measure, steps: int = 5) -> None:
    """Percent from 0 to 100 for shares; else so many steps of round numbers, and a line at 0 if it lies within."""
    axis = axes.xaxis if letter == "x" else axes.yaxis
    if measure.kind == "share":
        (axes.set_xlim if letter == "x" else axes.set_ylim)(0, 1.02)
        axis.set_major_formatter(PercentFormatter(1))
        axis.set_major_locator(MultipleLocator(0.2 if steps > 3 else 0.5))
        return
    axis.set_major_locator(MaxNLocator(steps))
    low, high = axes.get_xlim() if letter == "x" else axes.get_ylim()
    if low < 0 < high:
        (axes.axvline if letter == "x" else axes.axhline)(0, color=INK, alpha=0.5, linewidth=0.8)


def title_of(name: str, measure: Measure) -> str:
    """What stands above a plot: name, unit, and the direction if lower is better or the unit doesn't say it."""
    unit = f", {measure.unit}" if measure.unit else ""
    direction = "" if measure.kind == "share" and measure.better == "higher" else f" ({measure.better} is better)"
    return f"{name}{unit}{direction}"


def draw_curves(tag: str, curves: Mapping[int, Curve], measure: Measure | None = None) -> str:
    """Draw one scalar of several runs over training steps.

    Args:
        tag: under which it was logged.
        curves: place of the run in the report -> its values.
        measure: what it is, if it is one.
    """
    figure, axes = blank(4.4, 2.7)
    for place, curve in curves.items():
        points = thin(curve)
        marker = "o" if len(points) <= 20 else ""
        axes.plot(
            *zip(*points, strict=True),
            color=color(place),
            linestyle=line(place),
            linewidth=1.6,
            marker=marker,
            markersize=3.5,
        )
    label_steps(axes, tag, measure)
    return svg(figure, f"{tag} over training steps")


def label_steps(axes: Axes, tag: str, measure: Measure | None) -> None:
    """Say what is drawn over steps, and scale it."""
    title = tag if measure is None else title_of(tag, measure)
    axes.set_title(title, fontsize=10, color=INK, loc="left", parse_math=False)
    axes.set_xlabel("step", color=INK)
    axes.margins(x=0.02)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if measure is not None:
        scale_axis(axes, "y", measure)


def measure_of(tag: str, measures: Mapping[str, Measure]) -> Measure | None:
    """The measure that a tag such as ``val/success`` names; ``None`` if it names none."""
    return measures.get(tag.rpartition("/")[2])


def sort_curves(
    scalars: Mapping[int, Mapping[str, Logged]], measures: Mapping[str, Measure]
) -> dict[str, dict[int, Logged]]:
    """Turn what was logged round, in the order of a report: measures, other numbers of training and validation, sums.

    What was logged under other first words comes last.

    Args:
        scalars: place of the run in the report -> tag -> what was logged.
        measures: by name.

    Returns:
        Tag -> place of the run -> what was logged; a sum of one loss, which is that loss, is left out.
    """

    places = {name: place for place, name in enumerate(measures)}

    def order(tag: str) -> tuple[bool, int, bool, str]:
        return not learnt(tag), places.get(tag.rpartition("/")[2], len(places)), tag.endswith("/loss"), tag

    turned: dict[str, dict[int, Logged]] = {}
    for tag in sorted({tag for curves in scalars.values() for tag in curves}, key=order):
        curves = {place: by_tag[tag] for place, by_tag in scalars.items() if tag in by_tag}
        if not tag.endswith("/loss") or curves not in turned.values():
            turned[tag] = curves
    return turned


def learnt(tag: str) -> bool:
    """Whether a tag is of training or validation, and not of the machine."""
    return tag.startswith(("train/", "val/"))


def thin(curve: Curve) -> list[tuple[float, float]]:
    """Average equal runs of neighbours until at most ``MAX_POINTS`` are left; a short curve stays as it is."""
    size = -(-len(curve) // MAX_POINTS)
    chunks = [curve[first : first + size] for first in range(0, len(curve), size or 1)]
    return [(sum(x for x, _ in chunk) / len(chunk), sum(y for _, y in chunk) / len(chunk)) for chunk in chunks]


def blank(width: float, height: float) -> tuple[Figure, Axes]:
    """Make empty axes in the page's colour; inches."""
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0.6 / width, 0.45 / height, 1 - 0.85 / width, 1 - 0.75 / height))
    return figure, dress(axes)


def dress(axes: Axes, grid: Literal["x", "y"] = "y") -> Axes:
    """Give axes the page's colour, lines across one direction, and no frame but the line below."""
    axes.patch.set_visible(False)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(INK)
    axes.tick_params(colors=INK, labelsize=9)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis=grid, color=INK, alpha=0.15, linewidth=0.8)
    axes.set_axisbelow(True)
    return axes


def svg(figure: Figure, label: str) -> str:
    """Write a figure as an SVG element that shrinks with the page; the same figure gives the same text."""
    page = StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
        figure.savefig(page, format="svg", transparent=True, metadata={"Date": None})
    text = page.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"/>', "", text)
    text = re.sub(r'<g id="[^"]*">', "<g>", text)  # a page has several plots, and an id may stand in it once
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    return text.replace(
        "<svg", f'<svg role="img" aria-label="{escape(label)}" style="max-width:{100 * figure.get_figwidth():.0f}px"', 1
    )
