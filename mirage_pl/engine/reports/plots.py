"""Plots of a report, as SVG in the page's text color, so that dark mode works.

The page has the legend of runs; plots have none.
"""

import re
from collections.abc import Container, Mapping, Sequence
from html import escape
from io import StringIO
from typing import Any, Literal, TypeVar

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, MultipleLocator, PercentFormatter

from mirage_pl.engine.evaluation.measures import has_interval
from mirage_pl.engine.reports.page import choose_color, choose_line
from mirage_pl.engine.runs.curves import Curve
from mirage_pl.engine.seams import Measure

INK = "#010203"  # replaced by the page's text color when the SVG is written
MAX_POINTS = 200
"""Points of a drawn curve."""
Logged = TypeVar("Logged")
Interval = Mapping[str, float]


def draw_by(
    names: Sequence[str], runs: Mapping[int, Mapping[str, Interval]], name: str, measure: Measure, by: str
) -> str:
    """Draw a measure of every run by group or condition, from the top; one that a run lacks leaves a gap.

    Shares are bars from 0 to 100 %. Means and numbers of a set are points on a scale that fits their intervals: bars
    would have to start at 0, which means nothing for most of them.

    Args:
        names: of the groups or conditions, from the top.
        runs: place of the run in the report -> name -> ``mean``, ``low``, ``high``.
        name: of the measure.
        measure: its kind, direction and unit.
        by: ``group`` or ``condition``; no two plots of a page may share both ``name`` and ``by``.
    """
    left, row = 0.3 + 0.078 * max(map(len, names)), max(0.24, 0.13 * len(runs) + 0.12)
    width, height = left + 3.6, row * len(names) + 0.75
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((left / width, 0.45 / height, 1 - (left + 0.25) / width, row * len(names) / height))
    step = 0.8 / len(runs)
    for index, (place, numbers) in enumerate(runs.items()):
        for at, group in ((at, group) for at, group in enumerate(names) if group in numbers):
            draw_interval(
                axes, at + (index - (len(runs) - 1) / 2) * step, numbers[group], measure, choose_color(place), step
            )
    style_axes(axes, "x")
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_ylim(len(names) - 0.4, -0.6)  # the first name stands above
    scale_axis(axes, "x", measure)
    axes.set_title(write_title(name, measure), fontsize=9, color=INK, loc="left", parse_math=False)
    return render_svg(figure, f"{name} by {by} with 95 % intervals")


def draw_interval(axes: Axes, at: float, number: Interval, measure: Measure, ink: str, thickness: float) -> None:
    """Draw a horizontal bar (shares) or a point, and the interval if there is one."""
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
    """Scale an axis: 0 to 100 % for shares; else about ``steps`` round ticks, and a line at 0 if it is in range."""
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


def write_title(name: str, measure: Measure) -> str:
    """Write the title of a plot: name, unit, and which direction is better, except for shares where higher is."""
    unit = f", {measure.unit}" if measure.unit else ""
    direction = "" if measure.kind == "share" and measure.better == "higher" else f" ({measure.better} is better)"
    return f"{name}{unit}{direction}"


def draw_curves(tag: str, curves: Mapping[int, Curve], measure: Measure | None = None) -> str:
    """Draw one scalar of several runs over training steps.

    Args:
        tag: of the scalar.
        curves: place of the run in the report -> its points.
        measure: the measure that the tag names, if it names one.
    """
    figure, axes = make_axes(4.4, 2.7)
    for place, curve in curves.items():
        points = thin_curve(curve)
        marker = "o" if len(points) <= 20 else ""
        axes.plot(
            *zip(*points, strict=True),
            color=choose_color(place),
            linestyle=choose_line(place),
            linewidth=1.6,
            marker=marker,
            markersize=3.5,
        )
    label_steps(axes, tag, measure)
    return render_svg(figure, f"{tag} over training steps")


def label_steps(axes: Axes, tag: str, measure: Measure | None) -> None:
    """Write title and step axis, and scale the value axis of a measure."""
    title = tag if measure is None else write_title(tag, measure)
    axes.set_title(title, fontsize=10, color=INK, loc="left", parse_math=False)
    axes.set_xlabel("step", color=INK)
    axes.margins(x=0.02)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if measure is not None:
        scale_axis(axes, "y", measure)


def find_measure(tag: str, measures: Mapping[str, Measure]) -> Measure | None:
    """Find the measure that a tag such as ``val/success`` names; ``None`` if it names none."""
    return measures.get(tag.rpartition("/")[2])


def sort_curves(
    scalars: Mapping[int, Mapping[str, Logged]], measures: Mapping[str, Measure], hidden: Container[str] = ()
) -> dict[str, dict[int, Logged]]:
    """Group what was logged by tag, in the order of a report: measures, losses, their sums, then all other tags.

    Args:
        scalars: place of the run in the report -> tag -> what was logged.
        measures: by name.
        hidden: measures that the task doesn't grade.

    Returns:
        Tag -> place of the run -> what was logged. The sum of a single loss equals that loss and is left out, and so is
        what is no measure and 0 throughout, as the loss of a head that isn't there.
    """

    places = {name: place for place, name in enumerate(measures)}

    def order(tag: str) -> tuple[bool, int, bool, str]:
        return not is_of_learning(tag), places.get(tag.rpartition("/")[2], len(places)), tag.endswith("/loss"), tag

    by_tag: dict[str, dict[int, Logged]] = {}
    for tag in sorted({tag for curves in scalars.values() for tag in curves}, key=order):
        if tag.rpartition("/")[2] in hidden:
            continue
        curves = {place: logged[tag] for place, logged in scalars.items() if tag in logged}
        if is_of_learning(tag) and find_measure(tag, measures) is None and not any(map(list_nonzero, curves.values())):
            continue
        if not tag.endswith("/loss") or curves not in by_tag.values():
            by_tag[tag] = curves
    return by_tag


def list_nonzero(logged: Any) -> list[float]:
    """Values of a curve, or of several, that aren't 0."""
    curves = [logged] if logged and isinstance(logged[0][0], int | float) else logged
    return [value for curve in curves for _, value in curve if value]


def is_of_learning(tag: str) -> bool:
    """Whether a tag belongs to training or validation, unlike speed and memory."""
    return tag.startswith(("train/", "val/"))


def thin_curve(curve: Curve) -> list[tuple[float, float]]:
    """Average neighboring points until at most ``MAX_POINTS`` are left; shorter curves stay as they are."""
    size = -(-len(curve) // MAX_POINTS)
    chunks = [curve[first : first + size] for first in range(0, len(curve), size or 1)]
    return [(sum(x for x, _ in chunk) / len(chunk), sum(y for _, y in chunk) / len(chunk)) for chunk in chunks]


def make_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """Make a figure of this size in inches, with empty axes in the page's color."""
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0.6 / width, 0.45 / height, 1 - 0.85 / width, 1 - 0.75 / height))
    return figure, style_axes(axes)


def style_axes(axes: Axes, grid: Literal["x", "y"] = "y") -> Axes:
    """Style axes: the page's color, grid lines for one axis, no frame except at the bottom."""
    axes.patch.set_visible(False)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(INK)
    axes.tick_params(colors=INK, labelsize=9)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis=grid, color=INK, alpha=0.15, linewidth=0.8)
    axes.set_axisbelow(True)
    return axes


def render_svg(figure: Figure, label: str) -> str:
    """Render a figure as an SVG element that shrinks with the page; equal figures give equal text."""
    page = StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
        figure.savefig(page, format="svg", transparent=True, metadata={"Date": None})
    text = page.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"/>', "", text)
    text = re.sub(r'<g id="[^"]*">', "<g>", text)  # ids must be unique in a page, and plots repeat them
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    return text.replace(
        "<svg", f'<svg role="img" aria-label="{escape(label)}" style="max-width:{100 * figure.get_figwidth():.0f}px"', 1
    )
