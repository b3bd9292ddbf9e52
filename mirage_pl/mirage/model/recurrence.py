"""How the latents of a block come about: one after another, or all together in a few sweeps.

Latent j is the hidden state of the column before it, fed back (``feedback``), which depends on the latents before j.
The recurrence is run for all rows of a batch at once; rows whose block is shorter carry padding in its last columns.

Shapes: B rows, k latents of the block, D width.
"""

from typing import Protocol

import torch
from torch import Tensor


class Columns(Protocol):
    """The columns of a batch, run from left to right."""

    def advance(self, embeds_BSD: Tensor) -> Tensor:
        """Run the next S columns; their hidden states as latents ``[B, S, D]``."""
        ...

    def peek(self, embeds_BSD: Tensor) -> Tensor:
        """Run the next S columns, and take no notice of it."""
        ...


class Recurrence(Protocol):
    """Find the latents of a block.

    Attributes:
        together: it finds a block's latents all at once, so that decoding does too.
    """

    together: bool

    def __call__(self, columns: Columns, state_B1D: Tensor, k: int) -> Tensor:
        """Return those of the k latents that have not been run yet, ``[B, k or fewer, D]``.

        Args:
            columns: before the first latent.
            state_B1D: the first latent: the hidden state of the column before.
            k: latents of the block.
        """
        ...


class Sequential:
    """Each latent is the hidden state before it: k - 1 calls on one column; the last latent is left to be run."""

    together = False

    def __call__(self, columns: Columns, state_B1D: Tensor, k: int) -> Tensor:
        """Run all latents but the last."""
        for _ in range(k - 1):
            state_B1D = columns.advance(state_B1D)
        return state_B1D


class Jacobi:
    """All latents of a block at once, refined in sweeps; exact after k sweeps (an option; PCCoT, arXiv 2506.18582).

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

    def __call__(self, columns: Columns, state_B1D: Tensor, k: int) -> Tensor:
        """Run no latent for good."""
        latents_BkD = state_B1D.expand(-1, k, -1)
        for _ in range(min(self.sweeps, k) - 1):
            latents_BkD = torch.cat([state_B1D, columns.peek(latents_BkD)[:, :-1]], dim=1)
        return latents_BkD
