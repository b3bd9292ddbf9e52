"""A page and a picture of some rows of each split: what is shown, what helps, what is asked and answered."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from io import BytesIO
from pathlib import Path
from random import Random
from textwrap import wrap
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from data_modules.samples import Latent, Picture, Sample, Text, open_image
from mirage_pl.engine.reports.page import write, write_page

SIDE, WIDTH, MARGIN = 168, 1200, 12
"""Pixels: a picture's longer side, the sheet, and around everything."""
FONT, FRAME = 14, "#c2255c"
"""Pixels, and the colour around helper images."""
MAX_LINES = 8
"""Lines of text of one sample in the picture; the page has all."""


def write_sheet(folder: Path, title: str, splits: Mapping[str, Any], num_rows: int, seed: int) -> tuple[Path, Path]:
    """Write ``sheet.html`` and ``sheet.png``.

    Args:
        folder: where to.
        title: the heading.
        splits: name -> data set.
        num_rows: rows drawn from each split, in order.
        seed: of the draw.

    Raises:
        ValueError: a row can't be read; names it.
    """
    drawn = {}
    for name, rows in splits.items():
        picks = sorted(Random(seed).sample(range(len(rows)), min(num_rows, len(rows))))
        drawn[name] = [rows[index] for index in picks]
    page, picture = folder / "sheet.html", folder / "sheet.png"
    sections = {name: "".join(map(block, samples)) for name, samples in drawn.items()}
    counts = ", ".join(f"{len(samples)} of {len(splits[name])} rows of {name}" for name, samples in drawn.items())
    write_page(page, title, f"{counts}, drawn with seed {seed}.", sections)
    content = BytesIO()
    stack([strip(sample, name) for name, samples in drawn.items() for sample in samples]).save(content, "PNG")
    write(picture, content.getvalue())
    return page, picture


def thumbnail(part: Picture | Latent, where: str) -> Image.Image:
    """An image with sides of at most ``SIDE`` pixels; a smaller one is enlarged, without smoothing."""
    image = open_image(part.path, where)
    scale = SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)


def block(sample: Sample) -> str:
    """One sample in the page: texts and images in their order."""
    pieces = [f"<h3>{escape(sample.where)}</h3>"]
    for heading, parts in (("Question", sample.question), ("Answer", sample.answer)):
        inner = "".join(piece(part, sample.where) for part in parts)
        pieces.append(f"<p><b>{heading}</b></p><div>{inner or 'none'}</div>")
    return "".join(pieces)


def piece(part: Text | Picture | Latent, where: str) -> str:
    """A part of a sample as HTML; a latent block is its helper image in a frame."""
    if isinstance(part, Text):
        return f'<span style="white-space: pre-wrap">{escape(part.text)}</span>'
    content = BytesIO()
    thumbnail(part, where).save(content, "PNG")
    frame = f"border: 3px solid {FRAME}; " if isinstance(part, Latent) else ""
    text = "helper image" if isinstance(part, Latent) else "input image"
    data = b64encode(content.getvalue()).decode()
    return f' <img alt="{text}" style="{frame}margin: 4px; vertical-align: middle" src="data:image/png;base64,{data}"> '


def strip(sample: Sample, split: str) -> Image.Image:
    """One sample in the picture: its images side by side, helper images framed, its texts beside or below them."""
    parts = [*sample.question, *sample.answer]
    images = [(thumbnail(part, sample.where), part) for part in parts if not isinstance(part, Text)]
    across = max(1, (WIDTH - MARGIN) // (SIDE + MARGIN))
    columns, down = min(len(images), across), -(-len(images) // across)
    left = MARGIN + columns * (SIDE + MARGIN)
    beside = WIDTH - left >= WIDTH // 3
    width = WIDTH - (left if beside else MARGIN) - MARGIN
    question = "".join(part.text if isinstance(part, Text) else "" for part in sample.question)
    told = f"{split}  {sample.where}\n{question}\nanswer: {sample.answer_text}"
    lines = [line for text in told.split("\n") for line in wrap(text, max(8, width * 2 // FONT)) or [""]][:MAX_LINES]
    high, below = down * (SIDE + MARGIN), FONT * 3 // 2 * len(lines)
    canvas = Image.new("RGB", (WIDTH, MARGIN + (max(high, below) if beside else high + below)), "white")
    draw = ImageDraw.Draw(canvas)
    for place, (image, part) in enumerate(images):
        at = MARGIN + place % across * (SIDE + MARGIN), MARGIN + place // across * (SIDE + MARGIN)
        canvas.paste(image, at)
        if isinstance(part, Latent):
            draw.rectangle(
                (at[0] - 3, at[1] - 3, at[0] + image.width + 2, at[1] + image.height + 2), None, "#c2255c", 3
            )
    top = (left, MARGIN) if beside else (MARGIN, MARGIN + high)
    draw.multiline_text(top, "\n".join(lines), "black", ImageFont.load_default(FONT), spacing=FONT // 3)
    return canvas


def stack(strips: Sequence[Image.Image]) -> Image.Image:
    """Put pictures below each other, a thin line between them."""
    canvas = Image.new("RGB", (WIDTH, sum(image.height for image in strips) or 1), "white")
    top = 0
    for image in strips:
        canvas.paste(image, (0, top))
        top += image.height
        ImageDraw.Draw(canvas).line((0, top - 1, WIDTH, top - 1), "#d0d7de")
    return canvas
