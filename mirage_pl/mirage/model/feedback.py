"""How a hidden state becomes the input embedding of a latent.

Shapes: N latents of the whole batch, B rows, S columns of one call, D width, C codes.
"""

from typing import Annotated

import torch
from annotated_types import Ge, Lt
from torch import Tensor, nn
from torch.nn.functional import normalize

from mirage_pl.mirage.model.recurrence import Runs


class Raw(nn.Module):
    """Feed the hidden state back unchanged, as the paper does."""

    def observe(self, targets_ND: Tensor) -> None:
        """Ignore the latents that stage 1 teaches."""

    def forward(self, hidden: Tensor) -> Tensor:
        """Return hidden states unchanged."""
        return hidden


class Matched(Raw):
    """Scale hidden states to the mean length of the latents that stage 1 teaches. Not in the paper.

    A cosine loss doesn't constrain the length of a hidden state, which so differs from the inputs of stage 1. Before
    the first latent is observed, hidden states are fed back unchanged.

    Args:
        memory: weight of the old value in the running mean, per batch.

    Attributes:
        norm: running mean of the latents' lengths, part of the checkpoint; 0 before the first batch.

    Raises:
        ValueError: ``memory`` isn't between 0 and 1.
    """

    norm: Tensor

    def __init__(self, memory: float = 0.99) -> None:
        super().__init__()
        if not 0 <= memory < 1:
            raise ValueError(f"feedback.memory={memory} must be at least 0 and below 1; 0.99 is usual")
        self.memory = memory
        self.register_buffer("norm", torch.zeros(()))

    @torch.no_grad()
    def observe(self, targets_ND: Tensor) -> None:
        """Update the running mean, in training only."""
        if self.training and len(targets_ND):
            length = targets_ND.norm(dim=-1).mean().to(self.norm)
            self.norm = torch.where(self.norm == 0, length, self.memory * self.norm + (1 - self.memory) * length)

    def forward(self, hidden: Tensor) -> Tensor:
        """Scale every vector."""
        scaled = hidden * (self.norm.to(hidden) / hidden.norm(dim=-1, keepdim=True).clamp(min=1e-6))
        return torch.where(self.norm == 0, hidden, scaled)


class Snapped(Raw):
    """Feed back the nearest of some codes, which are learnt from the latents that stage 1 teaches. Not in the paper.

    What is read is then always something that images give, so errors don't grow from block to block. The codes are
    means of the latents nearest to each, moving ones; the nearest code of a hidden state is that of the largest cosine,
    both less the mean of all codes. Its gradient is the code's (straight through). Before the first latent is observed,
    hidden states are fed back unchanged.

    Args:
        codes: how many.
        memory: weight of the old value in a code's moving mean, per batch.

    Attributes:
        codes_CD: part of the checkpoint, as ``counts_C``, the moving number of latents a batch nearest to each; a code
            with 0 isn't used yet.
    """

    codes_CD: Tensor
    counts_C: Tensor

    def __init__(self, codes: Annotated[int, Ge(2)], memory: Annotated[float, Ge(0), Lt(1)]) -> None:
        super().__init__()
        self.codes, self.memory = codes, memory

    def build(self, width: int, like: Tensor) -> None:
        """Make the codes, on the device of a weight, unless they are there; they stay in float32."""
        if "codes_CD" not in self._buffers:
            self.register_buffer("codes_CD", torch.zeros(self.codes, width, device=like.device))
            self.register_buffer("counts_C", torch.zeros(self.codes, device=like.device))

    @torch.no_grad()
    def observe(self, targets_ND: Tensor) -> None:
        """Move codes to the latents nearest to them, in training only; an unused code takes the farthest latent."""
        if not self.training or not len(targets_ND):
            return
        targets_ND = targets_ND.to(self.codes_CD)
        used_C = self.counts_C > 0
        distance_NC = torch.cdist(targets_ND, self.codes_CD).masked_fill(~used_C, torch.inf)
        least_N, nearest_N = distance_NC.min(1)
        if bool(used_C.any()):
            counts_C = nearest_N.bincount(minlength=self.codes).to(self.codes_CD)
            sums_CD = torch.zeros_like(self.codes_CD).index_add(0, nearest_N, targets_ND)
            share_C1 = ((1 - self.memory) * counts_C / self.moved(counts_C)).unsqueeze(1)
            means_CD = sums_CD / counts_C.clamp(min=1).unsqueeze(1)
            self.codes_CD.lerp_(means_CD, share_C1)
            self.counts_C.copy_(torch.where(used_C, self.moved(counts_C), 0.0))
        free = int(self.counts_C.argmin())
        farthest = int(least_N.argmax())
        if self.counts_C[free] < 1e-3 and least_N[farthest] > 1e-3 * targets_ND[farthest].norm():
            self.codes_CD[free], self.counts_C[free] = targets_ND[farthest], 1.0

    @property
    def mean_D(self) -> Tensor:
        """The mean of all codes, by how many latents are nearest to each."""
        return self.counts_C / self.counts_C.sum().clamp(min=1e-9) @ self.codes_CD

    def moved(self, counts_C: Tensor) -> Tensor:
        """The moving numbers of latents after a batch with these, above 0."""
        return (self.memory * self.counts_C + (1 - self.memory) * counts_C).clamp(min=1e-9)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the nearest code of every vector."""
        used_C = self.counts_C > 0
        if not bool(used_C.any()):
            return hidden
        units_CD = normalize(self.codes_CD - self.mean_D, dim=-1)
        likeness = ((hidden.to(self.codes_CD) - self.mean_D) @ units_CD.T).masked_fill(~used_C, -torch.inf)
        nearest: Tensor = self.codes_CD[likeness.argmax(-1)].to(hidden)
        return hidden + (nearest - hidden).detach()


class FedBack:
    """Columns that return hidden states as latents.

    Args:
        columns: that are run.
        feedback: hidden state -> latent.
        through: let gradients run through latents.

    Attributes:
        latest_BSD: the hidden states of the last call.
    """

    latest_BSD: Tensor

    def __init__(self, columns: Runs, feedback: Raw, through: bool = True) -> None:
        self.columns, self.feedback, self.through = columns, feedback, through

    def feed(self, hidden_BSD: Tensor) -> Tensor:
        """The latents that hidden states become."""
        latents_BSD: Tensor = self.feedback(hidden_BSD)
        return latents_BSD if self.through else latents_BSD.detach()

    def advance(self, embeds_BSD: Tensor) -> Tensor:
        """Run the next S columns."""
        self.latest_BSD = self.columns.advance(embeds_BSD)
        return self.feed(self.latest_BSD)

    def peek(self, embeds_BSD: Tensor) -> Tensor:
        """Run the next S columns without keeping them."""
        self.latest_BSD = self.columns.peek(embeds_BSD)
        return self.feed(self.latest_BSD)
