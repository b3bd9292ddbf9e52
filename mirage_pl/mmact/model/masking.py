"""Which slots are hidden. Shapes: N slots of a row."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

LEAST = 1e-6
"""Of all published schedules but the cosine."""


@dataclass(frozen=True)
class Schedule:
    """A number from 0 to 1 -> the share that is hidden, falling from 1 to 0.

    Attributes:
        kind: ``cosine``: cos(pi u / 2); ``linear``: 1 - u; ``power``: 1 - u ** exponent; ``sigmoid``: one from
            ``start`` to ``end``, divided by ``tau``; ``full``: always 1.
        exponent: of ``power``.
        start: of ``sigmoid``.
        end: of ``sigmoid``.
        tau: of ``sigmoid``.
    """

    kind: Literal["cosine", "linear", "power", "sigmoid", "full"] = "cosine"
    exponent: float = 2.0
    start: float = -3.0
    end: float = 3.0
    tau: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in ("cosine", "linear", "power", "sigmoid", "full"):
            raise ValueError(f"schedule kind={self.kind} is unknown; choose cosine, linear, power, sigmoid or full")
        if self.exponent <= 0 or self.tau <= 0 or self.start >= self.end:
            raise ValueError(f"schedule needs exponent={self.exponent} and tau={self.tau} above 0, and start below end")

    def __call__(self, u: Tensor) -> Tensor:
        """The share at each of some numbers, in their precision: counts are published in single."""
        if self.kind == "full":
            return torch.ones_like(u)
        if self.kind == "cosine":
            return torch.cos(u * math.pi * 0.5)
        if self.kind == "sigmoid":
            first, last = (torch.sigmoid(torch.tensor(end / self.tau)).to(u) for end in (self.start, self.end))
            level = torch.sigmoid((u * (self.end - self.start) + self.start) / self.tau)
            return ((last - level) / (last - first)).clamp(LEAST, 1.0)
        return (1 - u**self.exponent if self.kind == "power" else 1 - u).clamp(LEAST, 1.0)


@dataclass(frozen=True)
class Masking:
    """How many slots of a row are hidden in training, and which.

    Attributes:
        schedule: of the share, at a number drawn from 0 to 1.
        least: a smaller share is raised to it; 1: all slots, always, as a policy in one step meets them.
    """

    schedule: Schedule
    least: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.least <= 1:
            raise ValueError(f"least share of hidden slots={self.least} must be from 0 to 1")

    def count(self, share: Tensor, slots: int) -> Tensor:
        """How many of ``slots`` are hidden at each share: 1 or more."""
        return (slots * share.clamp(min=self.least)).round().long().clamp(min=1)

    def draw(self, slots: int, stream: Generator) -> Tensor:
        """Draw the hidden ones, bool [N]."""
        share = self.schedule(torch.rand((), generator=stream))
        hidden_N = torch.zeros(slots, dtype=torch.bool)
        hidden_N[torch.randperm(slots, generator=stream)[: int(self.count(share, slots))]] = True
        return hidden_N


def draw_words(slots: int, least: float, stream: Generator) -> tuple[Tensor, float]:
    """Hide each of some words by one chance p, drawn between ``least`` and 1: (bool [N], p); none may be hidden.

    Source: LLaDA (arXiv 2502.09992), where least is 0.001; 1 hides all, for text in one step.
    """
    chance = (1 - least) * float(torch.rand((), generator=stream)) + least
    return torch.rand(slots, generator=stream) < chance, chance
