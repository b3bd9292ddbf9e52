"""The stage of several kinds of answers behind prompts of the same observations."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mirage_pl.mmact.batch import Batch
from mirage_pl.mmact.model.vocabulary import Span
from mirage_pl.mmact.stages.action import Act
from mirage_pl.mmact.stages.filling import FillingModule
from mirage_pl.mmact.stages.image import Paint
from mirage_pl.mmact.stages.text import Write

KINDS: Mapping[str, type[FillingModule]] = {"action": Act, "text": Write, "image": Paint}
"""Loss -> what learns it."""


class Mix(Act, Write, Paint):
    """Learn any of actions, words and images.

    Args:
        loss_weights: of each; ``None``: it isn't learnt.
        base: of these stages.

    Raises:
        ValueError: no kind is left, one that there isn't, or images without what codes them.
    """

    def __init__(self, loss_weights: Mapping[str, Any], **base: Any) -> None:
        weights = {name: weight for name, weight in loss_weights.items() if weight is not None}
        if not weights or weights.keys() - KINDS.keys():
            raise ValueError(f"mix={dict(loss_weights)} must give weights to one or more of {', '.join(KINDS)}")
        super().__init__(loss_weights=weights, **base)
        if "image" in weights and self.net.coder is None:
            raise ValueError("mix.image needs what codes pictures; add sight=images")

    @property
    def kinds(self) -> list[type[FillingModule]]:
        """Those that are learnt."""
        return [KINDS[name] for name in self.loss_weights]

    def list_spans(self) -> list[Span]:
        """Of all kinds that are learnt."""
        return [span for kind in self.kinds for span in kind.list_spans(self)]

    def terms(self, batch: Batch) -> dict[str, int]:
        """Of all kinds that are learnt."""
        return {name: terms for kind in self.kinds for name, terms in kind.terms(self, batch).items()}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Of all kinds that are learnt."""
        batch = self.see(batch)
        return {name: loss for kind in self.kinds for name, loss in kind.losses(self, batch).items()}
