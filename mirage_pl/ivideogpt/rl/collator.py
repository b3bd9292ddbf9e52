"""Batches of imagined clips. Shapes: B clips, T context frames, F others, N and n codes of each, A of an action."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from mirage_pl.engine.rl.batch import make_batch
from mirage_pl.engine.rl.policy import Rollout
from mirage_pl.ivideogpt.batch import Collator


@dataclass(frozen=True)
class ImaginedCodes:
    """Imagined clips, by their codes alone.

    Attributes:
        context_BTN: codes of the context.
        codes_BFn: codes that were drawn.
        actions_BFA: what led to each frame; ``None`` for a model without actions.
    """

    context_BTN: Tensor
    codes_BFn: Tensor
    actions_BFA: Tensor | None

    def __len__(self) -> int:
        return len(self.codes_BFn)

    @property
    def num_real(self) -> int:
        """Codes: nothing is padded."""
        return self.context_BTN.numel() + self.codes_BFn.numel()

    @property
    def num_columns(self) -> int:
        """The same."""
        return self.num_real

    def to(self, device: Any, non_blocking: bool = False) -> Self:
        """Copy to a device."""
        tensors = {
            name: each.to(device, non_blocking=non_blocking) for name, each in vars(self).items() if each is not None
        }
        return replace(self, **tensors)


class RolloutCollator(Collator):
    """Turn clips, or rollouts, into a batch."""

    def __call__(self, samples: Sequence[Any]) -> Any:
        """Build a batch of clips as :class:`Collator` does, or of rollouts."""
        if not isinstance(samples[0], Rollout):
            return super().__call__(samples)
        context, codes, actions = (
            [rollout.record[name] for rollout in samples] for name in ("context", "codes", "actions")
        )
        actions_BFA = None if actions[0] is None else torch.stack(actions)
        return make_batch(samples, ImaginedCodes(torch.stack(context).long(), torch.stack(codes).long(), actions_BFA))
