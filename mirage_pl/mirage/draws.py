"""Random choices in training that depend on seed, step and row alone, in whatever batch and process the row is.

Shapes: B rows, T columns, J blocks, n latents of a row.
"""

from pathlib import Path

import torch
from torch import Tensor

from mirage_pl.engine.training.draws import row_stream
from mirage_pl.mirage.batch import Batch


def draw_rows(batch: Batch, seed: int, step: int, what: str, count: int) -> Tensor:
    """Uniform random numbers of each row, ``[B, count]``.

    Args:
        batch: with its samples.
        seed: of the run.
        step: optimizer steps taken before.
        what: they are for: others have other numbers.
        count: of a row; the first ones don't depend on it.
    """
    streams = [row_stream(seed, f"{what}, {Path(sample.where).name}", step) for sample in batch.samples]
    return torch.stack([torch.rand(count, generator=stream) for stream in streams]).to(batch.tokens_BT.device)


def draw_slots(batch: Batch, seed: int, step: int, share: float) -> Tensor:
    """Draw a share of the latent slots, bools ``[B, T]``."""
    number_BT = (batch.latent_BT.cumsum(1) - 1).clamp(min=0)
    random_Bn = draw_rows(batch, seed, step, "slots", int(number_BT.max()) + 1)
    return batch.latent_BT & (random_Bn.gather(1, number_BT) < share)


def draw_blocks(batch: Batch, seed: int, step: int, share: float) -> Tensor:
    """Draw a share of the blocks of rows: their slots, bools ``[B, T]``."""
    random_BJ, drawn_BT = draw_rows(batch, seed, step, "blocks", len(batch.blocks)), torch.zeros_like(batch.latent_BT)
    for block, random_B in zip(batch.blocks, random_BJ.unbind(1), strict=True):
        drawn_BT[:, block.start : block.stop] = (random_B < share).unsqueeze(1)
    return batch.latent_BT & drawn_BT
