"""Where cameras are.

Shapes: N cameras; a pose is [4, 4], from the camera's axes (x to the right, y down, z ahead) to those of others.
"""

import torch
from torch import Tensor

SKEWED = 1e-3
"""By which a rotation times its transpose may differ from the identity."""
EVEN = 1e-6
"""Sine of an angle below which rotations are mixed straight."""


def invert(poses_N44: Tensor) -> Tensor:
    """The way back of poses, whose rotations are transposed."""
    turned_N33 = poses_N44[..., :3, :3].mT
    moved_N31 = -turned_N33 @ poses_N44[..., :3, 3:]
    return torch.cat((torch.cat((turned_N33, moved_N31), -1), poses_N44[..., 3:, :]), -2)


def relate(poses_N44: Tensor) -> Tensor:
    """Each camera as the one before sees it; the first one is the identity."""
    first_144 = torch.eye(4, dtype=poses_N44.dtype, device=poses_N44.device)[None]
    return torch.cat((first_144, invert(poses_N44[:-1]) @ poses_N44[1:]))


def chain(relative_N44: Tensor) -> Tensor:
    """Cameras as the first one sees them, from how each sees the next: the identity and N more."""
    poses = [torch.eye(4, dtype=relative_N44.dtype, device=relative_N44.device)]
    for step_44 in relative_N44:
        poses.append(poses[-1] @ step_44)
    return torch.stack(poses)


def check_poses(poses_N44: Tensor, name: str) -> None:
    """Check that poses are a rotation and a place each.

    Raises:
        ValueError: one isn't; names it.
    """
    if poses_N44.ndim != 3 or poses_N44.shape[1:] != (4, 4):
        raise ValueError(f"{name} has shape {list(poses_N44.shape)}; a pose is 4 x 4: rotation, place, and 0 0 0 1")
    turned_N33 = poses_N44[:, :3, :3].double()
    off_N = (turned_N33 @ turned_N33.mT - torch.eye(3, dtype=torch.float64)).abs().amax((1, 2))
    off_N = torch.maximum(off_N, (turned_N33.det() - 1).abs())
    off_N = torch.maximum(off_N, (poses_N44[:, 3] - torch.tensor([0, 0, 0, 1])).abs().amax(1))
    if bad := (~(off_N < SKEWED)).nonzero().flatten().tolist():
        raise ValueError(f"{name}[{bad[0]}] is no pose: its first three rows and columns must be a rotation")


def interpolate(poses_N44: Tensor, intrinsics_N33: Tensor, steps: int = 8) -> tuple[Tensor, Tensor]:
    """Cameras of all frames from those of units: rotations at even speed, places and intrinsics in a line.

    Args:
        poses_N44: of the units.
        intrinsics_N33: of the units.
        steps: frames from a unit to the next.

    Returns:
        ``steps`` (N - 1) + 1 of each.
    """
    if len(poses_N44) == 1:
        return poses_N44, intrinsics_N33
    share_K = torch.arange(steps, dtype=poses_N44.dtype, device=poses_N44.device) / steps

    def fill(rows: Tensor) -> Tensor:
        share_1K11 = share_K[None, :, None, None]
        between = rows[:-1, None] * (1 - share_1K11) + rows[1:, None] * share_1K11
        return torch.cat((between.flatten(0, 1), rows[-1:]))

    poses = fill(poses_N44)
    turned = [turn_between(*pair, share_K) for pair in zip(poses_N44[:-1, :3, :3], poses_N44[1:, :3, :3], strict=True)]
    poses[:-1, :3, :3] = torch.cat(turned)
    return poses, fill(intrinsics_N33)


def turn_between(first_33: Tensor, second_33: Tensor, share_K: Tensor) -> Tensor:
    """Rotations on the shortest way from one to another, at shares of it, [K, 3, 3]."""
    step_33 = first_33.mT @ second_33
    axis_33 = (step_33 - step_33.mT) / 2
    sine = torch.stack((axis_33[2, 1], axis_33[0, 2], axis_33[1, 0])).norm()
    angle = torch.atan2(sine, (step_33.trace() - 1) / 2)
    rate = torch.where(sine > EVEN, angle / sine.clamp(min=EVEN), torch.ones_like(sine))
    return first_33 @ torch.matrix_exp(share_K[:, None, None] * rate * axis_33)
