"""Linear ways past a VAE's blocks: the lowest cosines of the pixels of a unit's place, and back.

A small VAE that begins with them sees from the first step on, and learns what they miss. Shapes: B clips, C channels, T
frames, h x w places of P x P pixels, S frames of a unit, K numbers of a code.
"""

import math
from itertools import product

import torch
from torch import Tensor, nn

from mirage_pl.deepverse.model.causal import Stream, shuffle_space, shuffle_time, unshuffle_space

COLOURS = ((1, 1, 1), (1, -1, 0), (1, 1, -2))
"""Lightness and two hues, each a sum over red, green and blue."""
HUE = 1.5
"""A hue comes after a lightness of so many higher frequencies."""
QUIET = -6.0
"""Log-variance that codes begin with."""


class Straight(nn.Module):
    """Pixels to mean and log-variance of codes.

    Args:
        space: P.
        time: S.
        numbers: K.
    """

    def __init__(self, space: int, time: int, numbers: int) -> None:
        super().__init__()
        self.space, self.time = space, time
        self.conv = nn.Conv3d(3 * space**2, 2 * numbers, (time, 1, 1), (time, 1, 1))
        waves_K3SPP = draw_waves(space, time, numbers)
        with torch.no_grad():
            self.conv.weight.zero_()
            self.conv.weight[:numbers, :, :, 0, 0] = waves_K3SPP.transpose(1, 2).flatten(2).transpose(1, 2)
            self.conv.bias.zero_()  # type: ignore[union-attr]
            self.conv.bias[numbers:] = QUIET  # type: ignore[index]

    def forward(self, pixels_B3THW: Tensor, stream: Stream | None = None) -> Tensor:
        """Encode a clip, or the next piece of one: its first frame stands for a whole unit that doesn't move."""
        if stream is None or stream.begins:
            first = pixels_B3THW[:, :, :1].expand(-1, -1, self.time - 1, -1, -1)
            pixels_B3THW = torch.cat((first, pixels_B3THW), 2)
        return self.conv(unshuffle_space(pixels_B3THW, self.space))


class StraightBack(nn.Module):
    """Codes to pixels; arguments as of :class:`Straight`."""

    def __init__(self, space: int, time: int, numbers: int) -> None:
        super().__init__()
        self.space, self.time = space, time
        self.conv = nn.Conv3d(numbers, 3 * space**2 * time, 1)
        waves_K3SPP = draw_waves(space, time, numbers)
        with torch.no_grad():
            self.conv.weight[:, :, 0, 0, 0] = waves_K3SPP.permute(1, 3, 4, 2, 0).reshape(-1, numbers)
            self.conv.bias.zero_()  # type: ignore[union-attr]

    def forward(self, codes_BKNhw: Tensor, stream: Stream | None = None) -> Tensor:
        """Decode codes, or the next ones of a clip; of its first unit the last frame is there."""
        pixels = shuffle_space(shuffle_time(self.conv(codes_BKNhw), self.time), self.space)
        return pixels[:, :, self.time - 1 :] if stream is None or stream.begins else pixels


def draw_waves(space: int, time: int, numbers: int) -> Tensor:
    """The lowest waves over a place's pixels, each of length 1 and across all others, [K, 3, S, P, P]; then nothing."""
    orders = product(range(3), range(time), range(space), range(space))
    lowest = sorted(orders, key=lambda wave: (HUE * (wave[0] > 0) + sum(wave[1:]), wave))[:numbers]
    waves_K3SPP = torch.zeros(numbers, 3, time, space, space)
    for number, (hue, slow, down, across) in enumerate(lowest):
        colour_3 = torch.tensor(COLOURS[hue], dtype=torch.float32)
        parts = draw_cosine(slow, time), draw_cosine(down, space), draw_cosine(across, space)
        waves_K3SPP[number] = torch.einsum("c,t,y,x->ctyx", colour_3 / colour_3.norm(), *parts)
    return waves_K3SPP


def draw_cosine(order: int, length: int) -> Tensor:
    """A cosine of the discrete transform (type 2), of length 1."""
    wave = torch.cos(math.pi / length * (torch.arange(length) + 0.5) * order)
    return wave / wave.norm()
