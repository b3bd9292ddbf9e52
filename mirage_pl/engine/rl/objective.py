"""The loss of a policy gradient: a clipped ratio of probabilities, weighed by advantages; the distance to a reference.

All is computed from log-probabilities of what was done. What isn't there (padding) is ``False`` in the mask, and any
value, which doesn't count.

Shapes: B rollouts, S actions of each (tokens, or whatever the policy chooses).
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor


@dataclass(frozen=True)
class Surrogate:
    """A loss, and what is watched of it.

    Attributes:
        loss: a mean over :meth:`Objective.count` terms.
        clipped: share of the actions (of the rollouts, with a sequence's ratio) whose gradient is cut off.
        drift: mean of how far a ratio is from 1.
    """

    loss: Tensor
    clipped: Tensor
    drift: Tensor


@dataclass(frozen=True)
class Objective:
    """Options of the loss.

    Attributes:
        clip_low: a ratio below 1 minus this no longer counts where an action is to become rarer (PPO's, GRPO's 0.2).
        clip_high: one above 1 plus this, where it is to become more frequent; DAPO's clip-higher is 0.28 (arXiv
            2503.14476, section 3.1).
        ratio: of each ``token``; or one for the ``sequence``, the geometric mean of its tokens' (GSPO, arXiv
            2507.18071), whose clips are far smaller: 3e-4 and 4e-4.
        mean: over all ``tokens`` of the step (DAPO, section 3.3); over ``sequences``, of each the mean over its tokens
            (GRPO); or ``constant``: over sequences, of each the sum over ``length`` (Dr. GRPO, arXiv 2503.20783).
        length: for ``constant``: the most tokens of a rollout.

    Raises:
        ValueError: ``constant`` without a length.
    """

    clip_low: Annotated[float, Ge(0), Lt(1)] = 0.2
    clip_high: Annotated[float, Ge(0)] = 0.2
    ratio: Literal["token", "sequence"] = "token"
    mean: Literal["tokens", "sequences", "constant"] = "tokens"
    length: Annotated[int, Gt(0)] | None = None

    def __post_init__(self) -> None:
        choices = {"ratio": ("token", "sequence"), "mean": ("tokens", "sequences", "constant")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"objective.{name}={getattr(self, name)} is unknown; choose one of {', '.join(allowed)}"
                )
        if self.mean == "constant" and self.length is None:
            raise ValueError(
                "objective.mean=constant divides by objective.length; set that to the most tokens of a rollout"
            )

    def surrogate(self, new_BS: Tensor, old_BS: Tensor, mask_BS: Tensor, advantages_B: Tensor) -> Surrogate:
        """Compute the clipped loss.

        Args:
            new_BS: log-probabilities of the actions now; gradients flow through them alone.
            old_BS: those of when the actions were taken.
            mask_BS: which actions are there.
            advantages_B: of the rollouts; one that is better than its group is above 0.
        """
        change_BS = torch.where(mask_BS, new_BS - old_BS, 0)
        advantages_B1 = advantages_B.to(change_BS).unsqueeze(1)
        if self.ratio == "sequence":
            change_BS = (change_BS.sum(1) / mask_BS.sum(1).clamp(min=1)).unsqueeze(1)
            there_BS = mask_BS.any(1, keepdim=True)
        else:
            there_BS = mask_BS
        ratio_BS = change_BS.exp()
        bounded_BS = ratio_BS.clamp(1 - self.clip_low, 1 + self.clip_high)
        free_BS, cut_BS = ratio_BS * advantages_B1, bounded_BS * advantages_B1
        losses_BS = -torch.minimum(free_BS, cut_BS)
        if self.ratio == "sequence":
            loss = average(losses_BS.expand_as(mask_BS), mask_BS, "sequences")
        else:
            loss = average(losses_BS, mask_BS, self.mean, self.length)
        clipped = average((cut_BS < free_BS).float(), there_BS)
        return Surrogate(loss, clipped.detach(), average((ratio_BS.detach() - 1).abs(), there_BS))

    def count(self, actions: int, rollouts: int) -> int:
        """How many terms the loss is a mean of, of a batch with so many actions and rollouts."""
        return actions if self.mean == "tokens" and self.ratio == "token" else rollouts


def average(values_BS: Tensor, mask_BS: Tensor, mean: str = "tokens", length: int | None = None) -> Tensor:
    """Average values over what is there, as :class:`Objective` says; 0 of nothing."""
    values_BS = torch.where(mask_BS, values_BS, 0)
    if mean == "tokens":
        return values_BS.sum() / mask_BS.sum().clamp(min=1)
    lengths_B = mask_BS.sum(1).clamp(min=1) if length is None or mean == "sequences" else length
    return (values_BS.sum(1) / lengths_B).sum() / max(len(values_BS), 1)


def estimate_kl(new_BS: Tensor, reference_BS: Tensor, mask_BS: Tensor) -> Tensor:
    """Estimate for each action how far the policy is from a reference: ``r - log r - 1``, with the ratio ``r`` to ours.

    Never below 0, of low variance, and right on average over the policy's own actions (Schulman's k3; GRPO, arXiv
    2402.03300, equation 4).
    """
    change_BS = torch.where(mask_BS, reference_BS - new_BS, 0)
    return torch.expm1(change_BS) - change_BS
