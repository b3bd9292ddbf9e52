"""Rollouts in a batch to learn from.

Shapes: B rollouts, S actions of a kind, padded on the right, M actions of a kind of all rollouts, row after row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mirage_pl.engine.rl.policy import Inputs, Rollout


@dataclass(frozen=True)
class RolloutBatch:
    """Rollouts, and what the losses need of them.

    Attributes:
        inputs: the family's batch of them.
        old: kind -> log-probabilities ``[B, S]`` when the actions were taken.
        reference: kind -> those of the reference; empty without one.
        masks: kind -> which actions are there.
        counts: kind -> how many.
        advantages_B: of the rollouts.
        samples: the rollouts, for messages.
    """

    inputs: Inputs
    old: Mapping[str, Tensor]
    reference: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]
    counts: Mapping[str, int]
    advantages_B: Tensor
    samples: tuple[Rollout, ...]

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def num_real(self) -> int:
        """Columns that aren't padding, for throughput."""
        return int(getattr(self.inputs, "num_real", 0))

    @property
    def num_columns(self) -> int:
        """Columns, for throughput."""
        return int(getattr(self.inputs, "num_columns", 0))

    def to(self, device: Any, non_blocking: bool = False) -> Self:
        """Copy to a device."""

        def move(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {kind: tensor.to(device, non_blocking=non_blocking) for kind, tensor in tensors.items()}

        return replace(
            self,
            inputs=self.inputs.to(device, non_blocking=non_blocking),
            old=move(self.old),
            reference=move(self.reference),
            masks=move(self.masks),
            advantages_B=self.advantages_B.to(device, non_blocking=non_blocking),
        )

    def align(self, kind: str, values_M: Tensor) -> Tensor:
        """Put the actions' values of a kind, row after row, into ``[B, S]``."""
        mask_BS = self.masks[kind]
        return values_M.new_zeros(mask_BS.shape).masked_scatter(mask_BS, values_M)


def make_batch(rollouts: Sequence[Rollout], inputs: Inputs) -> RolloutBatch:
    """Put rollouts into a batch.

    Args:
        rollouts: at least one.
        inputs: the family's batch of the same.
    """
    kinds = list(rollouts[0].old)
    lengths = {kind: [len(rollout.old[kind]) for rollout in rollouts] for kind in kinds}
    referred = kinds if all(rollout.reference for rollout in rollouts) else []
    return RolloutBatch(
        inputs=inputs,
        old={kind: pad_sequence([rollout.old[kind] for rollout in rollouts], True) for kind in kinds},
        reference={kind: pad_sequence([rollout.reference[kind] for rollout in rollouts], True) for kind in referred},
        masks={kind: torch.arange(max(each)) < torch.tensor(each).unsqueeze(1) for kind, each in lengths.items()},
        counts={kind: sum(each) for kind, each in lengths.items()},
        advantages_B=torch.tensor([rollout.advantage for rollout in rollouts]),
        samples=tuple(rollouts),
    )
