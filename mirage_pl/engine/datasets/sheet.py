"""A page and a picture that show some rows of each split: picture and caption."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from io import BytesIO
from pathlib import Path
from random import Random
from textwrap import wrap
from typing import Any

from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

from mirage_pl.engine.evaluation.publishing import FRAME_MS
from mirage_pl.engine.reports.page import write_file, write_page
from mirage_pl.engine.seams import Drawn

WIDTH, MARGIN = 1200, 12
"""Pixels: width of the sheet, and the margin around everything."""
FONT = 14
"""Pixels."""
MAX_FRAMES, GAP = 12, 2
"""Frames of a clip in the picture, and pixels between them; the page plays all."""
MAX_LINES = 8
"""Lines of a caption in the picture; the page has all."""


def write_sheet(folder: Path, title: str, splits: Mapping[str, Any], num_rows: int, seed: int) -> tuple[Path, Path]:
    """Write ``sheet.html`` and ``sheet.png``.

    Args:
        folder: where the two files go.
        title: the heading.
        splits: split -> data set.
        num_rows: rows drawn from each split, shown in the order of the file.
        seed: of the draw.

    Raises:
        ValueError: a row can't be read; names it.
    """
    sections, strips, counts = {}, [], []
    for name, rows in splits.items():
        picks = sorted(Random(seed).sample(range(len(rows)), min(num_rows, len(rows))))
        shown = [(sample.where, rows.caption(sample), rows.picture(sample)) for sample in map(rows.__getitem__, picks)]
        sections[name] = "".join(lay_out_row(*row) for row in shown)
        strips += [draw_row(f"{name}  {where}\n{caption}", as_picture(drawn)) for where, caption, drawn in shown]
        counts.append(f"{len(shown)} of {len(rows)} rows of {name}")
    page, picture = folder / "sheet.html", folder / "sheet.png"
    write_page(page, title, f"{', '.join(counts)}, drawn with seed {seed}.", sections)
    content = BytesIO()
    stack_rows(strips).save(content, "PNG")
    write_file(picture, content.getvalue())
    return page, picture


def lay_out_row(where: str, caption: str, drawn: Drawn) -> str:
    """Lay out one row for the page."""
    content, kind = BytesIO(), "png"
    if isinstance(drawn, Image.Image):
        drawn.save(content, "PNG")
    else:
        (first, *others), kind = drawn, "gif"
        first.save(content, "GIF", save_all=True, append_images=others, duration=FRAME_MS, loop=0)
    data = b64encode(content.getvalue()).decode()
    image = f'<img alt="{escape(where)}" style="max-width: 100%" src="data:image/{kind};base64,{data}">'
    return f'<h3>{escape(where)}</h3>{image}<p style="white-space: pre-wrap">{escape(caption)}</p>'


def as_picture(drawn: Drawn) -> Image.Image:
    """A picture; of a clip, some of its frames beside each other."""
    if isinstance(drawn, Image.Image):
        return drawn
    count = min(len(drawn), MAX_FRAMES)
    frames = [drawn[number * len(drawn) // count] for number in range(count)]
    strip = Image.new("RGB", (sum(frame.width + GAP for frame in frames) - GAP, frames[0].height), "white")
    for number, frame in enumerate(frames):
        strip.paste(frame, (number * (frame.width + GAP), 0))
    return strip


def draw_row(text: str, picture: Image.Image) -> Image.Image:
    """Draw one row: its picture, with the text beside or below it."""
    if picture.width > WIDTH - 2 * MARGIN:
        picture = picture.resize((WIDTH - 2 * MARGIN, max(1, picture.height * (WIDTH - 2 * MARGIN) // picture.width)))
    left = picture.width + 2 * MARGIN
    beside = WIDTH - left >= WIDTH // 3
    width = WIDTH - (left if beside else MARGIN) - MARGIN
    lines = [line for part in text.split("\n") for line in wrap(part, max(8, width * 2 // FONT)) or [""]][:MAX_LINES]
    high, below = picture.height + MARGIN, FONT * 3 // 2 * len(lines)
    canvas = Image.new("RGB", (WIDTH, MARGIN + (max(high, below) if beside else high + below)), "white")
    canvas.paste(picture, (MARGIN, MARGIN))
    top = (left, MARGIN) if beside else (MARGIN, MARGIN + high)
    font = ImageFont.truetype(Path(get_data_path(), "fonts/ttf/DejaVuSans.ttf"), FONT)  # Pillow's own has no umlauts
    ImageDraw.Draw(canvas).multiline_text(top, "\n".join(lines), "black", font, spacing=FONT // 3)
    return canvas


def stack_rows(strips: Sequence[Image.Image]) -> Image.Image:
    """Put pictures below each other, with a thin line between them."""
    canvas = Image.new("RGB", (WIDTH, sum(image.height for image in strips) or 1), "white")
    top = 0
    for image in strips:
        canvas.paste(image, (0, top))
        top += image.height
        ImageDraw.Draw(canvas).line((0, top - 1, WIDTH, top - 1), "#d0d7de")
    return canvas
