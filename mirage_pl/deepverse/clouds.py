"""Depth as points in space. Shapes: H x W pixels, M points; axes are those of the world: x right, y down, z ahead."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mirage_pl.deepverse.model.codec import invert_depth

FAR = 20.0
"""As released: points with a coordinate above this are dropped, and none for any other reason but infinity."""
EDGE = 0.1
"""Share of a disparity by which it may bend among the pixels around, or a point hangs between two things."""


@dataclass(frozen=True)
class Cloud:
    """Points with colours.

    Attributes:
        points_M3: in the unit of the poses.
        colours_M3: uint8.
    """

    points_M3: NDArray[np.float32]
    colours_M3: NDArray[np.uint8]

    def save(self, file: str | Path) -> None:
        """Write a PLY file, binary and little-endian."""
        kinds = [(axis, "<f4") for axis in "xyz"] + [(colour, "u1") for colour in ("red", "green", "blue")]
        rows = np.empty(len(self.points_M3), kinds)
        for column, (name, _) in enumerate(kinds):
            rows[name] = (self.points_M3 if column < 3 else self.colours_M3)[:, column % 3]
        columns = "".join(f"property {'float' if kind == '<f4' else 'uchar'} {name}\n" for name, kind in kinds)
        head = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(rows)}\n{columns}end_header\n"
        Path(file).write_bytes(head.encode() + rows.tobytes())


def place_points(depth_HW: Tensor, pose_44: Tensor, lens_33: Tensor, compat: bool = False) -> Tensor:
    """Where what pixels show is, [H, W, 3].

    Args:
        depth_HW: along the axis.
        pose_44: camera to world.
        lens_33: in pixels.
        compat: rays go through corners of pixels, as released.
    """
    height, width = depth_HW.shape
    first = 0.0 if compat else 0.5
    rows, columns = (
        torch.arange(side, dtype=depth_HW.dtype, device=depth_HW.device) + first for side in (height, width)
    )
    x = (columns[None] - lens_33[0, 2]) / lens_33[0, 0] * depth_HW
    y = (rows[:, None] - lens_33[1, 2]) / lens_33[1, 1] * depth_HW
    there_HW3 = torch.stack((x, y, depth_HW), -1)
    return there_HW3 @ pose_44[:3, :3].mT + pose_44[:3, 3]


def choose_points(points_HW3: Tensor, depth_HW: Tensor, compat: bool = False) -> Tensor:
    """Which points are shown, [H, W]: those of a known depth that aren't at its edges.

    Args:
        points_HW3: of :func:`place_points`.
        depth_HW: their depth.
        compat: as released, see :data:`FAR`.
    """
    finite = points_HW3.isfinite().all(-1)
    if compat:
        return finite & (points_HW3 <= FAR).all(-1)
    near_HW = invert_depth(depth_HW)  # of something flat it changes evenly, however slanted that is
    bent_HW = torch.zeros_like(near_HW)
    for axis in (0, 1):
        inner = bent_HW.narrow(axis, 1, bent_HW.shape[axis] - 2)
        inner.copy_(torch.maximum(inner, near_HW.diff(n=2, dim=axis).abs()))
    return finite & (near_HW > 0) & (bent_HW <= EDGE * near_HW)


def build_cloud(frame_3HW: Tensor, depth_HW: Tensor, pose_44: Tensor, lens_33: Tensor) -> Cloud:
    """The cloud of a frame in [0, 1]."""
    points = place_points(depth_HW, pose_44, lens_33)
    shown = choose_points(points, depth_HW)
    colours = (frame_3HW.clamp(0, 1) * 255).round().to(torch.uint8).movedim(0, -1)[shown]
    return Cloud(points[shown].float().cpu().numpy(), colours.cpu().numpy())
