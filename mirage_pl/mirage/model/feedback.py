"""What a hidden state becomes when it is fed back: a latent's input embedding.

Shapes: N latents of the whole batch, D width.
"""

import torch
from torch import Tensor, nn


class Raw(nn.Module):
    """Itself: the paper's."""

    def observe(self, targets_ND: Tensor) -> None:
        """Take no notice of the latents that stage 1 teaches."""

    def forward(self, hidden: Tensor) -> Tensor:
        """Return it as it is."""
        return hidden


class Matched(Raw):
    """Scaled to the mean length of the latents that stage 1 teaches.

    A cosine loss leaves the length of a hidden state to the model, so what is fed back differs in length from what
    stage 1 has shown as input (an option; not the paper's). Until one was seen, hidden states are fed back as they are.

    Args:
        memory: share of the running mean that each batch leaves in place.

    Attributes:
        norm: running mean of the latents' lengths, part of the checkpoint; 0: none seen yet.

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
        """Learn the length, in training alone."""
        if self.training and len(targets_ND):
            seen = targets_ND.norm(dim=-1).mean().to(self.norm)
            self.norm = torch.where(self.norm == 0, seen, self.memory * self.norm + (1 - self.memory) * seen)

    def forward(self, hidden: Tensor) -> Tensor:
        """Scale every vector."""
        scaled = hidden * (self.norm.to(hidden) / hidden.norm(dim=-1, keepdim=True).clamp(min=1e-6))
        return torch.where(self.norm == 0, hidden, scaled)
