"""Contrastive evidence: a latent should resemble its own helper image more than those of other rows.

Of a latent z whose helper image has features of mean p, and p_j those of other rows, it is
``[margin - (cos(z, p) - max_j cos(z, p_j))]_+``, a weighted mean over latents (ReaLVR).

Shapes: N latents, row after row, I helper images, row after row, D width.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor
from torch.nn.functional import normalize

from mirage_pl.engine.training.means import exact_on
from mirage_pl.mirage.batch import Batch
from mirage_pl.mirage.model.codes import Pads, Words
from mirage_pl.mirage.model.encoder import Encoder

EVIDENCE = "evidence"
"""The name of the loss."""


@dataclass(frozen=True)
class Places:
    """Where a batch's latents have their helper images.

    Attributes:
        image_N: number of a latent's image; -1 where its block has none, or no image of another row stands beside it.
        names_I: of the rows that the images belong to; rows of the same name have the same images.
    """

    image_N: tuple[int, ...]
    names_I: tuple[str, ...]

    @property
    def count(self) -> int:
        """Latents that are compared."""
        return sum(image >= 0 for image in self.image_N)


def find_images(sizes: Sequence[Sequence[int]], images: Sequence[int], names: Sequence[str]) -> Places:
    """Find the helper image of each latent: the first of a row belongs to its first block, and so on.

    Args:
        sizes: of each row, the latents of its blocks.
        images: how many helper images each row has.
        names: of the rows.
    """
    names_I = tuple(name for name, count in zip(names, images, strict=True) for _ in range(count))
    alone = len(set(names_I)) < 2
    image_N: list[int] = []
    first = 0
    for blocks, count in zip(sizes, images, strict=True):
        for block, size in enumerate(blocks):
            image_N += [-1 if alone or block >= count else first + block] * size
        first += count
    return Places(tuple(image_N), names_I)


def plan_images(batch: Batch) -> Places:
    """The helper image of each latent of rows to train on, which have one for each block."""
    return find_images(batch.sizes, list(map(len, batch.sizes)), [sample.where for sample in batch.samples])


@dataclass(frozen=True)
class Evidence:
    """The loss.

    Attributes:
        margin: by which the own image should be nearer than the nearest other.
        negatives: images of other rows that a latent is compared with, at most.
        centre: compare latents and images less their means over the batch: images of one kind are nearly parallel.
        uniform: of a latent's weight, what all have alike. Below 1 (ReaLVR 0.3) the rest is its credit: how much more a
            group's right answers attend to it than the wrong ones; for stages that learn from rewards.
    """

    margin: Annotated[float, Gt(0)] = 0.5
    negatives: Annotated[int, Ge(1)] = 16
    centre: bool = True
    uniform: Annotated[float, Interval(ge=0, le=1)] = 1.0

    def __call__(
        self, latents_ND: Tensor, prototypes_ID: Tensor, places: Places, credit_N: Tensor | None = None
    ) -> Tensor:
        """Return the mean over the latents that are compared; 0 of none.

        Args:
            latents_ND: with gradient.
            prototypes_ID: mean features of the helper images.
            places: which of them is whose.
            credit_N: of the latents, times how many an answer has; needed where ``uniform`` is below 1.
        """
        if not places.count:
            if len(set(places.names_I)) == 1:
                warnings.warn(
                    "evidence: a batch holds helper images of one question alone, so there is nothing to compare them "
                    "with, and nothing is learnt; raise loader.batch_size, or rollouts.prompts",
                    stacklevel=2,
                )
            return latents_ND.sum() * 0
        image_N = torch.tensor(places.image_N, device=latents_ND.device)
        dtype = exact_on(latents_ND.device)
        latents_ND, prototypes_ID = latents_ND[image_N >= 0].to(dtype), prototypes_ID.detach().to(dtype)
        if self.centre:
            latents_ND, prototypes_ID = latents_ND - latents_ND.mean(0), prototypes_ID - prototypes_ID.mean(0)
        cosines_NI = normalize(latents_ND, dim=1) @ normalize(prototypes_ID, dim=1).T
        own_N = image_N[image_N >= 0]
        others_NI = self.choose_others(places.names_I).to(own_N.device)[own_N]
        nearest_N = cosines_NI.masked_fill(~others_NI, -torch.inf).amax(1)
        gain_N = cosines_NI.gather(1, own_N.unsqueeze(1)).squeeze(1) - nearest_N
        losses_N = (self.margin - gain_N).clamp(min=0)
        if credit_N is not None:
            losses_N = losses_N * (self.uniform + (1 - self.uniform) * credit_N.to(losses_N)[image_N >= 0])
        return losses_N.mean().float()

    def choose_others(self, names_I: Sequence[str]) -> Tensor:
        """Which images each one is compared with, ``[I, I]``: the next ones of other rows, in a circle."""
        kinds = {name: number for number, name in enumerate(dict.fromkeys(names_I))}
        kinds_I = torch.tensor([kinds[name] for name in names_I])
        places_II = (torch.arange(len(kinds_I)) + torch.arange(len(kinds_I)).unsqueeze(1)) % len(kinds_I)
        next_II = kinds_I[places_II] != kinds_I.unsqueeze(1)
        chosen_II = next_II & (next_II.cumsum(1) <= self.negatives)
        return torch.zeros_like(chosen_II).scatter(1, places_II, chosen_II)


def check_stage(evidence: Evidence, stage: Any) -> None:
    """Check that a stage can learn it.

    Raises:
        ValueError: it writes no latents, or latents that aren't features; or it has no rewards to weigh them by.
    """
    name, feedback = type(stage).__name__, stage.net.feedback
    if not stage.writes_latents:
        raise ValueError(
            f"evidence compares the latents that a model writes, and {name} has none; "
            "set evidence=none, or take another stage"
        )
    if isinstance(stage.net.compression, Encoder):
        raise ValueError(
            "evidence compares latents with the mean feature of a helper image, and compression=encoder makes other "
            "vectors; set evidence=none, or another compression"
        )
    if isinstance(feedback, Words | Pads):
        raise ValueError(
            f"evidence compares latents with features of helper images, and {type(feedback).__name__} are none; "
            "set evidence=none, or another feedback"
        )
    if evidence.uniform < 1 and not stage.gives_credit:
        raise ValueError(
            f"evidence.uniform={evidence.uniform:g} weighs latents by what right and wrong answers read, and "
            f"{name} has no rewards; set it to 1, or take stage=grpo"
        )
