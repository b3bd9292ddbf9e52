"""Whether depth, poses and intrinsics agree: what one frame's depth says of a later frame, against its own depth.

Shapes: T frames of H x W pixels, M points.
"""

from collections.abc import Iterator
from dataclasses import replace
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from data_modules.episodes.geometry import (
    UPRIGHT,
    Floats,
    Geometry,
    GeometryForm,
    draw_grid,
    measure_rays,
)

PAIRS = 8
"""Of frames, out of an episode."""
APART = 8
"""Frames of a pair are so far apart at most: near ones agree whatever is meant."""
GOOD = 0.01
"""A mean error of depth, as a share, that is no reason to doubt."""
POOR = 0.2
"""One that is, whatever else could be meant."""
BETTER, RIGHT = 0.5, 0.1
"""Another reading is named if its error is below this share of that of what is said, and below this."""
OFF_MIDDLE = 0.02
"""Share by which the principal point of intrinsics of another size is off."""
KEY = "task.form.geometry."
NAMED = {
    "axes": {"opencv": "opengl", "opengl": "opencv"},
    "poses": {"camera_to_world": "world_to_camera", "world_to_camera": "camera_to_world"},
    "depth": {"axis": "ray", "ray": "axis"},
}
"""Option -> what is said: what else could be."""
SCALES = (0.001, 0.01, 0.1, 10.0, 100.0, 1000.0, 0.0254, 0.3048, 0.5, 2.0, 1 / 0.3048, 1 / 0.0254)
"""By which units are mistaken: of metres, inches, feet, and of halves."""
RATIOS = (1.0, 1.2, 1 / 1.2, 4 / 3, 3 / 4, 16 / 9, 9 / 16)
"""Of a pixel's width over its height, as focal lengths have it: square, Doom's, and those of squeezed pictures."""
MOST = 20_000
"""Points of a pair."""


def find_disagreement(geometry: Geometry | None, form: GeometryForm) -> str | None:
    """Say what else a file's depth and poses seem to mean; ``None``: nothing, or it can't be told.

    Args:
        geometry: of a whole episode.
        form: by which it was read.
    """
    if geometry is None or geometry.depth_THW is None or geometry.poses_T44 is None or geometry.intrinsics_T33 is None:
        return None
    own = measure_error(geometry)
    if own is None or own < GOOD:
        return None
    errors = [(error, words) for words, other in list_readings(geometry, form) if (error := measure_error(other))]
    best, words = min(errors, key=itemgetter(0), default=(np.inf, ""))
    doubt = f"depth and poses don't agree: a frame's depth is off by {own:.1%} in frames near it, on average"
    if best < min(BETTER * own, RIGHT):
        return f"{doubt}, but by {best:.1%} with {words}; is that what the file means?"
    return f"{doubt}, and no other reading of them agrees; check all three" if own >= POOR else None


def list_readings(geometry: Geometry, form: GeometryForm) -> Iterator[tuple[str, Geometry]]:
    """Yield what could be meant in place of what is said, in words, and the geometry under it; likelier ones first."""
    depth, poses, lens = geometry.depth_THW, geometry.poses_T44, geometry.intrinsics_T33
    assert depth is not None
    assert poses is not None
    assert lens is not None
    axes, order = (NAMED["axes"][form.axes], NAMED["poses"][form.poses])
    held = poses @ UPRIGHT if form.axes == "opengl" else poses
    back = np.linalg.inv(held)
    for turned, words in (
        (poses @ UPRIGHT, f"{KEY}axes={axes}"),
        (back @ UPRIGHT if form.axes == "opengl" else back, f"{KEY}poses={order}"),
        (back if form.axes == "opengl" else back @ UPRIGHT, f"{KEY}poses={order} and {KEY}axes={axes}"),
    ):
        yield words, replace(geometry, poses_T44=turned.astype(np.float32))
    long = measure_rays(lens, *depth.shape[1:])
    other = depth / long if form.depth == "axis" else depth * long
    yield f"{KEY}depth={NAMED['depth'][form.depth]}", replace(geometry, depth_THW=other)
    for factor in SCALES:
        yield f"{KEY}unit={form.unit * factor:.3g}", replace(geometry, depth_THW=depth * np.float32(factor))
    yield from list_lenses(geometry)


def list_lenses(geometry: Geometry) -> Iterator[tuple[str, Geometry]]:
    """Yield other intrinsics that could be meant: of pixels that aren't square, or of frames of another size.

    A camera that never nods or rises shows nothing of its focal length down.
    """
    depth, lens = geometry.depth_THW, geometry.intrinsics_T33
    assert depth is not None
    assert lens is not None
    (height, width), (across, down) = depth.shape[1:], (lens[0, 0, 0], lens[0, 1, 1])
    middle = np.array([width, height]) / (2 * lens[0, [0, 1], [2, 2]])
    if np.abs(middle - 1).max() > OFF_MIDDLE:
        sized = lens * np.array([[middle[0]], [middle[1]], [1]], np.float32)
        side = " x ".join(f"{round(2 * part)}" for part in lens[0, [0, 1], [2, 2]].tolist())
        words = f"intrinsics of frames of {width} x {height} pixels, not of {side}"
        yield words, replace(geometry, intrinsics_T33=sized)
    for ratio in RATIOS:
        for focal in ((across, ratio * across), (down / ratio, down)):
            stretched = lens.copy()
            stretched[:, [0, 1], [0, 1]] *= np.array(focal, np.float32) / [across, down]
            words = (
                f"focal lengths {focal[0]:.4g} and {focal[1]:.4g} in the intrinsics, of pixels {ratio:.3g} times as "
            )
            yield f"{words}wide as high", replace(geometry, intrinsics_T33=stretched)


def measure_error(geometry: Geometry) -> float | None:
    """The mean error, as a share, of a frame's depth carried over to another one; ``None``: nothing moves.

    Where no point of moving frames arrives, it is 1.
    """
    depth, poses, lens = geometry.depth_THW, geometry.poses_T44, geometry.intrinsics_T33
    assert depth is not None
    assert poses is not None
    assert lens is not None
    gap = max(1, min(APART, (len(poses) - 1) // 4))
    apart = np.abs(poses[gap:] - poses[:-gap]).max((1, 2))
    moving = np.flatnonzero(apart > 1e-4)
    picks = moving[np.linspace(0, len(moving) - 1, min(PAIRS, len(moving))).astype(int)] if len(moving) else moving
    pairs = [pair for at in picks for pair in ([at, at + gap], [at + gap, at])]
    errors = [carry_over(depth[pair], poses[pair], lens[pair]) for pair in pairs]
    together = np.concatenate(errors) if errors else np.zeros(0)
    return None if not len(moving) else float(together.mean()) if len(together) else 1.0


def carry_over(depth_2HW: Floats, poses_244: Floats, lens_233: Floats) -> Floats:
    """Errors of the first frame's points in the second one, as shares of the depth there, [M].

    A point behind what is seen there may be hidden and isn't counted; one in front of it should have been seen.
    """
    height, width = depth_2HW.shape[1:]
    x, y = draw_grid(lens_233[:1], height, width)
    known = depth_2HW[0] > 0
    z = depth_2HW[0][known][:MOST]
    points = np.stack((x[0][known][:MOST] * z, y[0][known][:MOST] * z, z, np.ones_like(z)))
    there = (np.linalg.inv(poses_244[1].astype(np.float64)) @ poses_244[0] @ points)[:3]
    ahead = there[2] > 1e-6
    pixels = lens_233[1] @ there[:, ahead] / there[2, ahead]
    near, inside = read_between(np.where(depth_2HW[1] > 0, 1 / np.maximum(depth_2HW[1], 1e-6), 0), *pixels[:2])
    errors = 1 - (there[2, ahead][inside] * near)[near > 0]
    errors = errors[errors > -GOOD].clip(min=0)
    return errors.astype(np.float32)


def read_between(map_HW: Floats, column_M: Floats, row_M: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Read a map at places between the middles of pixels; disparity of something flat is exact there.

    Returns:
        The values of the places that are inside, and which those are, [M].
    """
    height, width = map_HW.shape
    column_M, row_M = column_M - 0.5, row_M - 0.5
    inside = (column_M >= 0) & (column_M < width - 1) & (row_M >= 0) & (row_M < height - 1)
    column, row = column_M[inside], row_M[inside]
    left, top = column.astype(int), row.astype(int)
    right, below = column - left, row - top
    upper = map_HW[top, left] * (1 - right) + map_HW[top, left + 1] * right
    lower = map_HW[top + 1, left] * (1 - right) + map_HW[top + 1, left + 1] * right
    return upper * (1 - below) + lower * below, inside
