"""The stages of Mirage: each turns a batch into named losses, and answers questions the same way.

Shapes: B rows, T columns, D width.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from mirage_pl.base import BaseModule
from mirage_pl.mirage.batch import IGNORE, Batch
from mirage_pl.mirage.generate import Decoder, Generation
from mirage_pl.mirage.latents import LatentVLM
from mirage_pl.mirage.losses import latent_cosine, text_ce


class MirageModule(BaseModule):
    """What all stages share: cross-entropy on the answer, and generation.

    Args:
        decoder: answers prompts.
        options: those of :class:`mirage_pl.base.BaseModule`.
    """

    net: LatentVLM

    def __init__(self, decoder: Decoder, **options: Any) -> None:
        super().__init__(**options)
        self.decoder = decoder

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """``text``: cross-entropy on the answer's text. Latent blocks, if the batch has any, are recycled states."""
        return {"text": self.text_loss(self.net.recurrent(batch), batch)}

    def text_loss(self, hidden_BTD: Tensor, batch: Batch) -> Tensor:
        """Mean cross-entropy over the batch's supervised tokens; only those positions reach the vocabulary."""
        asked_BT = batch.targets_BT != IGNORE
        return text_ce(self.net.logits(hidden_BTD[asked_BT]), batch.targets_BT[asked_BT])

    def generate(self, prompts: Batch, max_new_tokens: int) -> Generation:
        """Answer a batch of prompts greedily, thinking in latents where the model asks for them."""
        return self.decoder(self.net, prompts, max_new_tokens)

    @torch.no_grad()
    def stream(self, prompts: Batch, max_new_tokens: int) -> Iterator[str]:
        """Answer the first prompt piece by piece, then describe its latents."""
        yield from self.decoder.stream(self.net, prompts, max_new_tokens)


class SFT(MirageModule):
    """Pretraining and the baseline: answers without latents (the collator leaves them out)."""


class Stage1(MirageModule):
    """Text and latents together, teacher-forced: L1 = L_visual + gamma L_text (section 3 of the paper)."""

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """``text``: cross-entropy; ``latent``: one minus cosine to the compressed helper features."""
        hidden_BTD, predicted_ND, targets_ND = self.net.teacher_forced(batch)
        return {"text": self.text_loss(hidden_BTD, batch), "latent": latent_cosine(predicted_ND, targets_ND)}


class Stage2(MirageModule):
    """Latents are the model's own hidden states; only text is supervised, and its gradient runs through them."""
