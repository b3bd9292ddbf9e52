"""Compute the latents of a block: one after another, all together in a few sweeps, or at once by learnt queries.

Latent j is the hidden state of the column before it, fed back (``feedback``), which depends on the latents before j; or
that of a query in its own column. The recurrence is run for all rows of a batch at once; rows whose block is shorter
carry padding in its last columns.

Shapes: B rows, k latents of the block, D width.
"""

from typing import Annotated, Protocol

import torch
from annotated_types import Ge
from torch import Tensor, nn


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
        apart: whether they are hidden states of columns that aren't kept, not of those before each latent.
    """

    together: bool
    apart: bool

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

    together, apart = False, False

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

    together, apart = True, False

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


class OnePass(nn.Module):
    """Write all latents of a block at once: latent j is the hidden state of the j-th of k learnt queries.

    Queries stand in the block's columns, see what is before the block and the queries before them, but no latent of the
    block, and are gone when the latents are read. So a block takes two calls: one in which it is written, and one in
    which it is read with what follows.

    Args:
        count: most latents of a block.

    Attributes:
        queries: ``[count, D]``, built by the network, which knows D.
    """

    together, apart = True, True
    queries: nn.Embedding

    def __init__(self, count: Annotated[int, Ge(1)]) -> None:
        super().__init__()
        self.count = count

    def build(self, width: int, like: Tensor) -> None:
        """Make the queries, of the type and on the device of a weight, unless they are there.

        They begin alike in all runs: ZeRO-3 parts weights as they are made, and draws other numbers before.
        """
        if "queries" not in self._modules:
            start_kD = 0.02 * torch.randn(self.count, width, generator=torch.Generator().manual_seed(0))
            self.queries = nn.Embedding(self.count, width, _weight=start_kD.to(like.device, like.dtype))

    def embeds(self, k: int) -> Tensor:
        """The queries of a block of k latents, ``[k, D]``.

        Raises:
            ValueError: there are fewer.
        """
        if k > self.count:
            raise ValueError(f"a block has {k} latents, but recurrence.count={self.count} queries; raise it to {k}")
        embeds_kD: Tensor = self.queries(torch.arange(k, device=self.queries.weight.device))
        return embeds_kD

    def forward(self, columns: Runs, state_B1D: Tensor, k: int) -> Tensor:
        """Run the queries without keeping them; no latent is run."""
        return columns.peek(self.embeds(k).to(state_B1D).expand(len(state_B1D), -1, -1))
