"""Where tokens are, and which see which. Shapes: B rows, L tokens, D numbers of a token, K of a head, h x w tokens."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

SLOWEST = 10_000.0


def draw_table(side: int, base: int, width: int) -> Tensor:
    """Waves of a square table's places, [side, side, D].

    The first half of the numbers tells the column, the other the row; in each half sines come first, then cosines.

    Args:
        side: of the table.
        base: places that the table's coordinates are for; they are that much closer if it has more.
        width: D.
    """
    places = torch.arange(side, dtype=torch.float64) * base / side
    rates = SLOWEST ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    angles = places[:, None] * rates
    waves = torch.cat((angles.sin(), angles.cos()), 1)
    across, down = waves[None].expand(side, -1, -1), waves[:, None].expand(-1, side, -1)
    return torch.cat((across, down), 2).float()


def crop_table(table: Tensor, size: tuple[int, int], whole: tuple[int, int]) -> Tensor:
    """Waves of a picture's tokens, [h w, D].

    Args:
        table: of :func:`draw_table`.
        size: h and w.
        whole: tokens of the same picture in the size that is asked for now: coarser ones lie over the same places.

    Raises:
        ValueError: it is larger than the table.
    """
    side = table.shape[0]
    if max(whole) > side:
        raise ValueError(
            f"a picture of {whole[0]} x {whole[1]} tokens is larger than the table of {side} x {side} places"
        )
    top, left = (side - whole[0]) // 2, (side - whole[1]) // 2
    part = table[top : top + whole[0], left : left + whole[1]]
    if size != whole:
        part = F.interpolate(part.permute(2, 0, 1)[None], size, mode="bilinear")[0].permute(1, 2, 0)
    return part.flatten(0, 1)


def draw_turns(frames_L: Tensor, width: int) -> Tensor:
    """Turns that tell tokens of one frame from those of another, as complex numbers, [L, K / 2]."""
    rates = SLOWEST ** -(torch.arange(0, width, 2, dtype=torch.float64, device=frames_L.device) / width)
    angles = frames_L.double()[:, None] * rates
    return torch.polar(torch.ones_like(angles), angles)


def turn(heads_BHLK: Tensor, turns: Tensor) -> Tensor:
    """Turn neighbouring pairs of numbers."""
    pairs = heads_BHLK.unflatten(-1, (-1, 2))
    first, second = pairs.unbind(-1)
    cosine, sine = turns.real.to(heads_BHLK.dtype), turns.imag.to(heads_BHLK.dtype)
    return torch.stack((first * cosine - second * sine, first * sine + second * cosine), -1).flatten(-2)


def list_frames(sizes: Sequence[tuple[int, int]], context: int) -> Tensor:
    """The frame that each token belongs to, [L]: the context is of the oldest one.

    Args:
        sizes: (frames, tokens of a frame) of the entries of a sequence, the oldest first.
        context: tokens in front of them.
    """
    counts = [tokens for frames, tokens in sizes for _ in range(frames)]
    frames = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return torch.cat((torch.zeros(context, dtype=torch.long), frames))


def draw_mask(valid_BC: Tensor, frames_L: Tensor) -> Tensor:
    """Which token, by row, sees which, by column, [B, L, L]: real ones real ones of their frame and older frames.

    Context tokens that aren't real see each other alone, so that no row is empty.

    Args:
        valid_BC: context tokens that are real.
        frames_L: of :func:`list_frames`.
    """
    valid_BC = valid_BC.bool()
    rest = len(frames_L) - valid_BC.shape[1]
    valid_BL = torch.cat((valid_BC, valid_BC.new_ones(len(valid_BC), rest)), 1)
    together_BLL = valid_BL[:, :, None] == valid_BL[:, None]
    return together_BLL & (frames_L[:, None] >= frames_L[None])
