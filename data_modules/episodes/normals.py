"""Normals of surfaces out of depth, and as pictures. Shapes: T frames of H x W pixels.

Ours are in the camera's axes (x right, y down, z ahead) and point towards the camera, so that z is below 0. As pictures
they are what others draw: red to the right, green up, blue towards the viewer.
"""

import numpy as np
from numpy.typing import NDArray

from data_modules.episodes.geometry import Floats, Geometry, draw_grid

TINY = 1e-12


def find_normals(geometry: Geometry) -> Floats:
    """The normals that are known, or those of the depth, [T, H, W, 3].

    Raises:
        ValueError: there are neither normals nor depth with intrinsics.
    """
    if geometry.normals_THW3 is not None:
        return geometry.normals_THW3
    if geometry.depth_THW is None or geometry.intrinsics_T33 is None:
        raise ValueError("no normals, and no depth with intrinsics of which they could be made")
    return derive_normals(geometry.depth_THW, geometry.intrinsics_T33)


def derive_normals(depth_THW: Floats, lens_T33: Floats) -> Floats:
    """Normals of the surfaces that depth shows, [T, H, W, 3]; exact on planes, up to their edges.

    A pixel's slope is that to the neighbour with which its disparity goes on more evenly, in each direction. Where
    neither neighbour or the depth itself isn't known, it is 0 0 0.
    """
    x, y = draw_grid(lens_T33, *depth_THW.shape[1:])
    known = depth_THW > 0
    points = np.stack((x, y, np.ones_like(x)), -1) * depth_THW[..., None]
    near = np.where(known, 1 / np.where(known, depth_THW, 1), np.nan).astype(np.float64)
    down, across = (find_slope(points.astype(np.float64), near, axis) for axis in (1, 2))
    normals = np.cross(down, across)
    normals *= -np.sign((normals * points).sum(-1, keepdims=True))
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    usable = (length > TINY) & np.isfinite(length)
    return np.where(usable, normals / np.where(usable, length, 1), 0).astype(np.float32)


def find_slope(points_THW3: NDArray[np.float64], near_THW: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """The way to the next pixel along an axis, forwards or backwards, whichever bends less, [T, H, W, 3]."""
    points, near = np.moveaxis(points_THW3, axis, 0), np.moveaxis(near_THW, axis, 0)
    steps, bends = np.diff(points, axis=0), np.abs(np.diff(near, 2, axis=0))
    missing = np.full_like(points[:1], np.nan)
    ahead, behind = np.concatenate((steps, missing)), np.concatenate((missing, steps))
    # the bend of a step is that of the three pixels which begin with it and go on in its direction
    edge = np.full_like(near[:2], np.inf)
    bend_ahead, bend_behind = np.concatenate((bends, edge)), np.concatenate((edge, bends))
    bend_ahead, bend_behind = (np.where(np.isnan(bend), np.inf, bend) for bend in (bend_ahead, bend_behind))
    forward = (bend_ahead < bend_behind) | ((bend_ahead == bend_behind) & np.isfinite(ahead[..., 0]))
    slope = np.where(forward[..., None], ahead, behind)
    slope = np.where(np.isfinite(slope), slope, np.where(forward[..., None], behind, ahead))
    return np.moveaxis(slope, 0, axis)


def shade_normals(normals_THW3: Floats) -> NDArray[np.uint8]:
    """Normals as frames, [T, H, W, 3]: red to the right, green up, blue towards the viewer; the unknown is black."""
    known = (normals_THW3 != 0).any(-1, keepdims=True)
    shades = (normals_THW3 * np.array([1, -1, -1], np.float32) + 1) / 2 * 255
    return np.where(known, shades.round(), 0).clip(0, 255).astype(np.uint8)
