"""How much better than its group each rollout is.

Shapes: P prompts, G rollouts of each: a group.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

SAME = 1e-6
"""Rewards of a group that differ by at most this share of the largest are the same: sums of parts are rounded."""


@dataclass(frozen=True)
class Advantages:
    """What the rollouts of some groups are worth.

    Attributes:
        values_PG: 0 in groups that tell nothing.
        telling_P: whether the rewards of a group differ; if not, it is degenerate.
    """

    values_PG: Tensor
    telling_P: Tensor


def compute_advantages(rewards_PG: Tensor, deviation: bool = True) -> Advantages:
    """Compare each rollout's reward with its group's mean.

    Args:
        rewards_PG: one per rollout.
        deviation: divide by the group's standard deviation (of a sample, G - 1), as GRPO does (arXiv 2402.03300,
            section 4.1.2). Without it groups whose rewards hardly differ don't weigh more than others (Dr. GRPO,
            arXiv 2503.20783).

    Raises:
        ValueError: a group of one, which has nothing to be compared with; or a reward that isn't finite.
    """
    if rewards_PG.shape[1] < 2:
        raise ValueError(
            f"rollouts.group={rewards_PG.shape[1]}, but an answer is compared with others to the same prompt; set it "
            "to 2 or more; 8 is usual"
        )
    rewards_PG = rewards_PG.double()
    if not (finite_PG := rewards_PG.isfinite()).all():
        prompt, rollout = (~finite_PG).nonzero()[0].tolist()
        raise ValueError(
            f"the reward of rollout {rollout} of prompt {prompt} is {rewards_PG[prompt, rollout].item()}; rewards must "
            "be finite numbers"
        )
    spread_P = rewards_PG.amax(1) - rewards_PG.amin(1)
    telling_P = spread_P > SAME * rewards_PG.abs().amax(1)
    values_PG = rewards_PG - rewards_PG.mean(1, keepdim=True)
    if deviation:
        values_PG = values_PG / rewards_PG.std(1, keepdim=True).where(telling_P.unsqueeze(1), 1)
    return Advantages(values_PG.where(telling_P.unsqueeze(1), 0).float(), telling_P)


def share_of_groups(success_PG: Tensor) -> dict[str, float]:
    """The shares of groups that are right throughout (``all_right``) and wrong throughout (``all_wrong``)."""
    right_PG = success_PG.bool()
    all_right, all_wrong = right_PG.all(1), (~right_PG).all(1)
    return {"all_right": torch.mean(all_right.float()).item(), "all_wrong": torch.mean(all_wrong.float()).item()}
