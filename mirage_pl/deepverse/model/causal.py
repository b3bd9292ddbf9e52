"""Convolutions over time that see no later frame, and how a long clip goes through them piece by piece.

Shapes: B clips, C channels, T frames, H x W places.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPSILON = 1e-6
"""Of norms, as released."""


@dataclass
class Stream:
    """What layers keep from one piece of a clip for the next; a new one for each clip.

    Attributes:
        begins: the piece that is on its way is the clip's first.
        kept: the last frames that each convolution has taken.
    """

    begins: bool = True
    kept: dict[nn.Module, Tensor] = field(default_factory=dict)


class CausalConv(nn.Module):
    """A convolution whose output at a frame depends on that frame and those before it: zeros stand before the first.

    Args:
        inputs: channels.
        outputs: channels.
        kernel: frames, and places in each direction.
        stride: frames, and places in each direction.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: tuple[int, int] = (3, 3), stride: tuple[int, int] = (1, 1)
    ) -> None:
        super().__init__()
        (self.time, space), (self.time_stride, space_stride) = kernel, stride
        self.conv = nn.Conv3d(
            inputs,
            outputs,
            (self.time, space, space),
            (self.time_stride, space_stride, space_stride),
            padding=(0, space // 2, space // 2),
        )

    def forward(self, x_BCTHW: Tensor, stream: Stream | None = None) -> Tensor:
        """Convolve a clip, or the next piece of one."""
        if self.time > 1:
            if stream is None or stream.begins:
                x_BCTHW = F.pad(x_BCTHW, (0, 0, 0, 0, self.time - 1, 0))
            else:
                x_BCTHW = torch.cat((stream.kept[self], x_BCTHW), 2)
            if stream is not None:
                stream.kept[self] = x_BCTHW[:, :, x_BCTHW.shape[2] - (self.time - self.time_stride) :]
        return self.conv(x_BCTHW)


class FrameNorm(nn.GroupNorm):
    """Group normalisation of each frame by itself."""

    def __init__(self, groups: int, channels: int) -> None:
        super().__init__(groups, channels, eps=EPSILON)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Normalise."""
        frames = x_BCTHW.transpose(1, 2)
        return super().forward(frames.flatten(0, 1)).view(frames.shape).transpose(1, 2)


class Residual(nn.Module):
    """Two convolutions beside a shortcut.

    Args:
        inputs: channels.
        outputs: channels.
        groups: of norms.
        time: frames of the convolutions.
    """

    def __init__(self, inputs: int, outputs: int, groups: int, time: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = FrameNorm(groups, inputs), CausalConv(inputs, outputs, (time, 3))
        self.norm2, self.conv2 = FrameNorm(groups, outputs), CausalConv(outputs, outputs, (time, 3))
        self.conv_shortcut = CausalConv(inputs, outputs, (1, 1)) if inputs != outputs else None

    def forward(self, x_BCTHW: Tensor, stream: Stream | None = None) -> Tensor:
        """Change a clip, or the next piece of one."""
        hidden = self.conv1(F.silu(self.norm1(x_BCTHW)), stream)
        hidden = self.conv2(F.silu(self.norm2(hidden)), stream)
        return hidden + (x_BCTHW if self.conv_shortcut is None else self.conv_shortcut(x_BCTHW))


class FrameAttention(nn.Module):
    """Attention of one head among the places of each frame."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.group_norm = FrameNorm(groups, channels)
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Change a clip frame by frame."""
        places = self.group_norm(x_BCTHW).permute(0, 2, 3, 4, 1).flatten(2, 3)
        heads = [part(places)[:, :, None].flatten(0, 1) for part in (self.to_q, self.to_k, self.to_v)]
        mixed = self.to_out[0](F.scaled_dot_product_attention(*heads)).squeeze(1)
        batch, channels, frames, height, width = x_BCTHW.shape
        return x_BCTHW + mixed.view(batch, frames, height, width, channels).permute(0, 4, 1, 2, 3)


class Middle(nn.Module):
    """Two residual blocks, and attention between them."""

    def __init__(self, channels: int, groups: int, time: int, attends: bool) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([FrameAttention(channels, groups)] if attends else [])
        self.resnets = nn.ModuleList([Residual(channels, channels, groups, time) for _ in range(2)])

    def forward(self, x_BCTHW: Tensor, stream: Stream | None = None) -> Tensor:
        """Change a clip, or the next piece of one."""
        x_BCTHW = self.resnets[0](x_BCTHW, stream)
        for attention in self.attentions:
            x_BCTHW = attention(x_BCTHW)
        return self.resnets[1](x_BCTHW, stream)


def shuffle_space(x_BCTHW: Tensor, factor: int = 2) -> Tensor:
    """Channels become places: each C factor^2 of one place C of factor x factor."""
    batch, channels, frames, height, width = x_BCTHW.shape
    parts = x_BCTHW.view(batch, channels // factor**2, factor, factor, frames, height, width)
    return parts.permute(0, 1, 4, 5, 2, 6, 3).reshape(batch, -1, frames, height * factor, width * factor)


def unshuffle_space(x_BCTHW: Tensor, factor: int) -> Tensor:
    """The way back of :func:`shuffle_space`."""
    batch, channels, frames, height, width = x_BCTHW.shape
    parts = x_BCTHW.view(batch, channels, frames, height // factor, factor, width // factor, factor)
    return parts.permute(0, 1, 4, 6, 2, 3, 5).reshape(batch, -1, frames, height // factor, width // factor)


def shuffle_time(x_BCTHW: Tensor, factor: int = 2) -> Tensor:
    """Channels become frames: each C factor of one frame C of ``factor``."""
    batch, channels, frames, height, width = x_BCTHW.shape
    parts = x_BCTHW.view(batch, channels // factor, factor, frames, height, width)
    return parts.transpose(2, 3).reshape(batch, channels // factor, frames * factor, height, width)
