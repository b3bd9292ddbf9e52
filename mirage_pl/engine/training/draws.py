"""Nothing random in training depends on what was drawn before, so that a resumed run draws what it would have drawn."""

import torch

from data_modules.loading.draws import reseed, stream_seed


def seed_step(seed: int, step: int, rank: int, batch: int = 0) -> None:
    """Begin the random numbers of a batch, in Python, NumPy and PyTorch; every rank has its own.

    Args:
        seed: of the run.
        step: optimizer steps taken before.
        rank: this process.
        batch: which of the step's batches.
    """
    reseed(seed, "step", step, batch, rank)


def row_stream(seed: int, where: str, step: int) -> torch.Generator:
    """Return random numbers (on the CPU) that belong to a row and a step: the same in whatever batch the row comes.

    Args:
        seed: of the run.
        where: the row's place; its folder may differ between machines, so give a name that doesn't.
        step: optimizer steps taken before, or which use of the row it is.
    """
    return torch.Generator().manual_seed(stream_seed(seed, where, step))
