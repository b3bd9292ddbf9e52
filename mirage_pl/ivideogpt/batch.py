"""Clips -> a batch. Shapes: B clips, T frames, S = T - 1 steps between them, A numbers of an action, H x W pixels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from data_modules.episodes.clips import Clip

STEPS = ("actions_BSA", "rewards_BS")


@dataclass(frozen=True)
class Batch:
    """Clips of one length.

    Attributes:
        samples: where they are from.
        frames_BTCHW: uint8.
        actions_BSA: row s leads from frame s to s + 1; ``None``: not all clips have actions.
        rewards_BS: of getting to frame s + 1; ``None``: not all clips have rewards.
    """

    samples: tuple[Clip, ...]
    frames_BTCHW: Tensor
    actions_BSA: Tensor | None = None
    rewards_BS: Tensor | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def to(self, device: Any, **_: Any) -> Self:
        """Return the batch on a device."""
        steps = {name: each.to(device) for name, each in vars(self).items() if name in STEPS and each is not None}
        return replace(self, frames_BTCHW=self.frames_BTCHW.to(device), **steps)


class Collator:
    """Open clips, and resize their frames to what the model takes, whatever their aspect.

    Args:
        resolution: height and width in pixels.
    """

    def __init__(self, resolution: int) -> None:
        self.resolution = resolution

    def __call__(self, samples: Sequence[Clip]) -> Batch:
        """Build a batch.

        Raises:
            ValueError: a clip can't be read, or has actions of another width; names it.
        """
        episodes = [clip.read() for clip in samples]
        frames = torch.stack([self.resize(episode.frames_THWC) for episode in episodes])
        actions = [episode.actions_SA for episode in episodes if episode.actions_SA is not None]
        rewards = [episode.rewards_S for episode in episodes if episode.rewards_S is not None]
        check_widths(samples, [None if each.actions_SA is None else each.actions_SA.shape[1] for each in episodes])
        return Batch(
            tuple(samples),
            frames,
            torch.from_numpy(np.stack(actions)) if len(actions) == len(samples) else None,
            torch.from_numpy(np.stack(rewards)) if len(rewards) == len(samples) else None,
        )

    def open_frames(self, clip: Clip) -> Tensor:
        """Read the frames of a clip, [T, C, H, W] in uint8."""
        return self.resize(clip.read().frames_THWC)

    def resize(self, frames_THWC: NDArray[np.uint8]) -> Tensor:
        """Frames as the model takes them, [T, C, H, W] in uint8."""
        return fit_frames(frames_THWC, self.resolution)

    def widths(self, sample: Clip) -> tuple[int, ...]:
        """Count what ``loader.max_tokens`` limits: frames."""
        return (sample.window.length,)


def check_widths(samples: Sequence[Clip], widths: Sequence[int | None]) -> None:
    """Refuse clips whose actions differ in width.

    Raises:
        ValueError: names one.
    """
    known = [(clip, width) for clip, width in zip(samples, widths, strict=True) if width is not None]
    for clip, width in known:
        if width != known[0][1]:
            raise ValueError(
                f"{clip.where}: actions of {width} number(s), but {known[0][1]} in {known[0][0].where}; all clips must "
                "have as many"
            )


def fit_frames(frames: Tensor | NDArray[np.uint8], resolution: int) -> Tensor:
    """Frames in uint8 as files and worlds have them, [..., H, W, C], as a model takes them, [..., C, H, W]."""
    frames = torch.as_tensor(frames).movedim(-1, -3)
    sized_MCHW = resize_frames(frames.reshape(-1, *frames.shape[-3:]), resolution)
    return sized_MCHW.reshape(*frames.shape[:-2], *sized_MCHW.shape[-2:])


def to_bytes(frames: Tensor) -> Tensor:
    """Frames in [0, 1] as they are shown and written, in uint8."""
    return (frames.float() * 255).round().clamp(0, 255).to(torch.uint8)


def resize_frames(frames_TCHW: Tensor, resolution: int) -> Tensor:
    """Resize frames in uint8, bilinearly and without aliases, to ``resolution`` x ``resolution``."""
    if frames_TCHW.shape[2:] == (resolution, resolution):
        return frames_TCHW
    sized = F.interpolate(frames_TCHW.float(), (resolution, resolution), mode="bilinear", antialias=True)
    return sized.round().clamp(0, 255).to(torch.uint8)
