"""What is done, drawn over frames: four arrows of moves, two bent ones of turns. Shapes: T frames of H x W pixels."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from data_modules.worlds.walking import ACTIONS

SIDE = 0.05
"""Of an arrow, as a share of a frame's width."""
PLACES = {
    "ahead": (0, -1),
    "back": (0, 1),
    "left": (-1, 0),
    "right": (1, 0),
    "turn left": (-2.5, 0),
    "turn right": (2.5, 0),
}
"""Where arrows are, in arrows from the middle of the cross."""
LIT, DARK, EDGE = (244, 234, 42), (60, 60, 60), (255, 255, 255)


def list_lit(code: str) -> set[str]:
    """The arrows of an action; none of no action."""
    if not code:
        return set()
    ahead, right, clockwise = ACTIONS[code]
    names = {("ahead", ahead > 0), ("back", ahead < 0), ("left", right < 0), ("right", right > 0)}
    names |= {("turn left", clockwise < 0), ("turn right", clockwise > 0)}
    return {name for name, lit in names if lit}


def draw_controller(frames_THWC: NDArray[np.uint8], codes: Sequence[str], stride: int) -> NDArray[np.uint8]:
    """Draw over frames what was done in each unit; over the first one, in which nothing was, no arrow is lit.

    Args:
        frames_THWC: uint8.
        codes: of the units after the first.
        stride: frames of a unit.
    """
    done = ["", *(code for code in codes for _ in range(stride))]
    drawn = [draw_arrows(frame, list_lit(code)) for frame, code in zip(frames_THWC, done, strict=True)]
    return np.stack(drawn)


def draw_arrows(frame_HWC: NDArray[np.uint8], lit: set[str]) -> NDArray[np.uint8]:
    """Draw all arrows over a frame, those that are lit in yellow."""
    picture = Image.fromarray(frame_HWC)
    pen, (width, height) = ImageDraw.Draw(picture), picture.size
    side = SIDE * width
    middle = width / 6, height - 2 * side
    for name, (right, down) in PLACES.items():
        x, y = middle[0] + right * side, middle[1] + down * side
        colour, half = LIT if name in lit else DARK, side * 0.45
        if name.startswith("turn"):
            sign = -1 if name.endswith("left") else 1
            pen.arc((x - half, y - half, x + half, y + half), 200, 340, colour, max(1, round(side / 6)))
            tip = x + sign * half, y + half / 2
            pen.polygon([tip, (tip[0] - half / 2, y - half / 4), (tip[0] + half / 2, y - half / 4)], fill=colour)
            continue
        (ax, ay), (bx, by) = (right, down), (-down, right)
        corners = [(ax * half, ay * half), (bx * half - ax * half, by * half - ay * half)]
        corners.append((-bx * half - ax * half, -by * half - ay * half))
        pen.polygon([(x + dx, y + dy) for dx, dy in corners], fill=colour, outline=EDGE)
    return np.asarray(picture)
