"""A control: what helper images teach without latents.

Shapes: B rows, N predictions, D width.
"""

from typing import Any

import torch
from torch import Tensor

from mirage_pl.mirage.batch import IGNORE, Batch
from mirage_pl.mirage.losses import latent_cosine
from mirage_pl.mirage.module import Supervised


class Auxiliary(Supervised):
    """A control: the same supervision by the helper image, but no latents.

    A linear head predicts the k compressed helper features at once from the hidden state before the answer. It is used
    in training only.

    Args:
        latent_size: k.
        options: for :class:`Supervised`.
    """

    writes_latents = False

    def __init__(self, latent_size: int, **options: Any) -> None:
        super().__init__(**options)
        width = self.net.width
        self.latent_size = latent_size
        self.head = torch.nn.Linear(width, latent_size * width, bias=False)

    def units(self) -> list[torch.nn.Module]:
        """Those of the network, and the head."""
        return [*super().units(), self.head]

    def terms(self, batch: Batch) -> dict[str, int]:
        """Number of supervised tokens (``text``) and of the head's predictions (``latent``)."""
        return super().terms(batch) | {"latent": len(batch) * self.latent_size}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """``text``: cross-entropy; ``latent``: one minus cosine of the head's vectors to compressed helper features.

        Raises:
            ValueError: a row doesn't have exactly one helper image.
        """
        if batch.helpers is None or len(batch.helpers.grids) - batch.helpers.blank != len(batch):
            raise ValueError("stage=auxiliary needs exactly one helper image in every row; train stage=sft without")
        hidden_BTD = self.net.recurrent(batch)
        first_B = (batch.targets_BT != IGNORE).int().argmax(1)
        before_BD = hidden_BTD[torch.arange(len(batch), device=first_B.device), first_B]
        predicted_ND = self.head(before_BD).view(-1, before_BD.shape[1])
        targets_ND = torch.cat(self.net.compress(batch.helpers, [self.latent_size] * len(batch)))
        places_N = torch.arange(len(targets_ND), device=first_B.device) % self.latent_size
        latent = latent_cosine(predicted_ND, targets_ND, places_N if self.centre else None)
        return {"text": self.text_loss(hidden_BTD, batch), "latent": latent}
