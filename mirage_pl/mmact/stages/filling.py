"""What all stages that fill in slots share: a batch's numbers as ids, and one forward pass. Shapes: as in ``batch``."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from mirage_pl.mmact.batch import Batch, Prompts
from mirage_pl.mmact.model.backbone import Ask
from mirage_pl.mmact.model.decoding import HIDDEN
from mirage_pl.mmact.model.network import Network
from mirage_pl.mmact.model.vocabulary import Span
from mirage_pl.mmact.stages.policy import PolicyModule


class FillingModule(PolicyModule):
    """A stage whose ``net`` is a :class:`Network`.

    Args:
        compat: as released by mistake: padding is seen, and pairs of real places get 1 more of score.
        base: of :class:`mirage_pl.engine.training.base.BaseModule`.
    """

    net: Network

    def __init__(self, compat: bool, **base: Any) -> None:
        super().__init__(**base)
        self.compat = compat
        self.net.backbone.spare(self.list_spans())  # several processes refuse weights without a gradient

    @abstractmethod
    def list_spans(self) -> list[Span]:
        """What this stage asks for."""

    def units(self) -> list[nn.Module]:
        """The blocks, and what calls them."""
        return [*self.net.backbone.transformer.blocks, self.net]

    def parts(self) -> dict[str, Sequence[nn.Module]]:
        """The transformer, for adapters and learning rates."""
        return {"language": [self.net.backbone]}

    def fill(self, batch: Batch, prompts: Prompts, slots: Tensor, span: Span) -> Tensor:
        """The ids of prompts with the numbers of states, and with what is known of their slots, which count from 0."""
        ids_BL = prompts.ids_BL.clone()
        if len(batch.states_MS):
            ids_BL[prompts.state_BL] = self.net.code_state(batch.states_MS).flatten()
        mask = self.net.vocab["mask"]
        ids_BL[prompts.slots_BL] = torch.where(slots == HIDDEN, mask, slots + span.first).flatten()
        return ids_BL

    def read(self, prompts: Prompts, ids_BL: Tensor, asked: Tensor, span: Span) -> Tensor:
        """Logits over a span of the slots that are asked for, row by row, [n, V]."""
        places_BL = prompts.slots_BL.clone()
        places_BL[prompts.slots_BL] = asked.flatten()
        added = self.compat and self.training
        (logits_nV,) = self.net(ids_BL, prompts.keys_BL, [Ask(places_BL, span)], added)
        return logits_nV

    def predict(self, batch: Batch, prompts: Prompts, slots: Tensor, span: Span) -> Tensor:
        """Logits of all slots, [B, slots, V], of which some are known."""
        everywhere = torch.ones_like(slots, dtype=torch.bool)
        return self.read(prompts, self.fill(batch, prompts, slots, span), everywhere, span).unflatten(0, slots.shape)

    def describe_export(self) -> dict[str, Any]:
        """Sizes and layout by the names of released configs, and our own."""
        sizes, vocab = self.net.backbone.sizes, self.net.vocab
        released = {"vocab_size": vocab.size, "action_vocab_size": vocab.bins.size, "model_type": "mmact"}
        return super().describe_export() | released | {"sizes": asdict(sizes), "layout": asdict(vocab)}
