"""A round of rollouts: what was done, what it is worth, and what is watched of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch

from mirage_pl.engine.rl.advantages import compute_advantages, share_of_groups
from mirage_pl.engine.rl.policy import Rollout
from mirage_pl.engine.rl.rewards import Grader, Part, reward_answer


@dataclass(frozen=True)
class Round:
    """Rollouts that a few steps learn from.

    Attributes:
        number: of the round.
        taken: places in the order of prompts that were passed by its end, see
            :func:`mirage_pl.engine.rl.schedule.draw_prompts`.
        rollouts: those whose group tells something; all, worth nothing, if none does.
        watched: means over all rollouts, by name.
    """

    number: int = -1
    taken: int = 0
    rollouts: Sequence[Rollout] = ()
    watched: Mapping[str, float] = field(default_factory=dict)

    def save(self) -> dict[str, Any]:
        """Plain values and tensors, for a checkpoint."""
        rows = pack(self.rollouts)
        return {"number": self.number, "taken": self.taken, "rollouts": rows, "watched": dict(self.watched)}

    @classmethod
    def load(cls, saved: Mapping[str, Any], prompts: Any) -> Self:
        """Make it again of what was saved, with the data set whose samples were asked."""
        return cls(saved["number"], saved["taken"], unpack(saved["rollouts"], prompts), saved["watched"])


def pack(rollouts: Sequence[Rollout]) -> list[dict[str, Any]]:
    """Rollouts as plain values and tensors, without their samples."""
    return [{name: value for name, value in vars(each).items() if name != "sample"} for each in rollouts]


def unpack(rows: Sequence[Mapping[str, Any]], prompts: Any) -> list[Rollout]:
    """Rollouts again, with the data set whose samples were asked."""
    return [Rollout(sample=prompts[row["index"]], **row) for row in rows]


@dataclass(frozen=True)
class Judged:
    """Some groups of rollouts with their rewards and advantages.

    Attributes:
        groups: rollouts of each prompt.
        telling: of each group, whether its rewards differ.
    """

    groups: Sequence[Sequence[Rollout]] = ()
    telling: Sequence[bool] = ()

    def join(self, other: "Judged") -> "Judged":
        """Both, one after the other."""
        return Judged([*self.groups, *other.groups], [*self.telling, *other.telling])

    def keep(self, most: int) -> list[Rollout]:
        """The rollouts of the first groups that tell something; of all groups, worth nothing, if none does."""
        kept = [group for group, tells in zip(self.groups, self.telling, strict=True) if tells][:most]
        return [rollout for group in kept or self.groups for rollout in group]

    def watch(self) -> dict[str, float]:
        """Means over all rollouts: parts of the reward, its sum, facts; and shares of groups."""
        rollouts = [rollout for group in self.groups for rollout in group]
        means = watch_facts(rollouts)
        if all("success" in rollout.facts for rollout in rollouts):
            success_PG = torch.tensor([[rollout.facts["success"] for rollout in group] for group in self.groups])
            means |= share_of_groups(success_PG)
        return means | {"degenerate": 1 - mean_of(self.telling), "groups": float(len(self.groups))}


def reward(rollouts: Sequence[Rollout], parts: Mapping[str, Part], grader: Grader) -> list[Rollout]:
    """Reward rollouts.

    Args:
        rollouts: any.
        parts: of the reward.
        grader: grades them.

    Raises:
        ValueError: an answer can't be graded; names its row.
    """
    rewarded: list[Rollout] = []
    for rollout in rollouts:
        rewards, facts = reward_answer(parts, grader, rollout.sample, rollout.answer)
        rewarded.append(replace(rollout, rewards=rewards, facts={**rollout.facts, **facts}))
    return rewarded


def judge(rollouts: Sequence[Rollout], group: int, deviation: bool) -> Judged:
    """Compare each rollout's reward with its group's.

    Args:
        rollouts: rewarded, prompt after prompt.
        group: rollouts of each prompt.
        deviation: as in :func:`mirage_pl.engine.rl.advantages.compute_advantages`.
    """
    sums = [sum(rollout.rewards.values()) for rollout in rollouts]
    advantages = compute_advantages(torch.tensor(sums, dtype=torch.float64).view(-1, group), deviation)
    worth = advantages.values_PG.flatten().tolist()
    worthy = [replace(rollout, advantage=value) for rollout, value in zip(rollouts, worth, strict=True)]
    groups = [worthy[first : first + group] for first in range(0, len(worthy), group)]
    return Judged(groups, advantages.telling_P.tolist())


def watch_facts(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Means over those rollouts that have them: parts of the reward and its sum, facts."""
    named = [
        {f"reward_{name}": value for name, value in rollout.rewards.items()}
        | ({"reward": sum(rollout.rewards.values())} if rollout.rewards else {})
        | dict(rollout.facts)
        for rollout in rollouts
    ]
    names = dict.fromkeys(name for values in named for name in values)
    return {name: mean_of([values[name] for values in named if name in values]) for name in names}


def mean_of(values: Sequence[float]) -> float:
    """The mean of at least one number."""
    return sum(values) / len(values)
