"""How far away what frames show is, and where the cameras are. Shapes: T frames of H x W pixels.

Ours is: depth along the optical axis, 0 where it isn't known; poses from the camera's axes (x to the right, y down, z
ahead, as OpenCV has them) to the world's; focal lengths and principal point in pixels, whose centres are at a half;
normals of surfaces in the camera's axes, towards the camera, 0 0 0 where they aren't known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
SKEWED = 1e-3
"""By which a rotation times its transpose may differ from the identity."""
SHORT, AWAY = 0.5, 0.5
"""A normal shorter than this isn't known; share of a frame's normals that may point away from its camera's plane."""
OFF = 0.25
"""Share of a frame by which its principal point may be off the middle."""
LENS = "intrinsics must be [3, 3], or one for each frame: focal lengths above 0 on the diagonal, 0 0 1 below"
UPRIGHT: NDArray[np.float64] = np.diag([1.0, -1.0, -1.0, 1.0])
"""OpenGL's axes (y up, z back) to ours."""


@dataclass(frozen=True)
class Geometry:
    """What is known of an episode's space, or of a clip's.

    Attributes:
        depth_THW: in the unit of the poses; 0: not known.
        poses_T44: camera to world.
        intrinsics_T33: in pixels of the frames.
        normals_THW3: of length 1; 0 0 0: not known.
    """

    depth_THW: Floats | None = None
    poses_T44: Floats | None = None
    intrinsics_T33: Floats | None = None
    normals_THW3: Floats | None = None

    def arrays(self) -> dict[str, Floats]:
        """What there is, by the name that files of ours have for it."""
        named = {"depth": self.depth_THW, "poses": self.poses_T44, "intrinsics": self.intrinsics_T33}
        named |= {"normals": self.normals_THW3}
        return {name: array for name, array in named.items() if array is not None}

    def check(self, height: int, width: int) -> None:
        """Check that it is of frames of this size.

        Raises:
            ValueError: depth or normals of another size, or a principal point far from the middle.
        """
        for name, maps in (("depth", self.depth_THW), ("normals", self.normals_THW3)):
            if maps is not None and maps.shape[1:3] != (height, width):
                size = " x ".join(map(str, maps.shape[1:3]))
                raise ValueError(f"{name} of {size} pixels beside frames of {height} x {width}; make them one size")
        if self.intrinsics_T33 is not None:
            share = self.intrinsics_T33[:, [0, 1], [2, 2]] / [width, height]
            if (np.abs(share - 0.5) > OFF).any():
                x, y = self.intrinsics_T33[0, :2, 2].tolist()
                raise ValueError(
                    f"intrinsics with their middle at {x:g}, {y:g} beside frames {width} wide and {height} high; they "
                    "must be in pixels of these frames"
                )


@dataclass(frozen=True)
class GeometryForm:
    """What a file means by its depth, poses and normals.

    Attributes:
        poses: ``camera_to_world``, or the other way round.
        axes: of a camera, in poses and normals: ``opencv`` (x right, y down, z ahead) or ``opengl`` (x right, y up, z
            back).
        depth: along the optical ``axis``, or along the ``ray`` through the pixel.
        unit: what a depth of 1 is in the poses' unit: 0.001 for millimetres beside metres.

    Raises:
        ValueError: an option that there isn't; names it.
    """

    poses: Literal["camera_to_world", "world_to_camera"] = "camera_to_world"
    axes: Literal["opencv", "opengl"] = "opencv"
    depth: Literal["axis", "ray"] = "axis"
    unit: float = 1.0

    def __post_init__(self) -> None:
        for name, choices in (
            ("poses", ("camera_to_world", "world_to_camera")),
            ("axes", ("opencv", "opengl")),
            ("depth", ("axis", "ray")),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"task.form.geometry.{name}={getattr(self, name)} is unknown; choose from {', '.join(choices)}"
                )
        if not 0 < self.unit < float("inf"):
            raise ValueError(f"task.form.geometry.unit={self.unit} must be a number above 0")


def read_options(options: Mapping[str, Any]) -> GeometryForm:
    """Read ``task.form.geometry``.

    Raises:
        ValueError: an option that there isn't; names it.
    """
    known = [field.name for field in fields(GeometryForm)]
    if unknown := sorted(options.keys() - set(known)):
        raise ValueError(f"task.form.geometry has unknown {unknown}; it may have {', '.join(known)}")
    return GeometryForm(**options)


def arrange_geometry(
    arrays: Mapping[str, Any], places: Sequence[int], total: int, form: GeometryForm, name: str
) -> Geometry | None:
    """Make ours of what a file holds.

    Args:
        arrays: ``depth``, ``poses``, ``intrinsics`` and ``normals`` of the whole episode, those that there are.
        places: the frames that are taken.
        total: frames of the episode.
        form: what they mean.
        name: of the file, for errors.

    Returns:
        ``None`` where there is nothing.

    Raises:
        ValueError: an array of another shape, a pose that is none, depth below 0; names it and the frame.
    """
    if not arrays:
        return None
    frames = list(places)
    lens = None if "intrinsics" not in arrays else arrange_intrinsics(arrays["intrinsics"], total, name)[frames]
    poses = None if "poses" not in arrays else arrange_poses(arrays["poses"], total, form, name)[frames]
    depth = None if "depth" not in arrays else arrange_depth(arrays["depth"], frames, total, form, name)
    if depth is not None and form.depth == "ray":
        if lens is None:
            raise ValueError(f"{name}: depth along rays needs intrinsics; set task.form.keys.intrinsics")
        depth = depth / measure_rays(lens, depth.shape[1], depth.shape[2])
    normals = None if "normals" not in arrays else arrange_normals(arrays["normals"], frames, total, form, name)
    if normals is not None and lens is not None:
        check_facing(normals, lens, frames, name)
    return Geometry(depth, poses, lens, normals)


def arrange_depth(depth: Any, places: Sequence[int], total: int, form: GeometryForm, name: str) -> Floats:
    """Depth of some frames in the unit of the poses; 0 where it is 0, infinite or not a number."""
    if depth.ndim == 4 and depth.shape[-1] == 1:
        depth = depth[..., 0]
    if depth.ndim != 3 or len(depth) != total or depth.dtype.kind not in "iuf":
        raise ValueError(
            f"{name}: depth of shape {depth.shape}, {depth.dtype}; expected numbers, [{total}, height, width]"
        )
    taken: Floats = depth[list(places)].astype(np.float32) * np.float32(form.unit)
    taken[~np.isfinite(taken)] = 0
    for place, frame in zip(places, taken, strict=True):
        if frame.min() < 0 or not frame.any():
            what = "below 0" if frame.min() < 0 else "known nowhere: all is 0 or infinite"
            raise ValueError(f"{name}: depth of frame {place} is {what}; correct or leave out the episode")
    return taken


def arrange_normals(normals: Any, places: Sequence[int], total: int, form: GeometryForm, name: str) -> Floats:
    """Normals of some frames in our axes, of length 1; 0 0 0 where they are short or no numbers."""
    if normals.ndim != 4 or len(normals) != total or normals.shape[3] != 3 or normals.dtype.kind != "f":
        raise ValueError(
            f"{name}: normals of shape {normals.shape}, {normals.dtype}; expected [{total}, height, width, 3], length 1"
        )
    taken: Floats = normals[list(places)].astype(np.float32)
    taken[~np.isfinite(taken).all(-1)] = 0
    length = np.linalg.norm(taken, axis=-1, keepdims=True)
    turned = taken * (UPRIGHT.diagonal()[:3] if form.axes == "opengl" else 1) / np.maximum(length, SHORT)
    turned[length[..., 0] < SHORT] = 0
    return turned.astype(np.float32)


def check_facing(normals_THW3: Floats, lens_T33: Floats, places: Sequence[int], name: str) -> None:
    """Check that most normals point towards the camera, as those of all that is seen do.

    Raises:
        ValueError: they don't; names the frame.
    """
    x, y = draw_grid(lens_T33, *normals_THW3.shape[1:3])
    along = (normals_THW3 * np.stack((x, y, np.ones_like(x)), -1)).sum(-1)
    away = ((along > 0).sum((1, 2)) > AWAY * (along != 0).sum((1, 2))).nonzero()[0]
    if len(away):
        raise ValueError(
            f"{name}: normals of frame {places[away[0]]} point away from the camera; turn them round, or set "
            "task.form.geometry.axes"
        )


def arrange_poses(poses: Any, total: int, form: GeometryForm, name: str) -> Floats:
    """Poses from our axes to the world's, [T, 4, 4]; rows of 12 or 16 numbers are matrices, too."""
    if poses.ndim == 2 and poses.shape[1] in (12, 16):
        poses = poses.reshape(len(poses), -1, 4)
    if poses.ndim != 3 or len(poses) != total or poses.shape[1:] not in ((4, 4), (3, 4)):
        raise ValueError(f"{name}: poses of shape {poses.shape}; expected [{total}, 4, 4]")
    below = np.broadcast_to(np.array([[[0, 0, 0, 1.0]]]), (total, 1, 4))
    poses = np.concatenate((poses[:, :3].astype(np.float64), below if poses.shape[1] == 3 else poses[:, 3:]), 1)
    turned = poses[:, :3, :3]
    off = np.abs(turned @ turned.transpose(0, 2, 1) - np.eye(3)).max((1, 2))
    off = np.maximum.reduce([off, np.abs(np.linalg.det(turned) - 1), np.abs(poses[:, 3] - below[:, 0]).max(1)])
    if bad := np.flatnonzero(~((off < SKEWED) & np.isfinite(poses).all((1, 2)))).tolist():
        raise ValueError(
            f"{name}: pose of frame {bad[0]} is none: its first three rows and columns must be a rotation, the last "
            "row 0 0 0 1"
        )
    poses = np.linalg.inv(poses) if form.poses == "world_to_camera" else poses
    ours: Floats = (poses @ UPRIGHT if form.axes == "opengl" else poses).astype(np.float32)
    return ours


def arrange_intrinsics(lens: Any, total: int, name: str) -> Floats:
    """Intrinsics of every frame, [T, 3, 3]; 4 x 4 with nothing more in them will do."""
    if lens.ndim in (2, 3) and lens.shape[-2:] == (4, 4):
        lens = lens[..., :3, :3]
    if lens.shape not in ((3, 3), (total, 3, 3)):
        raise ValueError(f"{name}: intrinsics of shape {lens.shape}; {LENS}")
    every: Floats = np.broadcast_to(lens, (total, 3, 3)).astype(np.float32)
    if not (np.isfinite(every).all() and (every[:, [0, 1], [0, 1]] > 0).all() and (every[:, 2] == [0, 0, 1]).all()):
        raise ValueError(f"{name}: {LENS}")
    return every


def measure_rays(lens_T33: Floats, height: int, width: int) -> Floats:
    """How long the ray to a pixel at depth 1 is, [T, H, W]."""
    x, y = draw_grid(lens_T33, height, width)
    return np.sqrt(x * x + y * y + 1)


def draw_grid(lens_T33: Floats, height: int, width: int) -> tuple[Floats, Floats]:
    """How far to the right of the axis, and how far below it, a pixel looks at depth 1, [T, H, W] each."""
    (fx, fy), (cx, cy) = lens_T33[:, [0, 1], [0, 1]].T[..., None], lens_T33[:, [0, 1], [2, 2]].T[..., None]
    x, y = (np.arange(width) + 0.5 - cx) / fx, (np.arange(height) + 0.5 - cy) / fy
    shape = (len(lens_T33), height, width)
    return np.broadcast_to(x[:, None], shape).astype(np.float32), np.broadcast_to(y[..., None], shape).astype(
        np.float32
    )


def shade_depth(depth_THW: Floats) -> NDArray[np.uint8]:
    """Depth as gray frames, [T, H, W, 3]: near is light, far dark, unknown black; the same gray for a whole clip."""
    near = np.where(depth_THW > 0, 1 / np.maximum(depth_THW, np.finfo(np.float32).tiny), 0)
    gray = (np.sqrt(near / max(float(near.max()), np.finfo(np.float32).tiny)) * 255).round().astype(np.uint8)
    return np.repeat(gray[..., None], 3, -1)
