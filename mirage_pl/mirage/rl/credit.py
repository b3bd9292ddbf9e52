"""How much more right answers read each latent than wrong ones do: ReaLVR's credit.

Shapes: B rows, T columns, H heads, N latents, row after row, k of one answer.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mirage_pl.engine.rl.policy import Rollout
from mirage_pl.mirage.batch import IGNORE, Batch
from mirage_pl.mirage.model.latents import LatentVLM
from mirage_pl.mirage.probing.sight import use_eager_attention
from mirage_pl.mirage.rl.collator import Answers


def credit_rollouts(
    net: LatentVLM, batches: Iterable[Answers], rollouts: Sequence[Rollout], group: int
) -> list[Rollout]:
    """Record the credit of each answer's latents, times how many there are: ``credit`` in its ``record``.

    Args:
        net: the model.
        batches: of the rollouts.
        rollouts: rewarded, question after question.
        group: answers to a question.
    """
    readings = [reading for each in batches for reading in read_latents(net, each.batch, each.latents_ND)]
    credited: list[Rollout] = []
    for first in range(0, len(rollouts), group):
        some = rollouts[first : first + group]
        credit = give_credit(readings[first : first + group], judge_group(some))
        credited += [
            replace(rollout, record={**rollout.record, "credit": credit_k * len(credit_k)})
            for rollout, credit_k in zip(some, credit, strict=True)
        ]
    return credited


@torch.no_grad()
def read_latents(net: LatentVLM, batch: Batch, latents_ND: Tensor) -> list[Tensor]:
    """The attention that each latent gets from the chosen tokens behind it, ``[k]`` of each row, on the CPU.

    It is a mean over layers that attend, heads, and these tokens; 0 where there are none.

    Args:
        net: the model.
        batch: answers.
        latents_ND: theirs.
    """
    width = batch.tokens_BT.shape[1]
    order_T = torch.arange(width, device=batch.tokens_BT.device)
    behind_BTT = (
        ((batch.targets_BT != IGNORE).unsqueeze(2)) & (order_T.unsqueeze(1) > order_T) & batch.latent_BT[:, None]
    )
    sums: list[Tensor] = []

    def keep(_module: Any, _inputs: Any, outputs: tuple[Tensor, Tensor]) -> None:
        weights_BST = outputs[1].float().mean(1)
        if weights_BST.shape[2] == width:  # not of shared questions, which see no latent
            sums.append(torch.where(behind_BTT[:, -weights_BST.shape[1] :], weights_BST, 0).sum(1))

    hooks = [net.decoder.layers[number].self_attn.register_forward_hook(keep) for number in net.architecture.attending]
    try:
        with use_eager_attention(net.decoder):
            net.with_latents(batch, net.embed(batch), latents_ND)
    finally:
        for hook in hooks:
            hook.remove()
    mean_BT = torch.stack(sums).mean(0) / behind_BTT.sum(1).clamp(min=1)
    rows = zip(mean_BT.cpu(), batch.latent_BT.cpu(), strict=True)
    return [mean_T[latent_T] for mean_T, latent_T in rows]


def give_credit(readings: Sequence[Tensor], right: Sequence[bool]) -> list[Tensor]:
    """How much more the right answers of a group read a latent in some place than the wrong ones, 0 if less.

    Args:
        readings: of each answer, the attention ``[k]`` that its latents get.
        right: whether each answer is right.

    Returns:
        Of each answer, the credit of its latents; 0 in places where no right or no wrong answer has a latent.
    """
    credit: list[float] = []
    for place in range(max(map(len, readings), default=0)):
        sides = [
            [
                float(reading[place])
                for reading, good in zip(readings, right, strict=True)
                if good == side and len(reading) > place
            ]
            for side in (True, False)
        ]
        credit.append(max(0.0, sum(sides[0]) / len(sides[0]) - sum(sides[1]) / len(sides[1])) if all(sides) else 0.0)
    return [torch.tensor(credit[: len(reading)]) for reading in readings]


def judge_group(rollouts: Sequence[Rollout]) -> list[bool]:
    """Which answers of a group are right: by their success, or where that isn't known those above the mean reward."""
    if all("success" in rollout.facts for rollout in rollouts):
        return [bool(rollout.facts["success"]) for rollout in rollouts]
    sums = [sum(rollout.rewards.values()) for rollout in rollouts]
    return [value > sum(sums) / len(sums) for value in sums]
