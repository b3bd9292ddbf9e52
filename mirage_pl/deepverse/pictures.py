"""Clips as a VAE sees them: colours, disparity and normals, as pictures about [-1, 1].

Shapes: B clips, T frames, H x W pixels.
"""

from collections.abc import Mapping
from math import inf

import torch
from torch import Tensor

from mirage_pl.deepverse.model.codec import StateCodec, find_scale, invert_depth

COPIES = 3
"""Channels that a map of disparity is copied to."""
FARTHEST = 1e-3
"""Disparity below this share of the nearest in a clip's first frame counts as this."""


def draw_colours(frames_BTCHW: Tensor, dtype: torch.dtype) -> Tensor:
    """Frames in uint8 as pictures, [B, 3, T, H, W]."""
    return (frames_BTCHW.to(dtype) / 127.5 - 1).transpose(1, 2)


def read_colours(pictures_B3THW: Tensor) -> Tensor:
    """Pictures as frames in [0, 1], [B, T, 3, H, W]."""
    return ((pictures_B3THW + 1) / 2).clamp(0, 1).transpose(1, 2)


def find_scales(depth_BTHW: Tensor) -> Tensor:
    """The scale of each clip, by its first frame, [B, 1, 1, 1]."""
    scales = [find_scale(disparity) for disparity in invert_depth(depth_BTHW[:, 0])]
    return torch.stack(scales)[:, None, None, None]


def draw_disparity(codec: StateCodec, depth_BTHW: Tensor, scale_B111: Tensor) -> Tensor:
    """Depth as pictures of disparity, [B, 3, T, H, W]: the same in all channels."""
    map_BTHW = codec.encode_disparity(invert_depth(depth_BTHW), scale_B111)
    return map_BTHW[:, None].expand(-1, COPIES, -1, -1, -1)


def draw_pictures(
    codec: StateCodec,
    frames_BTCHW: Tensor,
    depth_BTHW: Tensor,
    normals_BTHW3: Tensor,
    scale_B111: Tensor,
    most: float = inf,
) -> dict[str, Tensor]:
    """What is coded of clips as pictures, [B, 3, T, H, W] each; of disparity no more than ``most``."""
    pictures = {"colours": draw_colours(frames_BTCHW, torch.float32)}
    if "disparity" in codec.coded:
        pictures["disparity"] = draw_disparity(codec, depth_BTHW, scale_B111).clamp(max=most)
    if "normals" in codec.coded:
        pictures["normals"] = draw_normals(codec, normals_BTHW3.float())
    return pictures


def read_depth(codec: StateCodec, pictures_B3THW: Tensor, scale_B111: Tensor) -> Tensor:
    """Depth out of pictures of disparity, [B, T, H, W]."""
    disparity_BTHW = codec.decode_disparity(pictures_B3THW.mean(1), scale_B111)
    return 1 / torch.maximum(disparity_BTHW, FARTHEST / scale_B111)


def read_pictures(codec: StateCodec, pictures: Mapping[str, Tensor], truth: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Frames in [0, 1], depth by the scale of the true one, and normals out of pictures, those that there are."""
    maps = {"colours": read_colours(pictures["colours"])}
    if "disparity" in pictures:
        maps["disparity"] = read_depth(codec, pictures["disparity"], find_scales(truth["disparity"]))
    if "normals" in pictures:
        maps["normals"] = read_normals(codec, pictures["normals"])
    return maps


def measure_depth_error(ours_BTHW: Tensor, truth_BTHW: Tensor) -> Tensor:
    """AbsRel of each frame, [B, T]: the mean error of depth as a share of it, where it is known."""
    known = truth_BTHW > 0
    error = (ours_BTHW - truth_BTHW).abs() / torch.where(known, truth_BTHW, torch.ones_like(truth_BTHW))
    return (error * known).sum((2, 3)) / known.sum((2, 3)).clamp(min=1)


def draw_normals(codec: StateCodec, normals_BTHW3: Tensor) -> Tensor:
    """Normals as pictures, [B, 3, T, H, W]."""
    return codec.encode_normals(normals_BTHW3).movedim(-1, 1)


def read_normals(codec: StateCodec, pictures_B3THW: Tensor) -> Tensor:
    """Normals of length 1 out of pictures of them, [B, T, H, W, 3]."""
    return codec.decode_normals(pictures_B3THW.movedim(1, -1))


def measure_angles(ours_BTHW3: Tensor, truth_BTHW3: Tensor) -> Tensor:
    """Degrees between normals of length 1, [B, T, H, W]; 90 where ours isn't known, no number where the truth isn't."""
    sine = torch.linalg.cross(ours_BTHW3, truth_BTHW3, dim=-1).norm(dim=-1)
    angles = torch.atan2(sine, (ours_BTHW3 * truth_BTHW3).sum(-1)).rad2deg()
    angles = angles.where((ours_BTHW3 != 0).any(-1), angles.new_tensor(90.0))
    return angles.where((truth_BTHW3 != 0).any(-1), angles.new_tensor(float("nan")))
