"""Draw ``docs/method.png``, the method in one picture: ``make pictures``, or ``python -m docs.draw_method``.

Coordinates are pixels of a picture 900 wide, y downwards; it is saved at twice that size.
"""

from itertools import islice
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.path import Path as Curve
from PIL import Image

from data_modules.vsp.maze import random_mazes, shortest_plan, walk
from data_modules.vsp.pictures import draw_maze, draw_path

WIDTH, HEIGHT = 900, 696
Color = tuple[str, str]
"""Fill and edge."""
TOKEN, TARGET = ("#f4f5f7", "#6b7280"), ("#dcf0df", "#2f8543")
HELPER, HIDDEN = ("#fde0c4", "#d9731a"), ("#d3e3f7", "#2563ae")
MODEL, INK, QUIET, GRADIENT = ("#ebe8f5", "#6d5fa8"), "#1f2430", "#667085", "#c81e1e"

LABEL, MAZE, QUESTION, ASSISTANT, START, END, ANSWER = 12, 162, 244, 325, 402, 694, 812
LATENTS = (469, 523, 577, 631)
"""Middles of the columns."""
DOTS = (ASSISTANT, START, *LATENTS, END, 752, 792, 832, 872)
"""Columns whose output predicts something."""
LATENT_START, LATENT_END, BOXED = "<|latent_\nstart|>", "<|latent_\nend|>", "\\boxed{RIGHT, DOWN, …}"
UP, DOWN = 46, 77
"""How far targets lie above a band's outputs, and inputs below them."""


class Sheet:
    """A white page to draw boxes, arrows and pictures on.

    Args:
        width: of the page, in the pixels that everything on it is measured in.
        height: likewise.
    """

    def __init__(self, width: int = WIDTH, height: int = HEIGHT) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / 100, height / 100), dpi=200)
        FigureCanvasAgg(self.figure)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.axis("off")

    def text(self, x: float, y: float, words: str, size: float = 7.5, color: str = INK, align: str = "center") -> None:
        """Write words around (x, y); ``align`` says which side of them x is. From 10 points on they are bold."""
        weight = "bold" if size >= 10 else "normal"
        self.axes.text(x, y, words, fontsize=size, color=color, ha=align, va="center", weight=weight, parse_math=False)

    def box(self, x: float, y: float, width: float, height: float, words: str, color: Color, size: float = 7.4) -> None:
        """Draw a rounded box with its middle at (x, y)."""
        shape = "round,pad=0,rounding_size=4"
        corner = (x - width / 2, y - height / 2)
        self.axes.add_patch(FancyBboxPatch(corner, width, height, shape, fc=color[0], ec=color[1], lw=0.9, zorder=2.5))
        self.text(x, y, words, size)

    def arrow(self, x: float, y: float, to_x: float, to_y: float, color: str = QUIET, style: str = "-|>") -> None:
        """Draw a straight arrow."""
        line = FancyArrowPatch((x, y), (to_x, to_y), arrowstyle=style, mutation_scale=6, shrinkA=0, shrinkB=0)
        line.set(color=color, linewidth=0.9, zorder=2.4)
        self.axes.add_patch(line)

    def feed(self, x: float, y: float, to_x: float, to_y: float, color: str) -> None:
        """Draw an S-shaped arrow from an output to the left side of the next column's input."""
        middle = (x + to_x) / 2
        points = [(x, y), (middle + 4, y), (middle - 8, to_y), (to_x - 4, to_y)]
        curve = Curve(points, [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4])
        self.axes.add_patch(FancyArrowPatch(path=curve, arrowstyle="-", ec=color, fc="none", lw=1.4, zorder=2.6))
        self.arrow(to_x - 5, to_y, to_x, to_y, color)

    def picture(self, image: Image.Image, x: float, y: float, size: float, cells: int) -> None:
        """Place a square image with its middle at (x, y), cut into ``cells`` by ``cells`` patches."""
        left, top = x - size / 2, y - size / 2
        edges = (left, left + size, top + size, top)
        self.axes.imshow(np.asarray(image), extent=edges, interpolation="lanczos", zorder=2.5)
        for offset in (size * line / cells for line in range(1, cells)):
            self.axes.plot([left + offset] * 2, [top, top + size], color=TOKEN[1], lw=0.6, zorder=2.6)
            self.axes.plot([left, left + size], [top + offset] * 2, color=TOKEN[1], lw=0.6, zorder=2.6)
        self.axes.add_patch(Rectangle((left, top), size, size, fill=False, ec=TOKEN[1], lw=0.9, zorder=2.7))

    def save(self, file: Path) -> None:
        """Write a PNG of 256 colours."""
        self.axes.set(xlim=(0, self.width), ylim=(self.height, 0), aspect="auto")
        self.figure.savefig(file, facecolor="white")
        with Image.open(file) as image:
            image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)


def draw_band(sheet: Sheet, y: float, maze: Image.Image, latents: Color, model: str, name: str, lines: str) -> None:
    """Draw what all bands share: name, input sequence, language model, and its outputs at height ``y``."""
    sheet.text(LABEL, y - UP, name, 12, align="left")
    sheet.axes.text(LABEL, y - 29, lines, fontsize=7.8, color=INK, va="top", linespacing=1.5, parse_math=False)
    sheet.box(512, y + 25, 760, 24, "", MODEL)
    sheet.text(142, y + 25, model, 8, align="left")
    inputs = y + DOWN
    sheet.picture(maze, MAZE, inputs + 12, 60, 4)
    sheet.box(QUESTION, inputs, 90, 40, "Write the shortest\nsafe path to the\ngoal in \\boxed{}.", TOKEN, 7)
    sheet.text(198, inputs + 32, "← image patches", 7, QUIET, "left")
    sheet.box(ASSISTANT, inputs, 58, 32, "assistant", TOKEN)
    sheet.box(START, inputs, 60, 32, LATENT_START, TOKEN)
    for number, x in enumerate(LATENTS, start=1):
        sheet.box(x, inputs, 32, 32, f"L{number}", latents, 9)
    sheet.box(END, inputs, 60, 32, LATENT_END, TOKEN)
    sheet.box(ANSWER, inputs, 160, 32, BOXED, TOKEN, 8)
    for x in (MAZE, QUESTION, *DOTS):
        sheet.arrow(x, inputs - {MAZE: 18, QUESTION: 20}.get(x, 16), x, y + 38)
    for x in DOTS:
        sheet.arrow(x, y + 13, x, y + 4, style="-")
        sheet.axes.add_patch(Circle((x, y), 4.5, fc=HIDDEN[0], ec=HIDDEN[1], lw=1.1, zorder=3))


def draw_words(sheet: Sheet, y: float, loss: str, color: Color) -> None:
    """Draw the text that the outputs at height ``y`` predict, and the loss between both."""
    sheet.box(ASSISTANT, y - UP, 60, 30, LATENT_START, color)
    sheet.box(LATENTS[-1] + 3, y - UP, 54, 30, LATENT_END, color, 7.2)
    sheet.box(780, y - UP, 224, 30, f"{BOXED} <|im_end|>", color, 8)
    for x in (ASSISTANT, *DOTS[5:]):
        sheet.arrow(x, y - 6, x, y - 30, color[1], "<|-|>" if loss else "-|>")
        if loss and x in (ASSISTANT, LATENTS[-1], END):
            sheet.text(x + 5, y - 18, loss, 7.5, color[1], "left")


def draw_feedback(sheet: Sheet, y: float) -> None:
    """Draw the recurrence: the hidden state of each column becomes the next latent."""
    for before, x in zip((START, *LATENTS), LATENTS, strict=False):
        sheet.feed(before + 5, y, x - 16, y + DOWN, HIDDEN[1])


def draw_stage1(sheet: Sheet, y: float, maze: Image.Image, helper: Image.Image) -> None:
    """Draw stage 1: helper image, frozen vision tower, compression, latents as inputs and as targets."""
    lines = "Latents are the\ncompressed\nhelper image,\nteacher-forced.\n\nloss = 0.1 CE\n+ mean (1 − cos)"
    draw_band(sheet, y, maze, HELPER, "language model (trained)", "Stage 1", lines)
    draw_words(sheet, y, "CE", TARGET)
    row = y - 102
    sheet.picture(helper, MAZE, row, 60, 1)
    sheet.text(MAZE - 37, row, "helper\nimage", 7.8, QUIET, "right")
    sheet.box(QUESTION + 6, row, 78, 36, "vision tower\n(frozen)", TOKEN, 8)
    sheet.box(354, row, 84, 36, "compression\ninto k = 4", TOKEN, 8)
    sheet.arrow(MAZE + 31, row, QUESTION - 34, row)
    sheet.arrow(QUESTION + 46, row, 311, row)
    sheet.arrow(397, row, LATENTS[2], row, HELPER[1], "-")
    for number, (before, x) in enumerate(zip((START, *LATENTS), LATENTS, strict=False), start=1):
        sheet.arrow(before, row, before, y - UP - 16, HELPER[1])
        sheet.box(before, y - UP, 32, 30, f"L{number}", HELPER, 9)
        sheet.arrow(before, y - 6, before, y - 30, HELPER[1], "<|-|>")
        sheet.text(before - 5, y - 18, "cos", 7.5, HELPER[1], "right")
        sheet.feed(before + 16, y - UP, x - 16, y + DOWN, HELPER[1])


def draw_stage2(sheet: Sheet, y: float, maze: Image.Image) -> None:
    """Draw stage 2: hidden states fed back, gradient through all of them."""
    lines = "Latents are the\nmodel's own\nhidden states,\nfed back.\n\nloss = CE"
    draw_band(sheet, y, maze, HIDDEN, "language model (trained, from stage 1)", "Stage 2", lines)
    draw_words(sheet, y, "CE", TARGET)
    draw_feedback(sheet, y)
    sheet.text(486, y - 50, "the gradient of CE runs back\nthrough all latents", 7.8, GRADIENT)
    sheet.arrow(596, y - 26, START - 16, y - 26, GRADIENT)


def draw_decoding(sheet: Sheet, y: float, maze: Image.Image) -> None:
    """Draw decoding: the same recurrence, and every word fed back as a token."""
    lines = "The same\nrecurrence:\nk latents, then\ntext again."
    draw_band(sheet, y, maze, HIDDEN, "language model", "Decoding", lines)
    draw_words(sheet, y, "", TOKEN)
    draw_feedback(sheet, y)
    sheet.feed(ASSISTANT + 30, y - UP, START - 30, y + DOWN, TOKEN[1])
    sheet.feed(LATENTS[-1] + 30, y - UP, END - 30, y + DOWN, TOKEN[1])
    for left, right, words in ((132, 354, "prompt"), (372, 724, "latent block, k = 4"), (732, 892, "answer")):
        sheet.arrow(left, y + 130, right, y + 130, QUIET, "|-|,widthA=0.5,widthB=0.5")
        sheet.text((left + right) / 2, y + 141, words, 8, QUIET)


def main(file: Path) -> None:
    """Draw the whole picture."""
    grid = next(islice(random_mazes(4, 0.25, 1), 342, None))
    maze = draw_maze(grid, 64)
    helper = draw_path(maze, walk(grid, shortest_plan(grid) or []), 64)
    sheet = Sheet()
    draw_stage1(sheet, 142, maze, helper)
    draw_stage2(sheet, 348, maze)
    for line in (276, 473):
        sheet.arrow(LABEL, line, WIDTH - 8, line, "#d8dbe2", "-")
    draw_decoding(sheet, 546, maze)
    sheet.save(file)
    print(f"picture of the method: {file}")


if __name__ == "__main__":
    main(Path(__file__).with_name("method.png"))
