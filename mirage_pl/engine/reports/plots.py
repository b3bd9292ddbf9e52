"""How a report looks: its page and tables, embedded pictures, and plots as SVG.

Plots take the page's text colour, so dark mode works. Runs are told apart by ``COLORS`` in order, and past the last of
these by ``LINES``; the page says which is which, so a plot has no legend of its own. Arguments that end in ``_html``
are markup; all others are escaped.
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from io import StringIO
from pathlib import Path
from typing import Literal, TypeVar

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

COLORS = ("#3b82d6", "#e07b00", "#169a78", "#b35ac8", "#a88a00", "#d4568c", "#3aa0b5", "#8a8f98")
"""One a run, readable on white and on black; none is the green or red of a verdict."""
LINES = ("solid", "dashed", "dotted")
"""One for each time round the colours."""
INK = "#010203"  # stands for the page's text colour until the SVG is written
MAX_POINTS = 200

Curve = Sequence[tuple[int, float]]
"""(step, value), by step."""
Logged = TypeVar("Logged")
STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1d2329; --soft: #5b6570; --line: #d9dfe5; --tint: #eef2f6;
  --good: #1a7f37; --bad: #c62828 }
@media (prefers-color-scheme: dark) { :root { --page: #101419; --ink: #e4e8ec; --soft: #9aa5b0; --line: #323a43;
  --tint: #1d242c; --good: #4ac26b; --bad: #ff7b72 } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 70rem; background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 } h2 { font-size: 1.2rem; margin: 2.5rem 0 .6rem }
h3 { font-size: 1rem; margin: 1.6rem 0 .4rem }
small, .note, figcaption { color: var(--soft); font-size: .85rem } h3 small, th small { font-weight: normal }
.verdict { font-size: 1.15rem; margin: .8rem 0; padding-left: .8rem; border-left: 4px solid #3b82d6;
  white-space: pre-line }
.scroll { overflow-x: auto } table { border-collapse: collapse; overflow-wrap: normal }
th, td { padding: .4rem .9rem .4rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line) }
td { font-variant-numeric: tabular-nums; min-width: 6.5rem } th { font-weight: 600 }
td small, th small { display: block }
td > b { font-weight: inherit; white-space: nowrap } thead th:not(:first-child) { max-width: 14rem;
  overflow-wrap: anywhere }
.dense { font-size: .92rem; width: max-content; min-width: 100%; max-width: calc(100vw - 2rem); position: relative;
  left: 50%; transform: translateX(-50%) } .dense td, .dense th { padding-right: .7rem; min-width: 0 }
.dense td small { white-space: pre-line } .dense .run { white-space: nowrap }
.dense thead th:not(:first-child) { overflow-wrap: normal }
.bar { display: block; width: 6rem; height: .4rem; margin-top: .2rem; border-radius: 2px; background: var(--tint) }
.bar i { display: block; height: 100%; border-radius: 2px; background: var(--soft) }

.run i { display: inline-block; width: 1.5em; margin: 0 .4em .25em 0 }
.legend .run { display: inline-block; margin-right: 1.2rem } svg { display: block; width: 100%; height: auto }
svg text { font-family: inherit !important } .bars { max-width: 44rem }
.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); gap: 1rem }
.answers { display: grid; grid-template-columns: repeat(auto-fill, minmax(7rem, 1fr)); gap: 1rem .8rem }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 32rem), 1fr)); gap: 0 2rem }
figure { margin: 0; max-width: 15rem } figure img, .empty { display: block; width: 100%; border-radius: 4px }
.empty { aspect-ratio: 1; background: var(--tint); color: var(--soft); padding: .6rem; font-size: .85rem }
.good, .bad { display: block; font-weight: 600; color: var(--good) } .bad { color: var(--bad) }
code { font: .82rem/1.4 ui-monospace, monospace; white-space: pre-wrap; color: var(--ink) }
figcaption code { display: block }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .2rem 1rem; margin: 0 } dd { margin: 0 }
dt { color: var(--soft) }
"""


def write_page(file: Path, title: str, verdict: str, sections_html: Mapping[str, str]) -> None:
    """Write a page that loads nothing from elsewhere and runs no script.

    Args:
        file: where to.
        title: its heading.
        verdict: the sentences below; each may have a line of its own.
        sections_html: heading -> content.
    """
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f'<body><h1>{escape(title)}</h1><p class="verdict">{escape(verdict)}</p>'
    )
    page += "".join(f"\n<section><h2>{escape(name)}</h2>{html}</section>" for name, html in sections_html.items())
    write(file, (page + "</body></html>\n").encode(errors="replace"))


def write(file: Path, content: bytes) -> None:
    """Write beside and rename, so that a kill leaves the old file or the new one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(file)


def label(run: int, name: str) -> str:
    """A run's name behind a piece of its line."""
    return f'<span class="run"><i style="border-top: .2em {line(run)} {color(run)}"></i>{escape(name)}</span>'


def table(heads_html: Iterable[str], rows_html: Iterable[tuple[str, Sequence[str]]]) -> str:
    """Lay out a table: a row's first entry is its heading."""
    head = "".join(f'<th scope="col">{html}</th>' for html in heads_html)
    body = "".join(
        f'<tr><th scope="row">{name}</th>{"".join(f"<td>{html}</td>" for html in cells)}</tr>'
        for name, cells in rows_html
    )
    return f'<div class="scroll"><table><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def cell(value: str, detail: str) -> str:
    """A number with its interval below."""
    return f"<b>{escape(value)}</b> <small>{escape(detail)}</small>"


def picture(file: Path, text: str) -> str:
    """Embed a PNG, or say that there is none."""
    if not file.is_file():
        return '<div class="empty">no picture</div>'
    return f'<img alt="{escape(text)}" src="data:image/png;base64,{b64encode(file.read_bytes()).decode()}">'


def read_curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Read every TensorBoard scalar in a folder; empty if there is none.

    A run that was resumed repeats the steps since its checkpoint: the later value counts.
    """
    if not any(folder.glob("events.out.tfevents.*")):
        return {}
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    curves = {}
    for tag in events.Tags()["scalars"]:
        by_time = sorted(events.Scalars(tag), key=lambda event: event.wall_time)
        curves[tag] = sorted({event.step: event.value for event in by_time}.items())
    return curves


def color(run: int) -> str:
    """Colour of the run at this place in the report."""
    return COLORS[run % len(COLORS)]


def line(run: int) -> str:
    """How the line of the run at this place is drawn."""
    return LINES[run // len(COLORS) % len(LINES)]


def draw_bars(groups: Sequence[str], runs: Sequence[Mapping[str, Mapping[str, float]]], by: str = "group") -> str:
    """Draw a bar and its interval for every group and run; a run without a group leaves a gap.

    Args:
        groups: what stands below the bars.
        runs: of each run, group -> ``mean``, ``low``, ``high`` between 0 and 1.
        by: what the groups are; no two plots of a page may say the same.
    """
    figure, axes = blank(5.4, 2.8)
    width = 0.8 / len(runs)
    for index, shares in enumerate(runs):
        places = [place for place, group in enumerate(groups) if group in shares]
        means, lows, highs = ([shares[groups[place]][key] for place in places] for key in ("mean", "low", "high"))
        errors = [
            [max(0.0, mean - low) for mean, low in zip(means, lows, strict=True)],
            [max(0.0, high - mean) for mean, high in zip(means, highs, strict=True)],
        ]
        x = [place + (index - (len(runs) - 1) / 2) * width for place in places]
        axes.bar(x, means, width * 0.9, color=color(index))
        axes.errorbar(x, means, yerr=errors, fmt="none", ecolor=INK, elinewidth=1.2, capsize=3)
    axes.set_xticks(range(len(groups)), groups, parse_math=False)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    return svg(figure, f"Success by {by} with 95 % intervals")


def draw_curves(name: str, curves: Mapping[int, Curve]) -> str:
    """Draw one scalar of several runs over training steps.

    Args:
        name: its TensorBoard tag.
        curves: place of the run in the report -> its values.
    """
    figure, axes = blank(4.4, 2.7)
    for run, curve in curves.items():
        points = thin(curve)
        marker = "o" if len(points) <= 20 else ""
        axes.plot(
            *zip(*points, strict=True),
            color=color(run),
            linestyle=line(run),
            linewidth=1.6,
            marker=marker,
            markersize=3.5,
        )
    describe(axes, name)
    return svg(figure, f"{name} over training steps")


def describe(axes: Axes, tag: str) -> None:
    """Say what curves show; success is in percent."""
    axes.set_title(tag, fontsize=10, color=INK, loc="left", parse_math=False)
    axes.set_xlabel("step", color=INK)
    axes.margins(x=0.02)
    if tag.endswith("/success"):
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1))


def draw_all_curves(scalars: Mapping[int, Mapping[str, Curve]]) -> list[str]:
    """Draw each scalar of training and validation; arguments as of :func:`comparable`."""
    return [draw_curves(tag, curves) for tag, curves in comparable(scalars).items()]


def comparable(scalars: Mapping[int, Mapping[str, Logged]]) -> dict[str, dict[int, Logged]]:
    """Turn what was logged in training and validation round: success, then losses by name, then their sums.

    Args:
        scalars: place of the run in the report -> TensorBoard tag -> what was logged.

    Returns:
        Tag -> place of the run -> what was logged; a sum of one loss, which is that loss, is left out.
    """
    tags = {tag for curves in scalars.values() for tag in curves if tag.startswith(("train/", "val/"))}
    turned: dict[str, dict[int, Logged]] = {}
    for tag in sorted(tags, key=lambda tag: (not tag.endswith("/success"), tag.endswith("/loss"), tag)):
        curves = {run: named[tag] for run, named in scalars.items() if tag in named}
        if curves not in turned.values():
            turned[tag] = curves
    return turned


def thin(curve: Curve) -> list[tuple[float, float]]:
    """Average equal runs of neighbours until at most ``MAX_POINTS`` are left; a short curve stays as it is."""
    size = -(-len(curve) // MAX_POINTS)
    chunks = [curve[first : first + size] for first in range(0, len(curve), size or 1)]
    return [(sum(x for x, _ in chunk) / len(chunk), sum(y for _, y in chunk) / len(chunk)) for chunk in chunks]


def blank(width: float, height: float) -> tuple[Figure, Axes]:
    """Make empty axes in the page's colour; inches."""
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0.5 / width, 0.45 / height, 1 - 0.6 / width, 1 - 0.75 / height))
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
    """Write a figure as an SVG element that scales with the page; the same figure gives the same text."""
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
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)
