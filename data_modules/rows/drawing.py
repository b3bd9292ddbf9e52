"""Pictures of rows: images side by side, the chosen one or the helping ones framed, a text below."""

from collections.abc import Collection, Sequence
from textwrap import wrap

from PIL import Image, ImageDraw, ImageFont

from data_modules.images import open_image
from data_modules.samples import Latent, Picture, Sample, Text

RED, PINK = (220, 20, 20), (194, 37, 92)
"""Around the picture that an answer chooses, and around helper images."""

GAP = 12
"""Pixels between pictures."""

SIDE, ACROSS = 168, 6
"""Pixels of the longer side of a picture of :func:`draw_images`, and how many lie side by side."""


def lay_out(
    images: Sequence[Image.Image], framed: Collection[int] = (), color: tuple[int, int, int] = RED
) -> Image.Image:
    """Lay pictures out in a row on white, those at the indices ``framed`` in a frame."""
    width = sum(image.width + GAP for image in images) + GAP
    canvas = Image.new("RGB", (width, max((image.height for image in images), default=0) + 2 * GAP), "white")
    left = GAP
    for index, image in enumerate(images):
        if index in framed:
            corner = left + image.width + GAP // 2, GAP + image.height + GAP // 2
            ImageDraw.Draw(canvas).rectangle((left - GAP // 2, GAP // 2, *corner), fill=color)
        canvas.paste(image, (left, GAP))
        left += image.width + GAP
    return canvas


def draw_images(sample: Sample) -> Image.Image:
    """Lay out all images of a sample in its order, helper images framed.

    Raises:
        ValueError: an image can't be read; names the row.
    """
    parts = [part for part in (*sample.question, *sample.answer) if not isinstance(part, Text)]
    lines = [parts[first : first + ACROSS] for first in range(0, len(parts), ACROSS)]
    rows = [
        lay_out(
            [resized(part, sample.where) for part in line],
            [index for index, part in enumerate(line) if isinstance(part, Latent)],
            PINK,
        )
        for line in lines
    ]
    canvas = Image.new(
        "RGB", (max((row.width for row in rows), default=1), sum(row.height for row in rows) or 1), "white"
    )
    top = 0
    for row in rows:
        canvas.paste(row, (0, top))
        top += row.height
    return canvas


def first_picture(sample: Sample) -> Image.Image:
    """The first picture of a question; of one without pictures, a white page with its words.

    Raises:
        ValueError: it can't be read; names the row.
    """
    for part in sample.question:
        if isinstance(part, Picture):
            return open_image(part.path, sample.where)
    page = Image.new("RGB", (2 * SIDE, 1), "white")
    return captioned(page, "".join(part.text for part in sample.question if isinstance(part, Text)))


def resized(part: Picture | Latent, where: str) -> Image.Image:
    """An image with a longer side of ``SIDE`` pixels; a smaller one is enlarged without smoothing."""
    image = open_image(part.path, where)
    scale = SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)


def captioned(image: Image.Image, text: str) -> Image.Image:
    """Write text below an image, wrapped to its width; at most 8 lines."""
    size = 14
    lines = [piece for line in text.split("\n") for piece in wrap(line, max(20, image.width * 2 // size))][:8]
    canvas = Image.new("RGB", (image.width, image.height + size * 4 // 3 * len(lines)), "white")
    canvas.paste(image)
    ImageDraw.Draw(canvas).text((size // 2, image.height), "\n".join(lines), "black", ImageFont.load_default(size))
    return canvas
