"""Clips as a VAE sees them: colours and disparity, as pictures about [-1, 1].

Shapes: B clips, T frames, H x W pixels.
"""

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


def read_depth(codec: StateCodec, pictures_B3THW: Tensor, scale_B111: Tensor) -> Tensor:
    """Depth out of pictures of disparity, [B, T, H, W]."""
    disparity_BTHW = codec.decode_disparity(pictures_B3THW.mean(1), scale_B111)
    return 1 / torch.maximum(disparity_BTHW, FARTHEST / scale_B111)


def measure_depth_error(ours_BTHW: Tensor, truth_BTHW: Tensor) -> Tensor:
    """AbsRel of each frame, [B, T]: the mean error of depth as a share of it, where it is known."""
    known = truth_BTHW > 0
    error = (ours_BTHW - truth_BTHW).abs() / torch.where(known, truth_BTHW, torch.ones_like(truth_BTHW))
    return (error * known).sum((2, 3)) / known.sum((2, 3)).clamp(min=1)
