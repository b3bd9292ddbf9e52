"""What training sees of a clip, drawn once for all of its frames. Shapes: T frames, C channels, H x W pixels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torchvision.transforms.v2 import functional as transforms

TRIES = 10
"""Boxes that are drawn until one fits into the frame."""


@dataclass(frozen=True)
class Augmentation:
    """A part of the frame, resized to all of it, and other colours.

    Attributes:
        area: smallest and largest share of the frame that is left.
        aspect: narrowest and widest of its shapes, width over height.
        jitter: brightness, contrast and saturation change by at most this share.
        hue: and hues by at most this share of the circle, 0 to 0.5.
    """

    area: Sequence[float]
    aspect: Sequence[float]
    jitter: float
    hue: float

    def __post_init__(self) -> None:
        if not 0 < self.area[0] <= self.area[1] <= 1 or not 0 < self.aspect[0] <= self.aspect[1]:
            raise ValueError(f"augment has area={list(self.area)}, from above 0 to 1, and aspect={list(self.aspect)}")
        if not 0 <= self.jitter < 1 or not 0 <= self.hue <= 0.5:
            raise ValueError(f"augment has jitter={self.jitter}, 0 to 1, and hue={self.hue}, 0 to 0.5")

    @property
    def changes_nothing(self) -> bool:
        """Whether a clip stays as it is."""
        return (*self.area, *self.aspect, self.jitter, self.hue) == (1, 1, 1, 1, 0, 0)

    def __call__(self, frames_TCHW: Tensor, stream: Generator) -> Tensor:
        """Change a clip in [0, 1]; what is drawn depends on the stream alone."""
        height, width = frames_TCHW.shape[2:]
        box = self.draw_box(height, width, stream)
        frames_TCHW = transforms.resized_crop(frames_TCHW, *box, [height, width], antialias=True)
        factors = [draw(1 - self.jitter, 1 + self.jitter, stream) for _ in range(3)]
        shift = draw(-self.hue, self.hue, stream)
        changes = [
            lambda frames: transforms.adjust_brightness(frames, factors[0]),
            lambda frames: transforms.adjust_contrast(frames, factors[1]),
            lambda frames: transforms.adjust_saturation(frames, factors[2]),
            lambda frames: transforms.adjust_hue(frames, shift),
        ]
        for place in torch.randperm(len(changes), generator=stream).tolist():
            frames_TCHW = changes[place](frames_TCHW)
        return frames_TCHW

    def draw_box(self, height: int, width: int, stream: Generator) -> tuple[int, int, int, int]:
        """Draw a box: top, left, height, width; the whole frame if none fits."""
        for _ in range(TRIES):
            area = height * width * draw(self.area[0], self.area[1], stream)
            ratio = math.exp(draw(math.log(self.aspect[0]), math.log(self.aspect[1]), stream))
            wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < wide <= width and 0 < high <= height:
                top, left = (
                    int(torch.randint(room + 1, (), generator=stream)) for room in (height - high, width - wide)
                )
                return top, left, high, wide
        return 0, 0, height, width


def draw(low: float, high: float, stream: Generator) -> float:
    """Draw a number between two."""
    return low + (high - low) * float(torch.rand((), generator=stream))


@dataclass(frozen=True)
class Views:
    """What a step sees of a clip.

    Attributes:
        picked: so many of the frames after the context; ``None``: all.
        augment: other colours, and a part of the frame.
    """

    picked: int | None
    augment: Augmentation

    def __post_init__(self) -> None:
        if self.picked is not None and self.picked < 1:
            raise ValueError(f"picked={self.picked} must be 1 frame or more, or null for all")

    @property
    def whole(self) -> bool:
        """Whether all clips are seen as they are."""
        return self.picked is None and self.augment.changes_nothing

    def __call__(self, frames_TCHW: Tensor, context_length: int, stream: Generator) -> Tensor:
        """Draw what is seen of a clip in [0, 1]: the context always, and of the other frames some, in their order."""
        later = len(frames_TCHW) - context_length
        count = later if self.picked is None else min(self.picked, later)
        places = torch.randperm(later, generator=stream)[:count].sort().values + context_length
        seen_TCHW = torch.cat((frames_TCHW[:context_length], frames_TCHW[places.to(frames_TCHW.device)]))
        return seen_TCHW if self.augment.changes_nothing else self.augment(seen_TCHW, stream)
