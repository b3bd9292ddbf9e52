"""Clips -> a batch. Shapes: B clips, T frames, C = 3 channels, H x W pixels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from data_modules.episodes.clips import Clip


@dataclass(frozen=True)
class Batch:
    """Clips of one length.

    Attributes:
        samples: where they are from.
        frames_BTCHW: uint8.
    """

    samples: tuple[Clip, ...]
    frames_BTCHW: Tensor

    def __len__(self) -> int:
        return len(self.samples)

    def to(self, device: Any, **_: Any) -> Self:
        """Return the batch on a device."""
        return replace(self, frames_BTCHW=self.frames_BTCHW.to(device))


class Collator:
    """Open clips, and resize their frames to what the model takes, whatever their aspect.

    Args:
        resolution: height and width in pixels.
    """

    def __init__(self, resolution: int) -> None:
        self.resolution = resolution

    def __call__(self, samples: Sequence[Clip]) -> Batch:
        """Build a batch."""
        return Batch(tuple(samples), torch.stack([self.open_frames(clip) for clip in samples]))

    def open_frames(self, clip: Clip) -> Tensor:
        """Read the frames of a clip, [T, C, H, W] in uint8."""
        return resize_frames(torch.from_numpy(clip.read().frames_THWC).permute(0, 3, 1, 2), self.resolution)

    def widths(self, sample: Clip) -> tuple[int, ...]:
        """Count what ``loader.max_tokens`` limits: frames."""
        return (sample.window.length,)


def resize_frames(frames_TCHW: Tensor, resolution: int) -> Tensor:
    """Resize frames in uint8, bilinearly and without aliases, to ``resolution`` x ``resolution``."""
    if frames_TCHW.shape[2:] == (resolution, resolution):
        return frames_TCHW
    sized = F.interpolate(frames_TCHW.float(), (resolution, resolution), mode="bilinear", antialias=True)
    return sized.round().clamp(0, 255).to(torch.uint8)
