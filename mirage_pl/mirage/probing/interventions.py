"""Do the latents matter? Answer again with other vectors in their place.

Each intervention says what a row's latents are replaced by; everything else of the answer is left to the model. If
answers stay as good with zeros or with another sample's latents, the model doesn't read its own.

Shapes: R rows of the whole test set, n latents of one row, D width, T columns, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from math import isfinite
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from data_modules.samples import Sample
from mirage_pl.engine.evaluation.statistics import wilson
from mirage_pl.mirage.batch import IGNORE, Batch
from mirage_pl.mirage.collator import Collator
from mirage_pl.mirage.decoding.generate import Decoder, Generation
from mirage_pl.mirage.decoding.sampling import Decoding
from mirage_pl.mirage.losses import to_float32
from mirage_pl.mirage.model.latents import LatentVLM, Pass
from mirage_pl.mirage.probing import geometry
from mirage_pl.mirage.probing.panels import Panels, has_helpers
from mirage_pl.mirage.probing.reading import embed_latents, join_answers
from mirage_pl.mirage.probing.replacements import NAMES, ORACLES, build_replacements, fit_slots, match_targets


@dataclass
class Interventions:
    """Answers a test set again with other latents.

    Args:
        net: the model.
        processor: for its tokenizer.
        collate: makes prompts, and helper images for the oracle.
        decoding: as in the baseline.
        samples: the test set, in order.
        baseline: its answers, batch after batch, in the same order.
        seed: of noise and shuffling.
    """

    net: LatentVLM
    processor: Any
    collate: Collator
    decoding: Decoding
    samples: Sequence[Sample]
    baseline: Sequence[Generation]
    seed: int = 0

    @cached_property
    def latents(self) -> list[Tensor]:
        """The baseline's latents of every row, ``[n, D]``."""
        return [row for generation in self.baseline for row in generation.latents]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The interventions that can be made: none without latents, no oracle unless every row has a helper image."""
        if not any(len(row) for row in self.latents):
            return ()
        known = all(has_helpers(self.collate, sample) for sample in self.samples)
        return tuple(name for name in NAMES if known or name not in ORACLES)

    def describe(self) -> dict[str, Any]:
        """Numbers about the latents as vectors, see :mod:`mirage_pl.mirage.probing.geometry`."""
        latents = [row for row in self.latents if len(row)]
        words_VD = self.net.words()
        numbers: dict[str, Any] = {
            "rows": len(latents),
            "cosine_within": geometry.cosine_within(latents),
            "cosine_across": geometry.cosine_across(latents),
            "effective_rank": geometry.effective_rank(latents),
            "norm": geometry.mean_norm(torch.cat(latents)),
            "norm_of_embeddings": geometry.mean_norm(words_VD),
        }
        numbers = {name: number for name, number in numbers.items() if isfinite(number)}  # one latent has no pair
        if targets := self.targets:
            found = geometry.find_retrieved(latents, targets)
            numbers["norm_of_targets"] = geometry.mean_norm(torch.cat(targets))
            numbers["retrieved"] = wilson(sum(found), len(found))
        return numbers

    @property
    def targets(self) -> list[Tensor]:
        """The oracle, where every row has latents to be compared with it; else nothing."""
        return self.oracle if "oracle" in self.names and all(map(len, self.latents)) else []

    @cached_property
    def parts(self) -> list[slice]:
        """The rows of each of the baseline's batches."""
        stops = list(accumulate(len(generation.texts) for generation in self.baseline))
        return [slice(*pair) for pair in pairwise([0, *stops])]

    def batches(self) -> Iterator[tuple[slice, Batch, Generation]]:
        """The baseline's batches: which rows, their prompts, and what was answered."""
        for rows, generation in zip(self.parts, self.baseline, strict=True):
            yield rows, self.collate.prompts(self.samples[rows]).to(self.net.backbone.device), generation

    def replaced(self, name: str) -> list[Tensor]:
        """What each row's latents are replaced by; nothing for ``none``."""
        if name == "none":
            return [row[:0] for row in self.latents]
        if name in ORACLES:
            return self.oracle if name == "oracle" else match_targets(self.oracle, self.latents)
        return build_replacements(name, self.latents, self.seed)

    @cached_property
    @torch.no_grad()
    def oracle(self) -> list[Tensor]:
        """The compressed features of each row's own helper images: what stage 1 teaches."""
        rows: list[Tensor] = []
        for part in self.parts:
            images, sizes = self.collate.helper_images(self.samples[part])
            blocks = list(self.net.compress(images.to(self.net.backbone.device), [k for row in sizes for k in row]))
            rows += [torch.cat([blocks.pop(0) for _ in row]) for row in sizes]
        return rows

    def answer(self, name: str) -> Iterator[Generation]:
        """Answer every batch of the baseline again."""
        given, size = self.replaced(name), 0 if name == "none" else self.collate.latent_size
        decoder = Decoder(self.processor, size)
        for rows, prompts, _ in self.batches():
            prompts = replace(prompts, sizes=()) if name == "none" else prompts
            yield decoder(self.net, prompts, self.decoding, given[rows])

    @torch.no_grad()
    def divergence(self, name: str) -> list[float]:
        """How far the next token's distribution moves: the mean KL divergence from the baseline's, in nats.

        The baseline's answer is read with its own and with other latents; tokens after the first latent count. One
        number for each row that has latents.
        """
        given, found = self.replaced(name), list[float]()
        for rows, prompts, generation in self.batches():
            own = self.read(prompts, generation, generation.latents)
            if name == "none":
                other = self.read(prompts, generation, [], without=True)
            else:
                other = self.read(prompts, generation, fit_slots(given[rows], generation.latents))
            for p_MV, q_MV in zip(own, other, strict=True):
                if len(p_MV):
                    found.append(float((p_MV.exp() * (p_MV - q_MV)).sum(-1).mean()))
        return found

    def read(
        self, prompts: Batch, generation: Generation, latents: Sequence[Tensor], without: bool = False
    ) -> list[Tensor]:
        """Log-probabilities ``[M, V]`` of every row at the text after its first latent, the answer being given.

        Args:
            prompts: a batch.
            generation: its answers.
            latents: to stand in the answers' slots.
            without: leave the slots out.
        """
        batch = join_answers(self.collate, prompts, generation.tokens, without).to(prompts.tokens_BT.device)
        embeds_BTD = embed_latents(self.net, batch, latents)
        hidden_BTD = Pass(self.net, batch, embeds_BTD).peek(embeds_BTD)
        asked_BT = batch.targets_BT != IGNORE
        shares_MV = to_float32(self.net.logits(hidden_BTD[asked_BT])).log_softmax(-1)
        return list(shares_MV.split(asked_BT.sum(1).tolist()))

    def pictures(self, rows: Sequence[int]) -> Iterator[tuple[str, Image]]:
        """What the latents see, by name: ``geometry``, ``plane``, and ``row-<number>`` of some rows.

        Args:
            rows: of the test set; those without latents are left out.
        """
        if self.names:
            answers = [tokens for generation in self.baseline for tokens in generation.tokens]
            yield from Panels(self.net, self.collate, self.samples, answers, self.latents, self.targets, rows).draw()
