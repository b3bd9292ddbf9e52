"""Test whether latents matter: answer again with other vectors in their place.

Each intervention replaces a row's latents; the model writes the rest of the answer. If answers stay as good with zeros
or with another sample's latents, the model doesn't read its own.

Shapes: R rows of the whole test set, n latents of one row, D width, T columns, V vocabulary.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from math import isfinite
from typing import Any, ClassVar

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
from mirage_pl.mirage.model.latents import LatentVLM
from mirage_pl.mirage.probing import geometry
from mirage_pl.mirage.probing.panels import Panels, has_helpers
from mirage_pl.mirage.probing.reading import compress_helpers, embed_latents, join_answers
from mirage_pl.mirage.probing.replacements import (
    DONOR,
    NAMES,
    ORACLES,
    build_replacements,
    choose_donors,
    fit_slots,
    give_latents,
    match_targets,
)


@dataclass
class Interventions:
    """Answer a test set again with other latents.

    Args:
        net: the model.
        processor: for its tokenizer.
        collate: makes prompts, and helper images for the oracle.
        decoding: the options of the baseline.
        samples: the test set, in order.
        baseline: the answers with the model's own latents, batch after batch, in the same order.
        groups: of the samples, such as levels; empty: all are of one. Donors are of the same group.
        seed: of noise, shuffling and donors.
    """

    net: LatentVLM
    processor: Any
    collate: Collator
    decoding: Decoding
    samples: Sequence[Sample]
    baseline: Sequence[Generation]
    groups: Sequence[str] = ()
    seed: int = 0
    known: ClassVar[Sequence[str]] = NAMES

    @cached_property
    def latents(self) -> list[Tensor]:
        """The baseline's latents of every row, ``[n, D]``."""
        return [row for generation in self.baseline for row in generation.latents]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The possible ones; none without latents."""
        if not any(len(row) for row in self.latents):
            return ()
        missing = self.list_impossible()
        return tuple(name for name in self.known if name not in missing)

    def list_impossible(self) -> set[str]:
        """List what can't be made: oracles unless every row has helper images, donors unless any row has one."""
        missing = set() if all(has_helpers(self.collate, sample) for sample in self.samples) else set(ORACLES)
        return missing | (set() if self.donors else {DONOR})

    @cached_property
    def donors(self) -> dict[int, int]:
        """Row -> another whose right answer is another; empty unless the right answers are known."""
        if not all(sample.answer for sample in self.samples):
            return {}
        answers = [sample.answer_text for sample in self.samples]
        return choose_donors(self.latents, answers, self.groups or [""] * len(answers), self.seed)

    def list_givers(self, name: str) -> Mapping[int, Sample]:
        """Row -> the question whose latents it has under an intervention; empty where these are no other question's."""
        return {row: self.samples[donor] for row, donor in self.donors.items()} if name == DONOR else {}

    def describe(self) -> dict[str, Any]:
        """Describe the latents as vectors, in numbers from :mod:`mirage_pl.mirage.probing.geometry`."""
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
        numbers = {
            name: number for name, number in numbers.items() if isfinite(number)
        }  # a single latent has no cosine
        if targets := self.targets:
            hits = geometry.find_retrieved(latents, targets)
            numbers["norm_of_targets"] = geometry.mean_norm(torch.cat(targets))
            numbers["retrieved"] = wilson(sum(hits), len(hits))
        return numbers

    @property
    def targets(self) -> list[Tensor]:
        """The oracle's latents, if every row has latents to compare with them; else empty."""
        return self.oracle if "oracle" in self.names and all(map(len, self.latents)) else []

    @cached_property
    def parts(self) -> list[slice]:
        """The rows of each batch of the baseline."""
        stops = list(accumulate(len(generation.texts) for generation in self.baseline))
        return [slice(*pair) for pair in pairwise([0, *stops])]

    def batches(self) -> Iterator[tuple[slice, Batch, Generation]]:
        """Yield each batch of the baseline: its rows, prompts and answers."""
        for rows, generation in zip(self.parts, self.baseline, strict=True):
            yield rows, self.collate.prompts(self.samples[rows]).to(self.net.backbone.device), generation

    def replace_latents(self, name: str) -> list[Tensor]:
        """Return the replacement of each row's latents, ``[n, D]``; empty for ``none``."""
        if name == "none":
            return [row[:0] for row in self.latents]
        if name == DONOR:
            return give_latents(self.latents, self.donors)
        if name in ORACLES:
            return self.oracle if name == "oracle" else match_targets(self.oracle, self.latents)
        return build_replacements(name, self.latents, self.seed)

    @cached_property
    def oracle(self) -> list[Tensor]:
        """The compressed features of each row's own helper images: what stage 1 teaches."""
        blocks = [row for part in self.parts for row in compress_helpers(self.net, self.collate, self.samples[part])]
        return [torch.cat(row) for row in blocks]

    def answer(self, name: str) -> Iterator[Generation]:
        """Answer every batch of the baseline again."""
        latents, size = self.replace_latents(name), 0 if name == "none" else self.collate.latent_size
        decoder = Decoder(self.processor, size)
        for rows, prompts, _ in self.batches():
            prompts = replace(prompts, sizes=()) if name == "none" else prompts
            yield decoder(self.net, prompts, self.decoding, latents[rows])

    @torch.no_grad()
    def divergence(self, name: str) -> list[float]:
        """Mean KL divergence of the next token's distribution from the baseline's, in nats, of each row with latents.

        The baseline's answer is read with its own and with other latents; the tokens after its first latent count.
        """
        latents, divergences = self.replace_latents(name), list[float]()
        for rows, prompts, generation in self.batches():
            own = self.read(prompts, generation, generation.latents)
            if name == "none":
                other = self.read(prompts, generation, [], without=True)
            else:
                other = self.read(prompts, generation, fit_slots(latents[rows], generation.latents))
            for p_MV, q_MV in zip(own, other, strict=True):
                if len(p_MV):
                    moved_M = (p_MV.exp() * (p_MV - q_MV)).sum(-1).clamp(min=0)  # rounding alone is below 0
                    divergences.append(float(moved_M.mean()))
        return divergences

    def read(
        self, prompts: Batch, generation: Generation, latents: Sequence[Tensor], without: bool = False
    ) -> list[Tensor]:
        """Log-probabilities ``[M, V]`` of each row's answer, at the text after its first latent.

        Args:
            prompts: a batch.
            generation: its answers.
            latents: the contents of the answers' slots.
            without: leave the slots out.
        """
        batch = join_answers(self.collate, prompts, generation.tokens, without).to(prompts.tokens_BT.device)
        embeds = embed_latents(self.net, batch, latents)
        hidden_BTD = self.net.columns(batch, embeds).finish(embeds.inputs_BTD)
        read_BT = batch.targets_BT != IGNORE
        log_shares_MV = to_float32(self.net.logits(hidden_BTD[read_BT])).log_softmax(-1)
        return list(log_shares_MV.split(read_BT.sum(1).tolist()))

    def pictures(self, rows: Sequence[int]) -> Iterator[tuple[str, Image]]:
        """Draw the latents: ``geometry``, ``plane``, and ``row-<number>`` of some rows.

        Args:
            rows: of the test set; those without latents are skipped.
        """
        if self.names:
            answers = [tokens for generation in self.baseline for tokens in generation.tokens]
            yield from Panels(self.net, self.collate, self.samples, answers, self.latents, self.targets, rows).draw()
