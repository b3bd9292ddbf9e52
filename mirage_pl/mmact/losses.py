"""Losses of hidden slots. Shapes: B rows, N slots of all rows, V ids of a span; targets count from the span's first."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class SlotLoss:
    """Cross-entropy of each slot, with what a target is.

    Attributes:
        kind: ``single``: its id; ``margin``: where the likeliest id is within ``within`` of it, that one; ``gaussian``:
            ids within ``radius`` of it, with weights that fall as a Gaussian does.
        within: of ``margin``.
        radius: of ``gaussian``.
        edge: weight of the ids at the radius over that of the target, before all are made to sum to 1.
    """

    kind: Literal["single", "margin", "gaussian"]
    within: int = 4
    radius: int = 6
    edge: float = 0.01

    def __post_init__(self) -> None:
        if self.kind not in ("single", "margin", "gaussian"):
            raise ValueError(f"loss kind={self.kind} is unknown; choose single, margin or gaussian")
        if self.within < 0 or self.radius < 1 or not 0 < self.edge < 1:
            raise ValueError(
                f"loss has within={self.within} (0 or more), radius={self.radius} (1 or more), edge in (0, 1)"
            )

    def __call__(self, logits_NV: Tensor, targets_N: Tensor) -> Tensor:
        """The loss of each slot, [N]."""
        logs_NV = logits_NV.float().log_softmax(-1)
        if self.kind == "gaussian":
            return -(self.spread(targets_N, logs_NV.shape[1]) * logs_NV).sum(-1)
        if self.kind == "margin" and len(targets_N):
            guesses_N = logs_NV.argmax(-1)
            targets_N = torch.where((guesses_N - targets_N).abs() <= self.within, guesses_N, targets_N)
        return F.nll_loss(logs_NV, targets_N, reduction="none")

    def spread(self, targets_N: Tensor, ids: int) -> Tensor:
        """Weights of all ids for each target, [N, V]; what lies beyond the span's ends is shared by the others."""
        distance_NV = torch.arange(ids, device=targets_N.device) - targets_N[:, None]
        rate = math.log(self.edge) / self.radius**2
        weights_NV = (rate * distance_NV.square()).exp() * (distance_NV.abs() <= self.radius)
        return weights_NV / weights_NV.sum(-1, keepdim=True)


def average(each_N: Tensor) -> Tensor:
    """The mean over slots; 0 where there are none."""
    return each_N.sum() / max(1, len(each_N))


def average_words(each_N: Tensor, rows_N: Tensor, chance_B: Tensor, words_B: Tensor) -> Tensor:
    """LLaDA's loss: mean over rows of what hidden words lose, over the chance to hide one and the words of the answer.

    Args:
        each_N: the loss of each word that is hidden and supervised.
        rows_N: of which row it is.
        chance_B: with which words of the row were hidden.
        words_B: places of its answer, those behind its end included.
    """
    return (each_N / chance_B[rows_N] / words_B[rows_N]).sum() / len(chance_B)
