"""Scenes drawn by rule, which stand in for photographs where a user has none: a textured background and shapes."""

import math
from random import Random

from PIL import Image, ImageDraw

Color = tuple[int, int, int]
Point = tuple[float, float]

NUM_SHAPES = 16
"""Enough that hardly any part of a scene is plain."""


def draw_scene(name: str, side: int) -> Image.Image:
    """Draw a scene of ``side`` by ``side`` pixels (RGB).

    Args:
        name: decides everything; another name draws another scene.
        side: pixels.
    """
    rng = Random(name)
    large = 2 * side  # PIL draws without anti-aliasing: draw large and shrink
    canvas = _gradient(rng, large)
    pen = ImageDraw.Draw(canvas)
    _texture(rng, pen, large)
    for _ in range(NUM_SHAPES):
        rng.choice((_disc, _ring, _polygon, _stroke))(rng, pen, large)
    return canvas.resize((side, side), Image.Resampling.BOX)


def _color(rng: Random) -> Color:
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)


def _point(rng: Random, side: int) -> Point:
    return rng.uniform(0, side), rng.uniform(0, side)


def _gradient(rng: Random, side: int) -> Image.Image:
    """Blend two colours from one edge or corner to the other."""
    black, white = _color(rng), _color(rng)
    ramp = Image.linear_gradient("L").resize((side, side))
    if rng.random() < 0.5:
        ramp = Image.blend(ramp, ramp.transpose(Image.Transpose.ROTATE_90), 0.5)
    bands = [ramp.point([a + (b - a) * i // 255 for i in range(256)]) for a, b in zip(black, white, strict=True)]
    return Image.merge("RGB", bands).rotate(90 * rng.randrange(4))


def _texture(rng: Random, pen: ImageDraw.ImageDraw, side: int) -> None:
    """Rule parallel lines, or strew dots."""
    color, step = _color(rng), side / rng.randint(8, 16)
    if rng.random() < 0.5:
        slope = rng.uniform(-side, side)
        for number in range(-16, 32):
            pen.line([(number * step, 0), (number * step + slope, side)], fill=color, width=max(1, int(step / 6)))
        return
    for _ in range(200):
        x, y = _point(rng, side)
        pen.circle((x, y), step / 5, fill=color)


def _disc(rng: Random, pen: ImageDraw.ImageDraw, side: int) -> None:
    pen.circle(_point(rng, side), side * rng.uniform(0.04, 0.15), fill=_color(rng))


def _ring(rng: Random, pen: ImageDraw.ImageDraw, side: int) -> None:
    radius = side * rng.uniform(0.05, 0.18)
    pen.circle(_point(rng, side), radius, outline=_color(rng), width=max(1, int(radius / 4)))


def _polygon(rng: Random, pen: ImageDraw.ImageDraw, side: int) -> None:
    (x, y), radius, turn, corners = _point(rng, side), side * rng.uniform(0.05, 0.18), rng.random(), rng.randint(3, 6)
    angles = [2 * math.pi * (turn + corner / corners) for corner in range(corners)]
    pen.polygon([(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles], fill=_color(rng))


def _stroke(rng: Random, pen: ImageDraw.ImageDraw, side: int) -> None:
    pen.line([_point(rng, side), _point(rng, side)], fill=_color(rng), width=max(1, side // rng.randint(25, 60)))
