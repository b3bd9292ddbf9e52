"""Answers in words, filled in block by block: what is most certain is kept, and never hidden again.

Shapes: B rows, N slots of each, V ids.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Generator, Tensor

from mirage_pl.mmact.model.decoding import HIDDEN, Filled, Predict


@dataclass(frozen=True)
class Commit:
    """LLaDA's decoding (arXiv 2502.09992): each step keeps as many of the most certain words as its quota.

    Attributes:
        steps: forward passes, over all blocks.
        blocks: the answer's parts, filled in one after the other; 1: all of it at once.
        confidence: a probability: words above it are kept at once, beyond the quota, so that fewer steps are needed;
            approximate (Fast-dLLM, arXiv 2505.22618). ``None``: none are.
        stale: keys of prompts are those of the first step in all, though prompts see what is filled in: approximate.
    """

    steps: int
    blocks: int = 1
    confidence: float | None = None
    stale: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1 or self.blocks < 1 or self.steps % self.blocks:
            raise ValueError(f"decode.steps={self.steps} must be a multiple of blocks={self.blocks}, both 1 or more")
        if self.confidence is not None and not 0 < self.confidence <= 1:
            raise ValueError(f"decode.confidence={self.confidence} must be a probability above 0, or null")

    @property
    def exact(self) -> Self:
        """The same with a quota in each step, and keys of prompts computed anew."""
        return replace(self, confidence=None, stale=False)

    def __call__(self, predict: Predict, slots_BN: Tensor, streams: Sequence[Generator] | None = None) -> Filled:
        """See :class:`mirage_pl.mmact.model.decoding.Decoder`; nothing is drawn.

        Raises:
            ValueError: the slots can't be divided into such blocks.
        """
        length = slots_BN.shape[1]
        if length % self.blocks:
            raise ValueError(f"{length} words can't be divided into blocks={self.blocks} of one length")
        ids_BN, kept_BN, hidden, forwards = slots_BN.clone(), torch.zeros_like(slots_BN), list[list[int]](), 0
        width, steps = length // self.blocks, self.steps // self.blocks
        for block in range(self.blocks):
            inside_N = torch.arange(length, device=slots_BN.device) < (block + 1) * width
            quotas_BS = share_quotas(((ids_BN == HIDDEN) & inside_N).sum(1), steps)
            for step in range(steps):
                open_BN = (ids_BN == HIDDEN) & inside_N
                if not open_BN.any():
                    break
                logits_BNV, forwards = predict(ids_BN).double(), forwards + 1
                chosen_BN = logits_BNV.argmax(-1)
                chance_BN = logits_BNV.softmax(-1).gather(-1, chosen_BN[..., None])[..., 0]
                keep_BN = keep_most(chance_BN.masked_fill(~open_BN, -torch.inf), quotas_BS[:, step])
                if self.confidence is not None:
                    keep_BN |= open_BN & (chance_BN > self.confidence)
                ids_BN = torch.where(keep_BN, chosen_BN, ids_BN)
                kept_BN[keep_BN] = block * steps + step + 1
                hidden.append((ids_BN == HIDDEN).sum(1).tolist())
        return Filled(ids_BN, ids_BN.float(), forwards, hidden, kept_BN)


def share_quotas(count_B: Tensor, steps: int) -> Tensor:
    """How many words each step keeps, [B, steps]: the same, and one more in the first steps until all are shared."""
    more_BS = torch.arange(steps, device=count_B.device) < (count_B % steps)[:, None]
    return (count_B // steps)[:, None] + more_BS


def keep_most(chance_BN: Tensor, quota_B: Tensor) -> Tensor:
    """The ``quota_B`` most certain slots of each row, bool [B, N]."""
    place_BN = chance_BN.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return (place_BN < quota_B[:, None]) & chance_BN.isfinite()
