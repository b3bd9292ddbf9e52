"""The causal video VAE: clips to codes, a frame first and then so many frames each, and back.

Shapes: B clips, C channels, T frames, N units, H x W pixels, h x w places. Pixels are about [-1, 1]. A clip may be
coded in pieces of time, whose result is the same, and in tiles, whose result is blended. Nothing here asks whether
several processes run.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mirage_pl.deepverse.model.causal import CausalConv, Stream
from mirage_pl.deepverse.model.tiling import work_in_tiles
from mirage_pl.deepverse.model.vae_coders import Decoder, Encoder, VaeSizes, join_pieces

PIXELS = 3
LEAST, MOST = -30.0, 20.0
"""Of log-variances, as released."""


@dataclass(frozen=True)
class Codes:
    """What an encoder says of a clip: a normal distribution of codes.

    Attributes:
        mean_BCNhw: codes.
        spread_BCNhw: their log-variance.
    """

    mean_BCNhw: Tensor
    spread_BCNhw: Tensor

    def draw(self, noise_BCNhw: Tensor) -> Tensor:
        """Codes drawn by standard normal noise."""
        return self.mean_BCNhw + (0.5 * self.spread_BCNhw).exp() * noise_BCNhw

    def measure_information(self) -> Tensor:
        """How far they are from standard normal ones (Kullback and Leibler), of each number, [B, C, N, h, w]."""
        return 0.5 * (self.mean_BCNhw.square() + self.spread_BCNhw.exp() - 1 - self.spread_BCNhw)


class CausalVAE(nn.Module):
    """The VAE.

    Args:
        sizes: of it.
    """

    def __init__(self, sizes: VaeSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.encoder, self.decoder = Encoder(sizes, PIXELS), Decoder(sizes, PIXELS)
        channels = sizes.latent_channels
        self.quant_conv = CausalConv(2 * channels, 2 * channels, (1, 1))
        self.post_quant_conv = CausalConv(channels, channels, (1, 1))
        if sizes.straight:
            pass_on(self.quant_conv)
            pass_on(self.post_quant_conv)

    @property
    def dtype(self) -> torch.dtype:
        """Of weights."""
        return next(self.parameters()).dtype

    def forward(self, pixels_B3THW: Tensor, noise_BCNhw: Tensor | None = None) -> tuple[Codes, Tensor]:
        """Code clips and decode what was drawn, or without noise the mean; the codes, and the clips again."""
        codes = self.encode(pixels_B3THW)
        return codes, self.decode(codes.mean_BCNhw if noise_BCNhw is None else codes.draw(noise_BCNhw))

    def encode(self, pixels_B3THW: Tensor, tile: int | None = None, piece: int | None = None) -> Codes:
        """Encode clips.

        Args:
            pixels_B3THW: the clips; frames beyond the last whole unit are left out.
            tile: pixels of a tile; ``None``: frames are coded whole.
            piece: units coded at a time, the first time one more; ``None``: all.

        Raises:
            ValueError: height or width isn't a multiple of a place's pixels.
        """
        height, width = pixels_B3THW.shape[3:]
        if height % self.sizes.space or width % self.sizes.space:
            raise ValueError(f"frames of {height} x {width} pixels; both must be multiples of {self.sizes.space}")
        whole = (pixels_B3THW.shape[2] - 1) // self.sizes.time * self.sizes.time + 1
        pixels_B3THW = pixels_B3THW[:, :, :whole]

        def work(part: Tensor) -> Tensor:
            pieces = [self.encoder(*each) for each in cut_pieces(part, piece, self.sizes.time)]
            return self.quant_conv(join_pieces(pieces))

        moments = (
            work(pixels_B3THW) if tile is None else work_in_tiles(work, pixels_B3THW, tile, tile // self.sizes.space)
        )
        mean, spread = moments.chunk(2, 1)
        return Codes(mean, spread.clamp(LEAST, MOST))

    def decode(self, codes_BCNhw: Tensor, tile: int | None = None, piece: int | None = None) -> Tensor:
        """Decode codes to clips of ``time`` (N - 1) + 1 frames; ``tile`` and ``piece`` as in :meth:`encode`."""

        def work(part: Tensor) -> Tensor:
            part = self.post_quant_conv(part)
            return join_pieces([self.decoder(*each) for each in cut_pieces(part, piece, 1)])

        if tile is None:
            return work(codes_BCNhw)
        return work_in_tiles(work, codes_BCNhw, tile // self.sizes.space, tile)

    def count_units(self, frames: int) -> int:
        """Units of so many frames."""
        return (frames - 1) // self.sizes.time + 1


def pass_on(conv: CausalConv) -> None:
    """Let a convolution of single places begin by changing nothing."""
    nn.init.dirac_(conv.conv.weight)
    if conv.conv.bias is not None:
        nn.init.zeros_(conv.conv.bias)


def cut_pieces(x_BCTHW: Tensor, piece: int | None, stride: int) -> Iterator[tuple[Tensor, Stream | None]]:
    """Yield a clip in pieces of units of ``stride`` frames, the first piece one frame longer, and what they share."""
    if piece is None:
        yield x_BCTHW, None
        return
    stream, first, width = Stream(), 0, piece * stride
    while first < x_BCTHW.shape[2]:
        end = first + width + (first == 0)
        yield x_BCTHW[:, :, first:end], stream
        stream.begins, first = False, end
