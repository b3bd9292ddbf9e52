"""Batches of sampled answers.

Shapes: N latents of a batch, row after row, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from data_modules.samples import Sample
from mirage_pl.engine.rl.batch import RolloutBatch, make_batch
from mirage_pl.engine.rl.policy import Rollout
from mirage_pl.mirage.batch import IGNORE, Batch, Movable
from mirage_pl.mirage.collator import Collator, reveal, shown
from mirage_pl.mirage.placing import Row


@dataclass(frozen=True)
class Answers(Movable):
    """Sampled answers, packed as answers to train on are.

    Attributes:
        batch: of the answers; has their rows' helper images if the collator's ``helpers`` is set.
        latents_ND: recorded ones.
        planned: latents of each helper image of each row.
        credit_N: of the latents, times how many their answer has; ``None`` where nothing asks for it.
    """

    batch: Batch
    latents_ND: Tensor
    planned: Sequence[Sequence[int]] = ()
    credit_N: Tensor | None = None

    def __len__(self) -> int:
        return len(self.batch)

    @property
    def num_real(self) -> int:
        """Columns that aren't padding."""
        return self.batch.num_real

    @property
    def num_columns(self) -> int:
        """Columns over all rows."""
        return self.batch.num_columns


class RolloutCollator(Collator):
    """Turn rows, or rollouts, into a batch.

    Targets of a rollout are the tokens that the policy chose: neither latents nor the end of a block, which comes by
    itself, but the end of the answer if it was chosen.

    Args:
        shows: also build the same answers to questions that show their helper images, as ``told``.
        options: for :class:`mirage_pl.mirage.collator.Collator`.

    Raises:
        ValueError: ``revealed`` is set: it is for rows to train on, and here answers are.
    """

    def __init__(self, shows: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.shows = shows
        if self.revealed:
            raise ValueError(
                f"stage.collator.revealed={self.revealed:g} is for stages that train on rows, and this one trains on "
                "its own answers; set it to null, and privilege=shown for a twin that is shown helper images"
            )

    def __call__(self, samples: Sequence[Any]) -> Any:
        """Build a batch of rows as :class:`Collator` does, or of rollouts."""
        if isinstance(samples[0], Rollout):
            return self.learn(samples)
        batch = super().__call__(samples)
        return replace(batch, told=self._build(list(map(reveal, samples)), answers=True)) if self.shows else batch

    def seen(self, sample: Sample) -> Sample:
        """A row with all images that anyone is shown of its question."""
        return reveal(sample) if self.shows else sample

    @property
    def needs_blocks(self) -> bool:
        """Whether what is learnt needs helper images: rewards don't."""
        return self.helpers or self.shows

    def prompt_length(self, sample: Any) -> int:
        """Tokens of a question; its images are only measured."""
        return len(self._row(sample, [self.pictures.tokens(*asked) for asked in shown(sample)], answers=False).tokens)

    def learn(self, rollouts: Sequence[Rollout]) -> RolloutBatch:
        """Build a batch of rollouts."""
        samples: list[Any] = [rollout.sample for rollout in rollouts]
        written = [self._written(rollout.record["tokens"], rollout.record["ended"]) for rollout in rollouts]
        asked = [rollout.index for rollout in rollouts]
        batch = replace(self._build(samples, answers=False, written=written, asked=asked), samples=())
        if self.shows:
            told = self._build(list(map(reveal, samples)), answers=False, written=written, asked=asked)
            batch = replace(batch, told=replace(told, samples=()))
        latents_ND = torch.cat([rollout.record["latents"] for rollout in rollouts])
        if not self.helpers:
            return make_batch(rollouts, Answers(batch, latents_ND))
        images, planned = self.helper_images(samples)
        credit = [rollout.record["credit"] for rollout in rollouts if "credit" in rollout.record]
        answers = Answers(replace(batch, helpers=images), latents_ND, planned, torch.cat(credit) if credit else None)
        return make_batch(rollouts, answers)

    def _written(self, tokens: Sequence[int], ended: bool) -> Row:
        """The tokens of an answer, and which of them were chosen."""
        before = [None, *tokens]
        labels = [
            IGNORE if token == self.latent_pad or (token == self.latent_end and last == self.latent_pad) else token
            for last, token in zip(before, tokens, strict=False)
        ]
        end = [self.end] * ended
        return Row([*tokens, *end], [*labels, *end])


NEAR = (1, 2, 5, 17)
"""Columns behind a latent block from which a place reaches to the next; the last one to the end."""


def locate_tokens(batch: Batch) -> dict[str, Tensor]:
    """Where the chosen tokens of answers lie, bools ``[M]`` by name: before any block, or so many columns behind one.

    Learning from rewards moves most what comes right behind a block (EVA, arXiv 2606.24233).
    """
    order_BT = batch.real_BT.long().cumsum(1)
    last_BT = torch.where(batch.latent_BT, order_BT, 0).cummax(1).values
    chosen_BT = batch.targets_BT != IGNORE
    distance_M = torch.where(last_BT > 0, order_BT - last_BT, 0)[chosen_BT]
    places = {"before": distance_M == 0}
    for first, end in zip(NEAR, (*NEAR[1:], None), strict=True):
        upto = "_on" if end is None else "" if end == first + 1 else f"_{end - 1}"
        places[f"after_{first}{upto}"] = (distance_M >= first) & (distance_M < (end or torch.inf))
    return places
