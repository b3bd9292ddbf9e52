"""Numbers over time as a picture, without a plotting library."""

import colorsys

import numpy as np
from PIL import Image, ImageDraw

from data_modules.demonstrations.demonstration import Demonstration

WIDTH, HEIGHT, MARGIN = 256, 128, 6


def draw_numbers(episode: Demonstration, at: int) -> Image.Image:
    """Draw each number of its states, or where there are none of its actions, as a line over the steps, all on one
    scale, and a step as a bar."""
    rows_TN = episode.states_TS if episode.states_TS.shape[1] else episode.actions_PA
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen, low, high = ImageDraw.Draw(picture), float(rows_TN.min()), float(rows_TN.max())
    columns_T = MARGIN + np.arange(len(rows_TN)) * (WIDTH - 2 * MARGIN) / max(1, len(rows_TN) - 1)
    pen.line([(columns_T[at], 0), (columns_T[at], HEIGHT)], fill=(200, 200, 200), width=3)
    for number in range(rows_TN.shape[1]):
        heights_T = HEIGHT - MARGIN - (rows_TN[:, number] - low) / max(1e-9, high - low) * (HEIGHT - 2 * MARGIN)
        hue = colorsys.hsv_to_rgb(number / rows_TN.shape[1], 0.8, 0.75)
        line = [(float(x), float(y)) for x, y in zip(columns_T, heights_T, strict=True)]
        pen.line(line, fill=tuple(round(255 * part) for part in hue), width=1)
    return picture
