"""The stage of actions: a chunk of them behind a prompt, part of it hidden. Shapes: as in ``batch``."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Generator, Tensor

from mirage_pl.mmact.batch import Batch
from mirage_pl.mmact.losses import SlotLoss, average
from mirage_pl.mmact.model.decoding import HIDDEN, Decoder
from mirage_pl.mmact.model.masking import Masking
from mirage_pl.mmact.model.vocabulary import Span
from mirage_pl.mmact.stages.filling import FillingModule


class Act(FillingModule):
    """Learn to fill in hidden numbers of actions.

    Args:
        masking: which of them are hidden in training; in validation all are, as where it acts.
        supervise: ``masked``: what is hidden; ``all``: what is visible, too, as released.
        slot_loss: of each number.
        base: of :class:`FillingModule`.
    """

    def __init__(self, masking: Masking, supervise: Literal["masked", "all"], slot_loss: SlotLoss, **base: Any) -> None:
        super().__init__(**base)
        if supervise not in ("masked", "all"):
            raise ValueError(f"supervise={supervise} is unknown; choose masked or all")
        self.masking, self.supervise, self.slot_loss = masking, supervise, slot_loss

    def list_spans(self) -> list[Span]:
        """Bins."""
        return [self.net.vocab.bins]

    def terms(self, batch: Batch) -> dict[str, int]:
        """Numbers that are supervised."""
        return {"action": int(self.ask(batch, self.hide(batch)).sum())}

    def hide(self, batch: Batch) -> Tensor:
        """What is hidden, bool [B, N]: each row by its own draws of this step; what lies behind an episode, always."""
        hidden_BN = torch.ones_like(batch.real_BN)
        if self.training:
            slots = batch.real_BN.shape[1]
            drawn = [self.masking.draw(slots, self.stream_of(sample)) for sample in batch.samples]
            hidden_BN = torch.stack(drawn).to(hidden_BN.device)
        return hidden_BN | ~batch.real_BN

    def ask(self, batch: Batch, hidden_BN: Tensor) -> Tensor:
        """What is supervised, bool [B, N]."""
        return batch.real_BN & hidden_BN if self.supervise == "masked" else batch.real_BN

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of what is supervised, over bins alone; how far the likeliest is off is logged."""
        batch, hidden_BN, bins = self.see(batch), self.hide(batch), self.net.vocab.bins
        asked_BN, targets_BN = self.ask(batch, hidden_BN), self.net.code_actions(batch.actions_BHA).flatten(1)
        ids_BL = self.fill(batch, batch.action, torch.where(hidden_BN, HIDDEN, targets_BN), bins)
        logits_NV = self.read(batch.action, ids_BL, asked_BN, bins)
        targets_N = targets_BN[asked_BN]
        off = (logits_NV.argmax(-1) - targets_N).abs().float().mean() * 2 / (self.net.bins.count - 1)
        self.observe({"off": off.detach().nan_to_num()})
        return {"action": average(self.slot_loss(logits_NV, targets_N))}

    @torch.no_grad()
    def choose_actions(self, batch: Batch, decode: Decoder, streams: Sequence[Generator]) -> Tensor:
        """Fill in chunks, and take their numbers out of bins and scales.

        Raises:
            ValueError: the data's actions have another number of dimensions than those it was trained on.
        """
        filled = self.fill_in(batch, batch.action, self.net.vocab.bins, decode, streams)
        return self.net.read_actions(filled.expected_BN.view_as(batch.actions_BHA)).flatten(1)
