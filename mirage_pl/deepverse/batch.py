"""Clips with depth and normals -> a batch. Shapes: B clips, T frames, H x W pixels."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from data_modules.episodes.clips import Clip
from data_modules.episodes.episode import Episode
from data_modules.episodes.normals import find_normals
from mirage_pl.deepverse.model.codec import Modalities, StateCodec


@dataclass(frozen=True)
class Clips:
    """Clips of one length; what is known of them are tensors, [B, …].

    Attributes:
        samples: where they are from.
    """

    samples: tuple[Clip, ...]

    def __len__(self) -> int:
        return len(self.samples)

    def to(self, device: Any, **_: Any) -> Self:
        """Return the batch on a device."""
        names = [field.name for field in fields(self) if field.name != "samples"]
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


@dataclass(frozen=True)
class Batch(Clips):
    """Clips with depth and normals.

    Attributes:
        frames_BTCHW: uint8.
        depth_BTHW: along the axis; 0: not known.
        normals_BTHW3: in the camera's axes, towards it; 0: not known.
    """

    frames_BTCHW: Tensor
    depth_BTHW: Tensor
    normals_BTHW3: Tensor


class Collator:
    """Open clips and fit them to the model's frames: what is too wide or too high is cut off, the middle stays.

    Args:
        height: of a frame, in pixels.
        width: of a frame, in pixels.
        modalities: what clips must have besides frames: ``rgb`` nothing, ``rgbd`` depth, ``rgbdn`` normals, too.
    """

    def __init__(self, height: int, width: int, modalities: Modalities = "rgbd") -> None:
        self.size, self.coded = (height, width), StateCodec(modalities=modalities).coded

    def __call__(self, samples: Sequence[Clip]) -> Batch:
        """Build a batch.

        Raises:
            ValueError: a clip can't be read, or lacks what the modalities ask for; names it.
        """
        parts = [self.open(clip) for clip in samples]
        return Batch(tuple(samples), *(torch.stack(part) for part in zip(*parts, strict=True)))

    def open(self, clip: Clip) -> tuple[Tensor, Tensor, Tensor]:
        """Read frames, depth and normals, see :func:`fit_maps`."""
        return fit_maps(clip.read(), clip.where, self.size, self.coded)

    def widths(self, sample: Clip) -> tuple[int, ...]:
        """Count what ``loader.max_tokens`` limits: frames."""
        return (sample.window.length,)


def fit_maps(
    episode: Episode, where: str, size: tuple[int, int], coded: Sequence[str]
) -> tuple[Tensor, Tensor, Tensor]:
    """Frames, [T, 3, H, W] in uint8, depth, [T, H, W], and normals, [T, H, W, 3], as a model takes them; 0: not coded.

    Raises:
        ValueError: one of them is missing; names it.
    """
    frames, space = fit_frames(episode.frames_THWC, size), episode.geometry
    depth = torch.zeros(len(frames), *frames.shape[2:])
    normals = depth[..., None].expand(-1, -1, -1, 3)
    if "disparity" in coded:
        if space is None or space.depth_THW is None:
            raise ValueError(
                f"{where}: no depth; name its array in task.form.keys.depth, choose task=raycast, or set modalities=rgb"
            )
        depth = fit_depth(space.depth_THW, size)
    if "normals" in coded and space is not None:
        try:
            normals = fit_normals(find_normals(space), size)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    return frames, depth, normals


def find_middle(height: int, width: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Where the largest part of a frame around its middle is that has the shape of a size: top, left, height, width."""
    kept = min(height, width * size[0] // size[1]) or 1, min(width, height * size[1] // size[0]) or 1
    return (height - kept[0]) // 2, (width - kept[1]) // 2, *kept


def crop_middle(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """That part of frames, [..., H, W]."""
    top, left, height, width = find_middle(frames.shape[-2], frames.shape[-1], size)
    return frames[..., top : top + height, left : left + width]


def fit_lens(lens_T33: NDArray[np.float32], height: int, width: int, size: tuple[int, int]) -> Tensor:
    """Intrinsics of frames of ``height`` x ``width`` as they are of fitted ones, [T, 3, 3]."""
    top, left, kept_height, kept_width = find_middle(height, width, size)
    across, down = size[1] / kept_width, size[0] / kept_height
    change_33 = torch.tensor([[across, 0, -left * across], [0, down, -top * down], [0, 0, 1]])
    return change_33 @ torch.from_numpy(lens_T33)


def fit_frames(frames_THWC: NDArray[np.uint8], size: tuple[int, int]) -> Tensor:
    """Frames as a model takes them, [T, 3, H, W] in uint8: cut to the shape of a size, and resized without aliases."""
    frames = crop_middle(torch.from_numpy(frames_THWC).movedim(-1, -3), size)
    if frames.shape[-2:] == size:
        return frames.contiguous()
    sized = F.interpolate(frames.float(), size, mode="bilinear", antialias=True)
    return sized.round().clamp(0, 255).to(torch.uint8)


def fit_picture(frame_HWC: NDArray[np.uint8], size: tuple[int, int]) -> Tensor:
    """A picture to begin with as a model takes it, [1, 3, H, W] in uint8: cut as frames are, and resized as released.

    Args:
        frame_HWC: RGB.
        size: H and W.
    """
    top, left, height, width = find_middle(frame_HWC.shape[0], frame_HWC.shape[1], size)
    picture = Image.fromarray(frame_HWC[top : top + height, left : left + width])
    sized = np.array(picture.resize((size[1], size[0]), Image.Resampling.BICUBIC))
    return torch.from_numpy(sized).movedim(-1, 0)[None].contiguous()


def describe_fit(frame_HWC: NDArray[np.uint8], size: tuple[int, int]) -> str:
    """Say how a picture of another shape was made to fit; empty where it is of this one."""
    high, wide = frame_HWC.shape[:2]
    if (high, wide) == size:
        return ""
    _, _, height, width = find_middle(high, wide, size)
    cut = "" if (height, width) == (high, wide) else f"its middle, {width} x {height} pixels, is taken and "
    return f"The picture has {wide} x {high} pixels; {cut or 'it is '}resized to {size[1]} x {size[0]}.\n"


def fit_depth(depth_THW: NDArray[np.float32], size: tuple[int, int]) -> Tensor:
    """Depth as a model takes it, [T, H, W]: each pixel has the depth of one of the file's, none is mixed."""
    depth = crop_middle(torch.from_numpy(depth_THW), size)
    if depth.shape[-2:] == size:
        return depth.contiguous()
    return F.interpolate(depth[:, None], size, mode="nearest-exact")[:, 0]


def fit_normals(normals_THW3: NDArray[np.float32], size: tuple[int, int]) -> Tensor:
    """Normals as a model takes them, [T, H, W, 3], each that of one of the file's pixels."""
    normals = crop_middle(torch.from_numpy(normals_THW3).movedim(-1, -3), size)
    if normals.shape[-2:] != size:
        normals = F.interpolate(normals, size, mode="nearest-exact")
    return normals.movedim(-3, -1).contiguous()
