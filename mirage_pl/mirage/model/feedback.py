"""How a hidden state becomes the input embedding of a latent.

Shapes: N latents of the whole batch, B rows, S columns of one call, D width.
"""

import torch
from torch import Tensor, nn

from mirage_pl.mirage.model.recurrence import Runs


class Raw(nn.Module):
    """Feed the hidden state back unchanged, as the paper does."""

    def observe(self, targets_ND: Tensor) -> None:
        """Ignore the latents that stage 1 teaches."""

    def encode(self, targets_ND: Tensor) -> Tensor:
        """What is read of latents that stage 1 teaches: themselves."""
        return targets_ND

    def compared(self, hidden: Tensor) -> Tensor:
        """What losses compare with latents that stage 1 teaches: hidden states themselves."""
        return hidden

    def name(self, latent_D: Tensor) -> str:
        """What a latent that was fed back is called; nothing, since it can be any vector."""
        return ""

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
