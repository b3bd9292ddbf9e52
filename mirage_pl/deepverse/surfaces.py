"""Depth made to agree with normals, which know slants better than distances (bilateral normal integration).

Shapes: H x W pixels; the first of two is along a row, the second along a column. Normals are in the camera's axes (x
right, y down, z ahead); z is the logarithm of depth. With m = f n . ray, a surface has m dz/du + n_x = 0 along a row,
and the same with y along a column (Cao et al., ECCV 2022). Each is asked of the steps to both neighbours of a pixel,
and less of the one across which depth jumps.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

SHARP = 2.0
"""How much less a side counts across which depth jumps."""
PRECISE, MOST = 1e-12, 4000
"""Share of the residual at which a solution is found, and steps until then at most."""


@dataclass(frozen=True)
class Slopes:
    """What normals say of the slope of z: factor times slope is minus target.

    Attributes:
        factor_2HW: m; 0 where the normal isn't known.
        target_2HW: the normal's part along the axis.
    """

    factor_2HW: Tensor
    target_2HW: Tensor


def refine_depth(
    depth_HW: Tensor, normals_HW3: Tensor, lens_33: Tensor, strength: float = 20.0, rounds: int = 5
) -> Tensor:
    """Depth near the given one whose surfaces are slanted as normals say.

    Args:
        depth_HW: along the axis; where it isn't above 0 and finite it isn't known, and follows from those around.
        normals_HW3: of length 1; 0 0 0: not known.
        lens_33: in pixels.
        strength: how much z of the given depth counts, against slopes in pixels.
        rounds: solutions, after each of which it is decided anew across which sides depth jumps.
    """
    slopes = find_slopes(normals_HW3.double(), lens_33.double())
    known_HW = depth_HW.isfinite() & (depth_HW > 0)
    given_HW = torch.where(known_HW, depth_HW, depth_HW[known_HW].median() if known_HW.any() else 1).double().log()
    z_HW = given_HW
    for _ in range(rounds):
        z_HW = solve(slopes, weigh_sides(z_HW, slopes), given_HW, strength * known_HW.double(), z_HW)
    return z_HW.exp().to(depth_HW.dtype)


def find_slopes(normals_HW3: Tensor, lens_33: Tensor) -> Slopes:
    """What normals say of the slope of z along rows and columns."""
    height, width = normals_HW3.shape[:2]
    columns_W, rows_H = (
        torch.arange(side, dtype=lens_33.dtype, device=lens_33.device) + 0.5 for side in (width, height)
    )
    x_1W = (columns_W[None] - lens_33[0, 2]) / lens_33[0, 0]
    y_H1 = (rows_H[:, None] - lens_33[1, 2]) / lens_33[1, 1]
    along_HW = normals_HW3[..., 0] * x_1W + normals_HW3[..., 1] * y_H1 + normals_HW3[..., 2]
    factor_2HW = along_HW[None] * lens_33.diagonal()[:2, None, None]
    return Slopes(factor_2HW, normals_HW3[..., :2].movedim(-1, 0))


def weigh_evenly(slopes: Slopes) -> Tensor:
    """A half for both sides of each pixel, of the next and of the one before, [2, 2, H, W]."""
    return torch.full_like(torch.stack((slopes.factor_2HW, slopes.factor_2HW)), 0.5)


def weigh_sides(z_HW: Tensor, slopes: Slopes) -> Tensor:
    """How much the way to the next pixel and from the one before count, [2, 2, H, W]: sides without a jump more.

    At the border the only side counts whole.
    """
    weights = []
    for axis, factor_HW in ((1, slopes.factor_2HW[0]), (0, slopes.factor_2HW[1])):
        step = z_HW.diff(dim=axis)
        edge = torch.full_like(z_HW.narrow(axis, 0, 1), float("inf"))
        ahead_HW, behind_HW = torch.cat((step, edge), axis), torch.cat((edge, step), axis)
        jump_HW = (factor_HW * behind_HW).square() - (factor_HW * ahead_HW).square()
        both_HW = torch.sigmoid(SHARP * jump_HW)
        only_HW = torch.where(ahead_HW.isinf(), 0.0, torch.where(behind_HW.isinf(), 1.0, both_HW))
        weights.append(only_HW)
    ahead_2HW = torch.stack(weights)
    return torch.stack((ahead_2HW, 1 - ahead_2HW))


def solve(slopes: Slopes, weights_22HW: Tensor, given_HW: Tensor, strength_HW: Tensor, start_HW: Tensor) -> Tensor:
    """The z with the least weighted squares of what slopes and the given z ask, by conjugate gradients.

    Args:
        slopes: of both axes.
        weights_22HW: of the way to the next pixel and from the one before, by axis.
        given_HW: z that it is near to.
        strength_HW: how much that counts, at each pixel.
        start_HW: where the search begins; also the answer's mean where nothing else fixes it.
    """
    stiff, pull = zip(*(join_sides(slopes, weights_22HW, axis) for axis in (0, 1)), strict=True)

    def spread(steps: tuple[Tensor, ...]) -> Tensor:
        total = torch.zeros_like(start_HW)
        for axis, step in ((1, steps[0]), (0, steps[1])):
            total.narrow(axis, 1, step.shape[axis]).add_(step)
            total.narrow(axis, 0, step.shape[axis]).sub_(step)
        return total

    def apply(z_HW: Tensor) -> Tensor:
        return strength_HW * z_HW + spread((stiff[0] * z_HW.diff(dim=1), stiff[1] * z_HW.diff(dim=0)))

    z_HW = start_HW.clone()
    residual_HW = strength_HW * given_HW - spread(pull) - apply(z_HW)
    scale_HW = strength_HW.clone()
    for axis, each in ((1, stiff[0]), (0, stiff[1])):
        scale_HW.narrow(axis, 1, each.shape[axis]).add_(each)
        scale_HW.narrow(axis, 0, each.shape[axis]).add_(each)
    scale_HW = torch.where(scale_HW > 0, scale_HW, torch.ones_like(scale_HW))
    way_HW = residual_HW / scale_HW
    size = (residual_HW * way_HW).sum()
    enough = PRECISE**2 * size
    for _ in range(MOST):
        if not size > enough:
            break
        turned_HW = apply(way_HW)
        step = size / (way_HW * turned_HW).sum()
        z_HW, residual_HW = z_HW + step * way_HW, residual_HW - step * turned_HW
        before, size = size, (residual_HW.square() / scale_HW).sum()
        way_HW = residual_HW / scale_HW + size / before * way_HW
    return z_HW


def join_sides(slopes: Slopes, weights_22HW: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """What both ends of a step along an axis ask of it: weight of its square, and what it is drawn to times that."""
    dim = 1 - axis
    count = slopes.factor_2HW.shape[1 + dim] - 1
    ends = []
    for first, side in ((0, 0), (1, 1)):
        factor, target, weight = (
            each[axis].narrow(dim, first, count) for each in (slopes.factor_2HW, slopes.target_2HW, weights_22HW[side])
        )
        ends.append((weight * factor.square(), weight * factor * target))
    return ends[0][0] + ends[1][0], ends[0][1] + ends[1][1]


def carry_back(z_HW: Tensor, flow_HW2: Tensor) -> tuple[Tensor, Tensor]:
    """Read a map where each pixel's surface was, between the middles of pixels.

    Args:
        z_HW: the map of the frame before.
        flow_HW2: from a pixel to where it was, in pixels to the right and down.

    Returns:
        What the map has there, [H, W], and whether that is inside it.
    """
    height, width = z_HW.shape
    rows, columns = (torch.arange(side, dtype=z_HW.dtype, device=z_HW.device) for side in (height, width))
    x_HW, y_HW = columns[None] + flow_HW2[..., 0], rows[:, None] + flow_HW2[..., 1]
    inside_HW = (x_HW >= 0) & (x_HW <= width - 1) & (y_HW >= 0) & (y_HW <= height - 1)
    left_HW, top_HW = x_HW.floor().clamp(0, width - 2).long(), y_HW.floor().clamp(0, height - 2).long()
    right_HW, below_HW = (x_HW - left_HW).clamp(0, 1), (y_HW - top_HW).clamp(0, 1)
    upper_HW = z_HW[top_HW, left_HW] * (1 - right_HW) + z_HW[top_HW, left_HW + 1] * right_HW
    lower_HW = z_HW[top_HW + 1, left_HW] * (1 - right_HW) + z_HW[top_HW + 1, left_HW + 1] * right_HW
    return upper_HW * (1 - below_HW) + lower_HW * below_HW, inside_HW
