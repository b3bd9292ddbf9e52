"""Exact depth and normals of Doom's maps, by a ray through each pixel; things that stand in a map aren't in them.

Shapes: H x W pixels, L lines, M pixels of one kind. Axes and lengths as in :mod:`data_modules.worlds.doom_map`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_modules.worlds.doom_map import DoomMap, Floats, cross_lines

MOST = 96
"""Lines that a ray crosses at most until it ends."""
OPEN, FLOOR, CEILING, SKY = -1, -2, -3, -4
"""What a ray has met, where it isn't a line: nothing yet …"""


@dataclass(frozen=True)
class Eye:
    """Where one looks from.

    Attributes:
        x: east.
        y: north.
        height: as floors have it.
        angle: radians clockwise from north.
    """

    x: float
    y: float
    height: float
    angle: float


def cast_rays(
    plan: DoomMap, eye: Eye, intrinsics_33: NDArray[np.float32], size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cast a ray through the middle of each pixel.

    Args:
        plan: the map.
        eye: where the rays begin.
        intrinsics_33: in pixels.
        size: H and W.

    Returns:
        Depth along the axis, [H, W], 0 where the sky is seen; and normals in the eye's axes (x right, y down, z ahead),
        [H, W, 3], 0 0 0 there.
    """
    lens = intrinsics_33.astype(float)
    aside_W = (np.arange(size[1]) + 0.5 - lens[0, 2]) / lens[0, 0]
    below_H = (np.arange(size[0]) + 0.5 - lens[1, 2]) / lens[1, 1]
    sine, cosine = np.sin(eye.angle), np.cos(eye.angle)
    ways_W2 = np.stack((sine + aside_W * cosine, cosine - aside_W * sine), -1)
    far_WL, right_WL = cross_lines(plan.ends_L22, np.array([eye.x, eye.y]), ways_W2)
    depth_WH, met_WH = np.zeros((size[1], size[0])), np.full((size[1], size[0]), OPEN)
    columns_W = np.arange(size[1])
    for lines_W in far_WL.argsort(1)[:, :MOST].T:
        far_W, left_W = far_WL[columns_W, lines_W], (~right_WL[columns_W, lines_W]).astype(int)
        if not (met_WH == OPEN).any() or np.isinf(far_W).all():
            break
        go_on(plan, eye.height, (lines_W, far_W, left_W), below_H, depth_WH, met_WH)
    normals_WH3 = turn_normals(plan, met_WH, sine, cosine)
    return depth_WH.T.astype(np.float32), normals_WH3.swapaxes(0, 1).astype(np.float32)


def go_on(
    plan: DoomMap,
    height: float,
    crossing: tuple[NDArray[np.int64], Floats, NDArray[np.int64]],
    below_H: Floats,
    depth_WH: Floats,
    met_WH: NDArray[np.int64],
) -> None:
    """Go on to the next line of each column; rays that meet floor, ceiling or wall there or before end.

    Args:
        plan: the map.
        height: of the eye.
        crossing: of each column the line, how far it is, and whether the ray comes from its left.
        below_H: how far below the axis a row looks at depth 1.
        depth_WH: is written.
        met_WH: what rays have met, twice the line's number and the side, or one of the words; is written.
    """
    lines_W, far_W, left_W = crossing
    near_W, beyond_W = plan.sectors_L2[lines_W, left_W], plan.sectors_L2[lines_W, 1 - left_W]
    there_W1 = (np.isfinite(far_W) & (near_W >= 0))[:, None]
    far_W1, solid_W1 = np.where(there_W1, far_W[:, None], 1), (beyond_W < 0)[:, None]
    down = {name: height - heights for name, heights in (("floor", plan.floors_S), ("ceiling", plan.ceilings_S))}
    floor_W1, ceiling_W1 = down["floor"][near_W][:, None], down["ceiling"][near_W][:, None]
    below_WH = np.broadcast_to(below_H, met_WH.shape)
    open_WH = (met_WH == OPEN) & there_W1
    low_WH, high_WH = open_WH & (below_WH * far_W1 > floor_W1), open_WH & (below_WH * far_W1 < ceiling_W1)
    level_WH = open_WH & ~low_WH & ~high_WH
    lower_WH = below_WH * far_W1 > down["floor"][beyond_W][:, None]
    upper_WH = below_WH * far_W1 < down["ceiling"][beyond_W][:, None]
    sky_W1, both_W1 = (plan.skies_S[each][:, None] for each in (near_W, beyond_W))
    wall_WH = level_WH & (solid_W1 | lower_WH | (upper_WH & ~(sky_W1 & both_W1)))
    skies_WH = (high_WH & sky_W1) | (level_WH & ~solid_W1 & upper_WH & sky_W1 & both_W1 & ~lower_WH)
    with np.errstate(divide="ignore", invalid="ignore"):
        for word, hit_WH, depth in (
            (FLOOR, low_WH, floor_W1 / below_WH),
            (CEILING, high_WH & ~sky_W1, ceiling_W1 / below_WH),
            (SKY, skies_WH, np.zeros_like(below_WH)),
        ):
            depth_WH[hit_WH], met_WH[hit_WH] = depth[hit_WH], word
    faces_W1 = (2 * lines_W + left_W)[:, None]
    depth_WH[wall_WH] = np.broadcast_to(far_W1, met_WH.shape)[wall_WH]
    met_WH[wall_WH] = np.broadcast_to(faces_W1, met_WH.shape)[wall_WH]


def turn_normals(plan: DoomMap, met_WH: NDArray[np.int64], sine: float, cosine: float) -> Floats:
    """Normals of what rays have met, in the axes of an eye that is turned, [W, H, 3]."""
    along_L2 = plan.ends_L22[:, 1] - plan.ends_L22[:, 0]
    along_L2 = along_L2 / np.maximum(np.hypot(*along_L2.T), 1e-9)[:, None]
    wall_WH = met_WH >= 0
    faces_WH = np.where(wall_WH, met_WH, 0)
    along_WH2, side_WH = along_L2[faces_WH // 2], 1 - 2 * (faces_WH % 2)
    east_WH, north_WH = (wall_WH * side_WH * part for part in (along_WH2[..., 1], -along_WH2[..., 0]))
    up_WH = (met_WH == FLOOR).astype(float) - (met_WH == CEILING)
    return np.stack((east_WH * cosine - north_WH * sine, -up_WH, east_WH * sine + north_WH * cosine), -1)
