"""Whether an imagined unit's colours, depth and camera agree. Shapes: B clips, H x W pixels in [0, 1]."""

import torch
from torch import Tensor
from torch.nn import functional as F

from mirage_pl.deepverse.clouds import place_points
from mirage_pl.engine.evaluation.frames import psnr

LEAST = 0.25
"""Share of a frame that must be seen in the other one."""
AHEAD = 1e-3
"""Depth from which on a point is before a camera."""


def measure_agreement(
    before_B3HW: Tensor, ours_B3HW: Tensor, depth_BHW: Tensor, steps_B44: Tensor, lenses_B33: Tensor
) -> list[float]:
    """By how many dB a frame is more like the one before as depth and camera move that than as it is, of each clip.

    Of pixels that are seen in both; no number where they are too few, or where the camera rests.

    Args:
        before_B3HW: frames before.
        ours_B3HW: the frames.
        depth_BHW: of the frames, in the unit of the steps.
        steps_B44: their cameras as those before see them.
        lenses_B33: in pixels.
    """
    rows = zip(before_B3HW, ours_B3HW, depth_BHW, steps_B44, lenses_B33, strict=True)
    return [measure_one(*row) for row in rows]


def measure_one(before_3HW: Tensor, ours_3HW: Tensor, depth_HW: Tensor, step_44: Tensor, lens_33: Tensor) -> float:
    """The same of one clip."""
    height, width = depth_HW.shape
    points_HW3 = place_points(depth_HW, step_44, lens_33)
    far_HW = points_HW3[..., 2]
    flat_HW2 = points_HW3[..., :2] / far_HW.clamp(min=AHEAD)[..., None]
    column_HW = flat_HW2[..., 0] * lens_33[0, 0] + lens_33[0, 2]
    row_HW = flat_HW2[..., 1] * lens_33[1, 1] + lens_33[1, 2]
    grid_HW2 = torch.stack((2 * column_HW / width - 1, 2 * row_HW / height - 1), -1)
    seen_HW = (far_HW > AHEAD) & (grid_HW2.abs() <= 1).all(-1) & (depth_HW > 0)
    if float(seen_HW.float().mean()) < LEAST or bool((step_44 - torch.eye(4).to(step_44)).abs().max() < AHEAD):
        return float("nan")
    moved_3HW = F.grid_sample(before_3HW[None], grid_HW2[None], padding_mode="border", align_corners=False)[0]
    errors = [(each - ours_3HW).square().mean(0)[seen_HW].mean() for each in (moved_3HW, before_3HW)]
    moved, still = psnr(torch.stack(errors)).tolist()
    return float(moved - still)
