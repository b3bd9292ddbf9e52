"""How far one distribution over tokens is from another's, where both are large.

Shapes: M places, V tokens, K of them that count most.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor

LEAST = 1e-6
"""Of what is left for all other tokens: below, it is rounding."""


@dataclass(frozen=True)
class Divergence:
    """A generalised Jensen-Shannon divergence (arXiv 2306.13649, section 3).

    With the mixture ``m = beta p + (1 - beta) q`` it is ``beta KL(p | m) + (1 - beta) KL(q | m)``.

    Attributes:
        beta: 0.5 is symmetric.
        top: tokens that are told apart, those that p finds likeliest; all others are one.
        clip: most that one token adds, so that a few don't rule the mean; ``None``: any amount.
    """

    beta: Annotated[float, Gt(0), Lt(1)] = 0.5
    top: Annotated[int, Ge(1)] = 256
    clip: Annotated[float, Gt(0)] | None = 0.05

    def __call__(self, p_MV: Tensor, q_MV: Tensor) -> Tensor:
        """Return the divergence at each place, ``[M]``.

        Args:
            p_MV: log-probabilities.
            q_MV: the same of the other distribution.
        """
        ids_MK = p_MV.topk(min(self.top, p_MV.shape[1]), dim=1).indices
        p_MK, q_MK = (join_rest(logs_MV, ids_MK) for logs_MV in (p_MV, q_MV))
        weights = torch.tensor([self.beta, 1 - self.beta]).to(p_MK)
        mixed_MK = torch.logaddexp(p_MK + weights[0].log(), q_MK + weights[1].log())
        parts_MK = weights[0] * p_MK.exp() * (p_MK - mixed_MK) + weights[1] * q_MK.exp() * (q_MK - mixed_MK)
        return (parts_MK if self.clip is None else parts_MK.clamp(max=self.clip)).sum(1)


def join_rest(logs_MV: Tensor, ids_MK: Tensor) -> Tensor:
    """Log-probabilities of some tokens, and of all others together behind them, ``[M, K + 1]``."""
    logs_MK = logs_MV.gather(1, ids_MK).clamp(min=-1e4)  # a token that is never drawn
    rest_M1 = (1 - logs_MK.exp().sum(1, keepdim=True)).clamp(min=LEAST).log()
    return torch.cat((logs_MK, rest_M1), 1)
