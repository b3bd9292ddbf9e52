"""Random numbers of training, seeded by step: a resumed run draws the same as one that wasn't stopped."""

import torch

from data_modules.loading.draws import reseed, stream_seed


def seed_step(seed: int, step: int, rank: int, batch: int = 0) -> None:
    """Seed Python, NumPy and PyTorch for a batch, differently on each rank.

    Args:
        seed: of the run.
        step: optimizer steps taken before.
        rank: this process.
        batch: index of the batch within the step.
    """
    reseed(seed, "step", step, batch, rank)


def row_stream(seed: int, where: str, step: int) -> torch.Generator:
    """Return a CPU generator for a row and a step, independent of the batch that the row is in.

    Args:
        seed: of the run.
        where: the row's place, by a name that is the same on all machines.
        step: optimizer steps taken before, or the number of the row's use.
    """
    return torch.Generator().manual_seed(stream_seed(seed, where, step))
