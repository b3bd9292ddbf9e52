"""Compute the latents of a block: one after another, or all together in a few sweeps.

Latent j is the hidden state of the column before it, fed back (``feedback``), which depends on the latents before j.
The recurrence is run for all rows of a batch at once; rows whose block is shorter carry padding in its last columns.

Shapes: B rows, k latents of the block, D width.
"""

from typing import Protocol

import torch
from torch import Tensor


class Runs(Protocol):
    """Runs the columns of a batch from left to right."""

    def advance(self, embeds_BSD: Tensor) -> Tensor:
        """Run and keep the next S columns; return ``[B, S, D]``."""
        ...

    def peek(self, embeds_BSD: Tensor) -> Tensor:
        """Run the next S columns without keeping them; return ``[B, S, D]``."""
        ...


class Recurrence(Protocol):
    """Compute the latents of a block.

    Attributes:
        together: whether a block's latents are computed at once; decoding then does so, too.
    """

    together: bool

    def __call__(self, columns: Runs, state_B1D: Tensor, k: int) -> Tensor:
        """Return those of the k latents that haven't been run yet, ``[B, k or fewer, D]``.

        Args:
            columns: run up to the first latent.
            state_B1D: the first latent: the hidden state of the column before it.
            k: latents of the block.
        """
        ...


class Sequential:
    """Each latent is the hidden state before it: k - 1 calls of one column; the last latent isn't run."""

    together = False

    def __call__(self, columns: Runs, state_B1D: Tensor, k: int) -> Tensor:
        """Run all latents but the last."""
        for _ in range(k - 1):
            state_B1D = columns.advance(state_B1D)
        return state_B1D


class Jacobi:
    """Refine all latents of a block at once, in sweeps; exact after k sweeps (PCCoT, arXiv 2506.18582).

    The first sweep sets every latent to the hidden state before the block. Each further one runs all k columns together
    and takes the hidden states as the next latents, which makes one more latent exact.

    Args:
        sweeps: 1 or more; k or more is :class:`Sequential`.

    Raises:
        ValueError: ``sweeps`` below 1.
    """

    together = True

    def __init__(self, sweeps: int) -> None:
        if sweeps < 1:
            raise ValueError(f"recurrence.sweeps={sweeps} must be 1 or more; k sweeps equal recurrence=sequential")
        self.sweeps = sweeps

    def __call__(self, columns: Runs, state_B1D: Tensor, k: int) -> Tensor:
        """Refine all latents; none is run."""
        latents_BkD = state_B1D.expand(-1, k, -1)
        for _ in range(min(self.sweeps, k) - 1):
            latents_BkD = torch.cat([state_B1D, columns.peek(latents_BkD)[:, :-1]], dim=1)
        return latents_BkD
