"""Pictures as codes and back: a small autoencoder whose code is the signs of its channels (LFQ, arXiv 2310.05737).

Shapes: M pictures, C = 3 channels, S x S pixels, G x G places of n = G^2, K bits.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mirage_pl.mmact.model.images import read_codes, write_signs

SMALLEST = 1e-7
"""Chance at which a logarithm is still taken: a sigmoid of 17 is 1 in single precision."""


@dataclass(frozen=True)
class CoderSizes:
    """Of an autoencoder.

    Attributes:
        side: pixels of a picture.
        fold: each ``fold`` x ``fold`` pixels become channels of one place first; 1 as released.
        halvings: of what is left, to the grid of codes.
        channels: of the first features; each halving doubles them, up to four times as many.
        bits: of a code.
    """

    side: int
    fold: int
    halvings: int
    channels: int
    bits: int

    def __post_init__(self) -> None:
        shrinks = self.fold * 2**self.halvings
        if self.side % shrinks or self.channels % 8 or self.bits < 1:
            raise ValueError(
                f"model.coder.sizes: side={self.side} must be a multiple of {shrinks} for its fold and halvings, "
                f"channels={self.channels} of 8, and bits={self.bits} 1 or more"
            )

    @property
    def grid(self) -> int:
        """Side of the grid of codes."""
        return self.side // self.fold // 2**self.halvings

    @property
    def places(self) -> int:
        """Codes of a picture."""
        return self.grid**2

    @property
    def codes(self) -> int:
        """How many there are."""
        return 2**self.bits

    @property
    def widths(self) -> list[int]:
        """Channels before each halving, and after the last."""
        return [self.channels * min(4, 2**depth) for depth in range(self.halvings + 1)]


class Coded(NamedTuple):
    """Pictures that went through their codes.

    Attributes:
        vectors_MKGG: as they were before their signs were taken.
        pictures_MCSS: as they came back, about [-1, 1].
    """

    vectors_MKGG: Tensor
    pictures_MCSS: Tensor


class Residual(nn.Module):
    """Norm, SiLU and convolution, twice, added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        parts = [part for _ in range(2) for part in (nn.GroupNorm(8, width), nn.SiLU(), convolve(width, width))]
        self.inner = nn.Sequential(*parts)

    def forward(self, hidden_MCHW: Tensor) -> Tensor:
        """Features of the same size."""
        out_MCHW: Tensor = hidden_MCHW + self.inner(hidden_MCHW)
        return out_MCHW


def convolve(before: int, after: int, stride: int = 1) -> nn.Conv2d:
    """A convolution of 3 x 3 that keeps the size, or halves it."""
    return nn.Conv2d(before, after, 3, stride, 1)


class Coder(nn.Module):
    """Encoder, signs, decoder.

    Args:
        sizes: of it.
    """

    def __init__(self, sizes: CoderSizes) -> None:
        super().__init__()
        self.sizes, widths = sizes, sizes.widths
        pairs = list(zip(widths, widths[1:], strict=False))
        downs = [part for pair in pairs for part in (Residual(pair[0]), convolve(*pair, stride=2))]
        last = [nn.GroupNorm(8, widths[-1]), nn.SiLU(), convolve(widths[-1], sizes.bits)]
        first = [nn.PixelUnshuffle(sizes.fold), convolve(3 * sizes.fold**2, widths[0])]
        self.encoder = nn.Sequential(*first, *downs, Residual(widths[-1]), *last)
        ups = [
            part
            for before, after in reversed(pairs)
            for part in (nn.Upsample(scale_factor=2), convolve(after, before), Residual(before))
        ]
        out = convolve(widths[0], 3 * sizes.fold**2)
        last = [nn.GroupNorm(8, widths[0]), nn.SiLU(), out, nn.PixelShuffle(sizes.fold)]
        self.decoder = nn.Sequential(convolve(sizes.bits, widths[-1]), Residual(widths[-1]), *ups, *last)

    def forward(self, pictures_MCSS: Tensor) -> Coded:
        """Through codes and back; the gradient passes signs straight through."""
        vectors_MKGG: Tensor = self.encoder(pictures_MCSS)
        signs_MKGG = take_signs(vectors_MKGG)
        return Coded(vectors_MKGG, self.decoder(vectors_MKGG + (signs_MKGG - vectors_MKGG).detach()))

    @torch.no_grad()
    def encode(self, pictures_MCSS: Tensor) -> Tensor:
        """Codes, [M, n], row by row; one picture at a time, so that its codes don't depend on others beside it."""
        rows = [read_codes(self.encoder(picture_CSS[None]))[0] for picture_CSS in pictures_MCSS]
        return torch.stack(rows) if rows else torch.zeros((0, self.sizes.places), dtype=torch.long)

    @torch.no_grad()
    def decode(self, codes_Mn: Tensor) -> Tensor:
        """Pictures of codes, [M, C, S, S], about [-1, 1]."""
        signs_MnK = write_signs(codes_Mn, self.sizes.bits)
        pictures_MCSS: Tensor = self.decoder(signs_MnK.mT.unflatten(2, (self.sizes.grid, self.sizes.grid)))
        return pictures_MCSS


def take_signs(vectors: Tensor) -> Tensor:
    """-1 or 1; 0 gives -1."""
    return (vectors > 0).to(vectors) * 2 - 1


def draw_to_signs(vectors_MKGG: Tensor) -> Tensor:
    """How far vectors are from their signs: mean square of each picture, [M], times 1.25 as released."""
    away_MKGG: Tensor = (vectors_MKGG - take_signs(vectors_MKGG).detach()).square()
    return 1.25 * away_MKGG.flatten(1).mean(1)


def lose_entropy(vectors_MNK: Tensor) -> Tensor:
    """Entropy of each bit, which should be small, less that of its mean over N places, which should be large: [M]."""
    chances_MNK = (4 * vectors_MNK.float()).sigmoid()  # squares of the distances to -1 and 1 differ by 4 of its value
    return find_entropy(chances_MNK).mean((1, 2)) - find_entropy(chances_MNK.mean(1)).mean(1)


def find_entropy(chances: Tensor) -> Tensor:
    """Of a bit, in nats; chances of 0 and 1 have a gradient, too: none."""
    inner = chances.clamp(SMALLEST, 1 - SMALLEST)
    return torch.special.entr(inner) + torch.special.entr(1 - inner)
