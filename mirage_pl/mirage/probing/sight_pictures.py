"""Draw latents: heat maps on images, a plane of vectors, and distributions. No model is needed.

Pictures have a white background, at most 256 colors, and the width of a report.

Shapes: k latents of one block, P points, R rows and C columns of an image's merged features, Q rows of the test set.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import log10

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullFormatter, PercentFormatter
from PIL import Image, ImageOps
from torch import Tensor

WIDTH, DPI = 9.6, 100
"""Width of pictures in inches, and pixels per inch."""
ACROSS, MAX_LINES = 8, 4
"""Most latents in one line, and most lines in one picture; further lines are left out."""
CELL, CAPTION, TITLE = 1.6, 0.52, 0.32
"""Inches: largest side of a picture, height of the caption below it, height of the title."""
MAX_SHOWN = 100
"""Most rows and columns of the similarities that are drawn."""
ATTENTION, RESEMBLANCE = "#d1242f", "#0b57d0"
COLORS = ("#3b82d6", "#169a78", "#e07b00", "#7c4dce", "#c2255c")
MARKERS = ("s", "D", "^", "v", "o")
INK, SOFT = "#1d2329", "#5b6570"


@dataclass(frozen=True)
class Strip:
    """A picture and, for each latent, the same picture under a heat map.

    Attributes:
        picture: the image.
        label: what the strip shows.
        heat_kRC: heat of each latent, spread over the picture; values below 0 aren't drawn.
        captions: the text below each heat map.
        color: of the heat.
        marks: cells (row, column) to outline in each heat map, the first the boldest.
    """

    picture: Image.Image
    label: str
    heat_kRC: Tensor
    captions: Sequence[str]
    color: str
    marks: Sequence[Sequence[tuple[int, int]]] = ()

    def lines(self) -> Iterator["Strip"]:
        """Break the strip into lines of at most ``ACROSS`` latents."""
        for first in range(0, len(self.heat_kRC), ACROSS):
            part = slice(first, first + ACROSS)
            yield replace(self, heat_kRC=self.heat_kRC[part], captions=self.captions[part], marks=self.marks[part])


def draw_strips(title: str, strips: Sequence[Strip]) -> Image.Image:
    """Draw strips below each other.

    All strips of one color share a scale, whose top is their highest value.

    Args:
        title: the heading; shortened if too long.
        strips: at least one.
    """
    tops = {strip.color: max(s.heat_kRC.max().item() for s in strips if s.color == strip.color) for strip in strips}
    lines = [line for strip in strips for line in strip.lines()]
    if len(lines) > MAX_LINES:
        title, lines = f"{shorten(title, 90)}  (the first {MAX_LINES} of {len(lines)} lines)", lines[:MAX_LINES]
    cell = min(CELL, WIDTH / (1 + max(len(line.heat_kRC) for line in lines)))
    sides = [cell * min(1.0, line.picture.height / line.picture.width) for line in lines]
    height = TITLE + sum(sides) + CAPTION * len(lines)
    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    figure.text(0, 1 - 0.16 / height, shorten(title, 115), fontsize=9, color=INK, va="center", parse_math=False)
    bottom = height - TITLE
    for line, side in zip(lines, sides, strict=True):
        bottom -= side
        draw_line(figure, line, tops[line.color], (0, bottom, 0.95 * cell, 0.95 * side))
        bottom -= CAPTION
    return render_figure(figure)


def draw_line(figure: Figure, line: Strip, top: float, box: tuple[float, float, float, float]) -> None:
    """Draw one line of pictures.

    Args:
        figure: to draw on.
        line: a strip of at most ``ACROSS`` latents.
        top: the value with the strongest color.
        box: left, bottom, width, height of the first picture, in inches.
    """
    left, bottom, width, height = box
    picture, limits = line.picture.convert("RGB"), (0, line.picture.width, line.picture.height, 0)
    picture.thumbnail((int(2 * width * DPI), int(2 * width * DPI)), Image.Resampling.BOX)
    across, down = figure.get_size_inches()
    for column, text in enumerate([line.label, *line.captions]):
        at = left + column * width / 0.95
        axes = figure.add_axes((at / across, bottom / down, width / across, height / down), anchor="SW")
        axes.set_axis_off()
        axes.imshow(fade_picture(picture) if column else picture, extent=limits, interpolation="nearest")
        if column:
            marks = line.marks[column - 1] if line.marks else ()
            draw_heat(axes, line.heat_kRC[column - 1] / max(top, 1e-12), line.color, limits, marks)
        figure.text(at / across, (bottom - 0.04) / down, text, fontsize=8, color=SOFT, va="top", linespacing=1.15)


def fade_picture(picture: Image.Image) -> Image.Image:
    """Make a pale copy in 16 greys, on which heat is visible."""
    grey = ImageOps.posterize(ImageOps.grayscale(picture), 4)
    return Image.blend(grey.convert("RGB"), Image.new("RGB", picture.size, "white"), 0.55)


def draw_heat(
    axes: Axes, heat_RC: Tensor, color: str, limits: tuple[float, float, float, float], marks: Sequence[tuple[int, int]]
) -> None:
    """Draw heat (1: the strongest) and outlines over a picture."""
    rows, columns = heat_RC.shape
    overlay = np.empty((rows, columns, 4))
    overlay[..., :3] = to_rgb(color)
    overlay[..., 3] = 0.85 * heat_RC.clamp(0, 1).double().numpy()
    axes.imshow(overlay, extent=limits, interpolation="nearest")
    width, height = limits[1] / columns, limits[2] / rows
    for rank, (row, column) in enumerate(marks):
        place = (column + 0.02) * width, (row + 0.02) * height
        side = 0.96 * width, 0.96 * height
        axes.add_patch(Rectangle(place, *side, fill=False, edgecolor=INK, linewidth=1.8 / (rank + 1)))


def draw_plane(coordinates: Mapping[str, Tensor], shares: Sequence[float]) -> Image.Image:
    """Draw points of several kinds in one plane.

    Args:
        coordinates: ``[P, 2]`` by kind; the last is drawn on top.
        shares: share of the variance on each axis.
    """
    figure = Figure(figsize=(WIDTH, 5.2), dpi=DPI)
    axes = style_axes(figure.add_axes((0.06, 0.1, 0.68, 0.82)), "Latents among words and images")
    for index, (name, points_P2) in enumerate(coordinates.items()):
        x, y = points_P2.double().numpy().T
        points = axes.scatter(x, y, s=22, color=COLORS[index], marker=MARKERS[index], alpha=0.65, linewidths=0)
        points.set_label(f"{name} ({len(points_P2)})")
    axes.set_xlabel(f"first principal axis, {shares[0]:.0%} of the variance", fontsize=8, color=SOFT)
    axes.set_ylabel(f"second principal axis, {shares[1]:.0%}", fontsize=8, color=SOFT)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=9, labelcolor=INK)
    return render_figure(figure)


def draw_geometry(
    cosines: Mapping[str, Tensor], spectrum: Tensor, norms: Mapping[str, Tensor], similarities_QQ: Tensor | None
) -> Image.Image:
    """Draw distributions of latents as vectors.

    Args:
        cosines: cosines of pairs of latents, by kind of pair.
        spectrum: singular values as shares of their sum, descending.
        norms: lengths, by kind of vector.
        similarities_QQ: cosine of each row's latents to each row's helper image; ``None``: not drawn.
    """
    figure = Figure(figsize=(WIDTH, 6.4), dpi=DPI)
    panels = [style_axes(each) for each in figure.subplots(2, 2).flat]
    figure.subplots_adjust(left=0.06, right=0.955, bottom=0.08, top=0.95, hspace=0.32, wspace=0.2)
    draw_histograms(panels[0], "Cosine of two latents", cosines, torch.linspace(-1, 1, 81))
    draw_spectrum(panels[1], spectrum)
    lengths = torch.cat(list(norms.values())).double().clamp(min=1e-6)
    edges = torch.logspace(log10(lengths.min()) - 0.05, log10(lengths.max()) + 0.05, 61, dtype=torch.float64)
    draw_histograms(panels[2], "Length", norms, edges)
    panels[2].set_xscale("log")
    panels[2].xaxis.set_minor_formatter(NullFormatter())
    if similarities_QQ is None:
        panels[3].set_axis_off()
    else:
        draw_similarities(panels[3], similarities_QQ)
    return render_figure(figure)


def draw_histograms(axes: Axes, title: str, values: Mapping[str, Tensor], edges: Tensor) -> None:
    """Draw histograms, as shares, of several kinds of values in the same bins."""
    axes.set_title(title, fontsize=9, color=INK, loc="left")
    for color, (name, numbers) in zip(COLORS[::-1], values.items(), strict=False):
        counts, _ = np.histogram(numbers.double().numpy(), edges.double().numpy())
        shares = counts / max(1, len(numbers))
        axes.stairs(shares, edges.numpy(), fill=True, alpha=0.35, color=color, label=name)
        axes.stairs(shares, edges.numpy(), color=color, linewidth=0.9)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="upper left")
    axes.set_ylim(0, 1.35 * axes.get_ylim()[1])
    axes.set_yticks([tick for tick in axes.get_yticks() if tick <= 1.001])


def draw_spectrum(axes: Axes, spectrum: Tensor) -> None:
    """Draw singular values on a logarithmic scale, except those that are only rounding errors."""
    effective = torch.special.entr(spectrum).sum().exp()
    title = f"Singular values, share of their sum: effective rank {effective:.1f} of {len(spectrum)}"
    axes.set_title(title, fontsize=9, color=INK, loc="left")
    values = spectrum[spectrum > 1e-6].double().numpy()
    axes.plot(
        range(1, len(values) + 1), values, color=COLORS[-1], linewidth=1.6, marker="o" if len(values) < 30 else ""
    )
    axes.set_yscale("log")
    axes.yaxis.set_minor_formatter(NullFormatter())


def draw_similarities(axes: Axes, similarities_QQ: Tensor) -> None:
    """Draw the cosine of each row's latents to each row's helper image."""
    hits = (similarities_QQ.argmax(1) == torch.arange(len(similarities_QQ))).double().mean()
    title = f"Latents to helper images: own is nearest in {hits:.0%} of {len(similarities_QQ)} rows"
    axes.set_title(title, fontsize=9, color=INK, loc="left")
    cosines = similarities_QQ[:MAX_SHOWN, :MAX_SHOWN].double().numpy()
    top = float(np.abs(cosines).max())
    axes.grid(False)
    picture = axes.imshow(cosines, cmap="RdBu_r", vmin=-top, vmax=top, interpolation="nearest", aspect="auto")
    axes.set_xlabel("helper image of row", fontsize=8, color=SOFT)
    axes.set_ylabel("latents of row", fontsize=8, color=SOFT)
    bar = axes.figure.colorbar(picture, ax=axes, fraction=0.046, pad=0.03)
    bar.ax.tick_params(labelsize=8, colors=SOFT)


def style_axes(axes: Axes, title: str = "") -> Axes:
    """Style axes plainly, with a title."""
    axes.set_title(title, fontsize=9, color=INK, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(SOFT)
    axes.tick_params(colors=SOFT, labelsize=8)
    axes.grid(color=SOFT, alpha=0.15, linewidth=0.8)
    axes.set_axisbelow(True)
    return axes


def shorten(text: str, length: int) -> str:
    """Put a text on one line of at most ``length`` printable characters; untrained models write control characters."""
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return text if len(text) <= length else f"{text[: length - 1]}…"


def render_figure(figure: Figure) -> Image.Image:
    """Render a figure with 256 colors: a third of the bytes, with hardly a visible difference."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(256, dither=Image.Dither.NONE)
