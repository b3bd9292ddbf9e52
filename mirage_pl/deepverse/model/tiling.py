"""Large frames in tiles that overlap, blended into each other. Shapes: B clips, C channels, T frames, H x W places."""

from collections.abc import Callable

import torch
from torch import Tensor

OVERLAP = 0.25
"""Share of a tile."""


def work_in_tiles(work: Callable[[Tensor], Tensor], x_BCTHW: Tensor, tile: int, result: int) -> Tensor:
    """Do something to a clip tile by tile.

    Args:
        work: what is done; a tile ``tile`` wide comes back ``result`` wide.
        x_BCTHW: the clip.
        tile: places of a tile, in height and in width.
        result: places of what becomes of it.
    """
    step, blended = int(tile * (1 - OVERLAP)), int(result * OVERLAP)
    rows, above = list[Tensor](), list[Tensor]()
    for top in range(0, x_BCTHW.shape[3], step):
        row = list[Tensor]()
        for number, left in enumerate(range(0, x_BCTHW.shape[4], step)):
            part = work(x_BCTHW[..., top : top + tile, left : left + tile])
            part = blend(above[number], part, blended, -2) if above else part
            row.append(blend(row[-1], part, blended, -1) if row else part)
        rows.append(torch.cat([part[..., : result - blended, : result - blended] for part in row], -1))
        above = row
    return torch.cat(rows, -2)


def blend(before: Tensor, after: Tensor, width: int, axis: int) -> Tensor:
    """Pass from the end of one tile to the beginning of the next one, in a line; the second tile is returned."""
    width = min(width, before.shape[axis], after.shape[axis])
    shape = [1] * after.ndim
    shape[axis] = width
    share = (torch.arange(width, dtype=after.dtype, device=after.device) / width).view(shape)
    ending, beginning = before.narrow(axis, before.shape[axis] - width, width), after.narrow(axis, 0, width)
    mixed = ending * (1 - share) + beginning * share
    return torch.cat((mixed, after.narrow(axis, width, after.shape[axis] - width)), axis)
