"""What is seen from somewhere in a world, with how far it is and where one is. Shapes: T views of H x W pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_modules.episodes.episode import Frames
from data_modules.episodes.geometry import Geometry


@dataclass(frozen=True)
class View:
    """What is seen from somewhere.

    Attributes:
        frame_HWC: uint8.
        depth_HW: along the axis; 0: not known.
        pose_44: camera to world.
        normals_HW3: of surfaces, in the camera's axes, towards it; ``None``: not known.
    """

    frame_HWC: NDArray[np.uint8]
    depth_HW: NDArray[np.float32]
    pose_44: NDArray[np.float32]
    normals_HW3: NDArray[np.float32] | None = None


def gather_views(views: Sequence[View], intrinsics_33: NDArray[np.float32]) -> tuple[Frames, Geometry]:
    """The frames of an episode, and its geometry."""
    normals = [view.normals_HW3 for view in views if view.normals_HW3 is not None]
    space = Geometry(
        np.stack([view.depth_HW for view in views]),
        np.stack([view.pose_44 for view in views]),
        np.repeat(intrinsics_33[None], len(views), 0),
        np.stack(normals) if len(normals) == len(views) else None,
    )
    return np.stack([view.frame_HWC for view in views]), space
