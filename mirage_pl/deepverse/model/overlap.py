"""What views show of what another camera sees, by their depth.

Shapes: N views of H x W pixels, M points of each, K cells of a camera's frame.
"""

import torch
from torch import Tensor

from mirage_pl.deepverse.model.cameras import invert

CELLS, POINTS = 16, 2
"""Cells across a frame at most, and points across a cell at least; as many down as keep them square."""
SLACK = 0.1
"""What is farther away than something else in its cell by more than this share is hidden."""
LEAST = 1e-6
"""Depth below which a point is behind a camera."""


def place_views(depth_NHW: Tensor, poses_N44: Tensor, lenses_N33: Tensor) -> Tensor:
    """Where pixels of views are in the world, one of each few, [N, M, 3]; no number where depth isn't known."""
    height, width = depth_NHW.shape[1:]
    step = max(1, width // (POINTS * CELLS))
    kept = depth_NHW[:, step // 2 :: step, step // 2 :: step].flatten(1)
    rows, columns = (
        torch.arange(step // 2, side, step, device=depth_NHW.device, dtype=depth_NHW.dtype) + 0.5
        for side in (height, width)
    )
    row_M, column_M = (each.flatten() for each in torch.meshgrid(rows, columns, indexing="ij"))
    across_NM = (column_M - lenses_N33[:, 0, 2:]) / lenses_N33[:, 0, :1]
    below_NM = (row_M - lenses_N33[:, 1, 2:]) / lenses_N33[:, 1, 1:2]
    there_NM3 = torch.stack((across_NM, below_NM, torch.ones_like(across_NM)), -1) * kept[..., None]
    points_NM3 = there_NM3 @ poses_N44[:, :3, :3].mT + poses_N44[:, None, :3, 3]
    return points_NM3.where(kept[..., None] > 0, points_NM3.new_tensor(float("nan")))


def find_nearest(points_NM3: Tensor, pose_44: Tensor, lens_33: Tensor, size: tuple[int, int]) -> Tensor:
    """Depth of the nearest point of each view in each cell of a camera's frame, [N, K]; infinite where there is none.

    Args:
        points_NM3: of :func:`place_views`.
        pose_44: of the camera.
        lens_33: in pixels of a frame of ``size``.
        size: height and width.
    """
    height, width = size
    across = max(1, min(CELLS, width // POINTS))
    down = max(1, round(across * height / width))
    back_44 = invert(pose_44[None])[0]
    seen_NM3 = points_NM3 @ back_44[:3, :3].mT + back_44[:3, 3]
    depth_NM = seen_NM3[..., 2]
    flat_NM2 = seen_NM3[..., :2] / depth_NM[..., None]
    column_NM = (flat_NM2[..., 0] * lens_33[0, 0] + lens_33[0, 2]) / width * across
    row_NM = (flat_NM2[..., 1] * lens_33[1, 1] + lens_33[1, 2]) / height * down
    inside_NM = (depth_NM > LEAST) & (column_NM >= 0) & (column_NM < across) & (row_NM >= 0) & (row_NM < down)
    cell_NM = torch.where(inside_NM, row_NM.floor() * across + column_NM.floor(), across * down).long()
    nearest = depth_NM.new_full((len(points_NM3), across * down + 1), float("inf"))
    nearest.scatter_reduce_(1, cell_NM, depth_NM.where(inside_NM, depth_NM.new_tensor(float("inf"))), "amin")
    return nearest[:, :-1]


def look_from(points_NM3: Tensor, pose_44: Tensor, lens_33: Tensor, size: tuple[int, int]) -> Tensor:
    """Whether each view shows what is nearest in each cell of a camera's frame, [N, K]."""
    nearest_NK = find_nearest(points_NM3, pose_44, lens_33, size)
    return nearest_NK.isfinite() & (nearest_NK <= (1 + SLACK) * nearest_NK.amin(0))


def measure_seen(points_NM3: Tensor, depth_HW: Tensor, pose_44: Tensor, lens_33: Tensor) -> float:
    """The share of a frame's cells whose content some view shows.

    Args:
        points_NM3: of :func:`place_views`.
        depth_HW: of the frame.
        pose_44: its camera.
        lens_33: in pixels.
    """
    size = depth_HW.shape[0], depth_HW.shape[1]
    own_1K = find_nearest(place_views(depth_HW[None], pose_44[None], lens_33[None]), pose_44, lens_33, size)
    known_1K = own_1K.isfinite()
    nearest_NK = find_nearest(points_NM3, pose_44, lens_33, size)
    alike_NK = nearest_NK.isfinite() & ((nearest_NK - own_1K).abs() <= SLACK * own_1K)
    return float((alike_NK.any(0) & known_1K[0]).sum() / known_1K.sum().clamp(min=1))
