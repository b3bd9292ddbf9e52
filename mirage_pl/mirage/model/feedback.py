"""How a hidden state becomes the input embedding of a latent.

Shapes: N latents of the whole batch, D width.
"""

import torch
from torch import Tensor, nn


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
