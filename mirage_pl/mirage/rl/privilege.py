"""What a twin sees that the one who answers doesn't: helper images, in the places of latents or in the question.

Shapes: B rows, N latents of all rows, D width, n of one block, k of a helper image.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from mirage_pl.mirage.batch import Batch
from mirage_pl.mirage.model.latents import LatentVLM
from mirage_pl.mirage.rl.collator import Answers


class Privilege(Protocol):
    """What a twin reads of answers in place of what the model did."""

    def __call__(self, net: LatentVLM, answers: Answers) -> tuple[Batch, Tensor]:
        """Return the batch that the twin reads, with the same targets in the same order, and its latents.

        Args:
            net: the twin, which encodes pictures.
            answers: the model's.
        """
        ...


class Helper:
    """Compressed features of the true helper images, as stage 1 teaches them; a block without one keeps its own."""

    def __call__(self, net: LatentVLM, answers: Answers) -> tuple[Batch, Tensor]:
        """Return the answers with these in place of their latents."""
        batch, latents_ND = answers.batch, answers.latents_ND
        if batch.helpers is None:
            return batch, latents_ND
        features = iter(net.compress(batch.helpers, [size for row in answers.planned for size in row]))
        rows = [[next(features) for _ in row] for row in answers.planned]
        own = iter(latents_ND.split([size for row in batch.sizes for size in row]))
        return batch, torch.cat([latents_ND[:0], *self.choose(batch, rows, own)]).to(latents_ND.dtype)

    def choose(self, batch: Batch, rows: Sequence[Sequence[Tensor]], own: Iterator[Tensor]) -> Iterator[Tensor]:
        """Yield the latents of each block, ``[n, D]``."""
        for sizes, images in zip(batch.sizes, rows, strict=True):
            for block, size in enumerate(sizes):
                latents_nD = next(own)
                if block < len(images):
                    features_kD = images[block]
                    latents_nD = features_kD[torch.arange(size, device=features_kD.device) % len(features_kD)]
                yield latents_nD


class Noise:
    """Gaussian noise of the mean and variance of the latents: a control, for a twin that knows nothing more."""

    def __call__(self, net: LatentVLM, answers: Answers) -> tuple[Batch, Tensor]:
        """Return the answers with noise in place of their latents."""
        latents_ND = answers.latents_ND
        if not len(latents_ND):
            return answers.batch, latents_ND
        return answers.batch, latents_ND.mean() + latents_ND.std() * torch.randn_like(latents_ND)


class Shown:
    """The helper images in the question, behind its own; latents, if there are some, are the model's."""

    def __call__(self, net: LatentVLM, answers: Answers) -> tuple[Batch, Tensor]:
        """Return the same answers to these questions.

        Raises:
            ValueError: the collator hasn't built them.
        """
        if answers.batch.told is None:
            raise ValueError("privilege=shown reads questions with helper images; set stage.collator.shows=true")
        return answers.batch.told, answers.latents_ND
