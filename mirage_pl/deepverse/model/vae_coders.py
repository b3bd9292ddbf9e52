"""The two halves of the causal video VAE. Shapes: B clips, C channels, T frames, H x W places.

Names of weights are those of the release.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mirage_pl.deepverse.model.causal import (
    CausalConv,
    FrameNorm,
    Middle,
    Residual,
    Stream,
    shuffle_space,
    shuffle_time,
    unshuffle_space,
)
from mirage_pl.deepverse.model.straight import Straight, StraightBack


@dataclass(frozen=True)
class VaeSizes:
    """How large a VAE is.

    Attributes:
        latent_channels: of a code.
        channels: of the encoder's blocks; the decoder's are the same, backwards.
        encoder_layers: residual blocks of each of them.
        decoder_layers: the same of the decoder's.
        groups: of norms.
        space_strides: how much each block shrinks height and width, 1 or 2.
        time_strides: how much each block shrinks time, 1 or 2.
        patch: so many pixels in each direction become channels before anything else is done; 1: as released.
        time_kernel: frames of the convolutions within blocks; 1: time is mixed where it shrinks and grows alone.
        attends: places of a frame attend to each other in the middle.
        straight: linear ways lead past the blocks, which begin with no effect, so that a small VAE learns in minutes.

    Raises:
        ValueError: strides of another number than blocks, or others than 1 and 2.
    """

    latent_channels: int
    channels: Sequence[int]
    encoder_layers: int
    decoder_layers: int
    groups: int
    space_strides: Sequence[int]
    time_strides: Sequence[int]
    patch: int = 1
    time_kernel: int = 3
    attends: bool = True
    straight: bool = False

    def __post_init__(self) -> None:
        for name, strides in (("space_strides", self.space_strides), ("time_strides", self.time_strides)):
            if len(strides) != len(self.channels) or set(strides) - {1, 2}:
                raise ValueError(
                    f"model.vae.sizes.{name}={list(strides)} must have a 1 or 2 for each of {len(self.channels)} blocks"
                )

    @property
    def space(self) -> int:
        """Pixels of a place of a code, in each direction."""
        return self.patch * prod(self.space_strides)

    @property
    def time(self) -> int:
        """Frames of a unit, but for the first one, which is one frame."""
        return prod(self.time_strides)


class Down(nn.Module):
    """A block of the encoder."""

    def __init__(self, inputs: int, outputs: int, sizes: VaeSizes, space: int, time: int) -> None:
        super().__init__()
        widths = [inputs, *[outputs] * sizes.encoder_layers]
        pairs = zip(widths[:-1], widths[1:], strict=True)
        self.resnets = nn.ModuleList([Residual(*pair, sizes.groups, sizes.time_kernel) for pair in pairs])
        shrinking = CausalConv(outputs, outputs, stride=(1, 2)) if space > 1 else None
        self.downsamplers = nn.ModuleList([] if shrinking is None else [Resample(shrinking)])
        faster = CausalConv(outputs, outputs, stride=(2, 1)) if time > 1 else None
        self.temporal_downsamplers = nn.ModuleList([] if faster is None else [Resample(faster)])

    def forward(self, x_BCTHW: Tensor, stream: Stream | None = None) -> Tensor:
        """Change and shrink a clip, or the next piece of one."""
        for layer in (*self.resnets, *self.downsamplers, *self.temporal_downsamplers):
            x_BCTHW = layer(x_BCTHW, stream)
        return x_BCTHW


class Resample(nn.Module):
    """A convolution one level deeper, as the release names it."""

    def __init__(self, conv: CausalConv) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x_BCTHW: Tensor, stream: Stream | None = None) -> Tensor:
        """Convolve."""
        return self.conv(x_BCTHW, stream)


class Up(nn.Module):
    """A block of the decoder."""

    def __init__(self, inputs: int, outputs: int, sizes: VaeSizes, space: int, time: int) -> None:
        super().__init__()
        widths = [inputs, *[outputs] * sizes.decoder_layers]
        pairs = zip(widths[:-1], widths[1:], strict=True)
        self.resnets = nn.ModuleList([Residual(*pair, sizes.groups, sizes.time_kernel) for pair in pairs])
        self.upsamplers = nn.ModuleList([Resample(CausalConv(outputs, 4 * outputs))] if space > 1 else [])
        self.temporal_upsamplers = nn.ModuleList([Resample(CausalConv(outputs, 2 * outputs))] if time > 1 else [])

    def forward(self, x_BCTHW: Tensor, stream: Stream | None = None) -> Tensor:
        """Change and enlarge a clip, or the next piece of one: a clip's first frame stays one frame."""
        for layer in self.resnets:
            x_BCTHW = layer(x_BCTHW, stream)
        for layer in self.upsamplers:
            x_BCTHW = shuffle_space(layer(x_BCTHW, stream))
        for layer in self.temporal_upsamplers:
            x_BCTHW = shuffle_time(layer(x_BCTHW, stream))
            x_BCTHW = x_BCTHW[:, :, 1:] if stream is None or stream.begins else x_BCTHW
        return x_BCTHW


def silence(conv: CausalConv) -> None:
    """Let a convolution begin with no effect."""
    nn.init.zeros_(conv.conv.weight)
    if conv.conv.bias is not None:
        nn.init.zeros_(conv.conv.bias)


class Encoder(nn.Module):
    """Pixels to mean and log-variance of codes.

    Args:
        sizes: of the VAE.
        pixels: channels of a picture.
    """

    def __init__(self, sizes: VaeSizes, pixels: int) -> None:
        super().__init__()
        widths, self.patch = [sizes.channels[0], *sizes.channels], sizes.patch
        self.conv_in = CausalConv(pixels * sizes.patch**2, widths[0])
        shapes = zip(widths[:-1], widths[1:], sizes.space_strides, sizes.time_strides, strict=True)
        self.down_blocks = nn.ModuleList(
            [Down(inputs, outputs, sizes, space, time) for inputs, outputs, space, time in shapes]
        )
        self.mid_block = Middle(widths[-1], sizes.groups, sizes.time_kernel, sizes.attends)
        self.conv_norm_out = FrameNorm(sizes.groups, widths[-1])
        self.conv_out = CausalConv(widths[-1], 2 * sizes.latent_channels)
        self.straight = None
        if sizes.straight:
            self.straight = Straight(sizes.space, sizes.time, sizes.latent_channels)
            silence(self.conv_out)

    def forward(self, x_BCTHW: Tensor, stream: Stream | None = None) -> Tensor:
        """Encode a clip, or the next piece of one."""
        past = 0 if self.straight is None else self.straight(x_BCTHW, stream)
        x_BCTHW = self.conv_in(unshuffle_space(x_BCTHW, self.patch), stream)
        for block in (*self.down_blocks, self.mid_block):
            x_BCTHW = block(x_BCTHW, stream)
        return self.conv_out(F.silu(self.conv_norm_out(x_BCTHW)), stream) + past


class Decoder(nn.Module):
    """Codes to pixels.

    Args:
        sizes: of the VAE.
        pixels: channels of a picture.
    """

    def __init__(self, sizes: VaeSizes, pixels: int) -> None:
        super().__init__()
        widths, self.patch = list(reversed(sizes.channels)), sizes.patch
        self.conv_in = CausalConv(sizes.latent_channels, widths[0])
        self.mid_block = Middle(widths[0], sizes.groups, sizes.time_kernel, sizes.attends)
        # what the encoder's first block shrinks, the decoder's first block enlarges, as released
        shapes = zip([widths[0], *widths], widths, sizes.space_strides, sizes.time_strides, strict=False)
        self.up_blocks = nn.ModuleList(
            [Up(inputs, outputs, sizes, space, time) for inputs, outputs, space, time in shapes]
        )
        self.conv_norm_out = FrameNorm(sizes.groups, widths[-1])
        self.conv_out = CausalConv(widths[-1], pixels * sizes.patch**2)
        self.straight = None
        if sizes.straight:
            self.straight = StraightBack(sizes.space, sizes.time, sizes.latent_channels)
            silence(self.conv_out)

    def forward(self, x_BCTHW: Tensor, stream: Stream | None = None) -> Tensor:
        """Decode a clip, or the next piece of one."""
        past = 0 if self.straight is None else self.straight(x_BCTHW, stream)
        x_BCTHW = self.mid_block(self.conv_in(x_BCTHW, stream), stream)
        for block in self.up_blocks:
            x_BCTHW = block(x_BCTHW, stream)
        pixels = self.conv_out(F.silu(self.conv_norm_out(x_BCTHW)), stream)
        return shuffle_space(pixels, self.patch) + past


def join_pieces(pieces: Sequence[Tensor]) -> Tensor:
    """Pieces of a clip, one after the other."""
    return pieces[0] if len(pieces) == 1 else torch.cat(list(pieces), 2)
