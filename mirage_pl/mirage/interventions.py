"""Do the latents matter? Answer again with other vectors in their place.

Each intervention says what a row's latents are replaced by; everything else of the answer is left to the model. If
answers stay as good with zeros or with another sample's latents, the model doesn't read its own.

Shapes: R rows of the whole test set, n latents of one row, D width, T columns, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from data_modules.samples import Latent, Sample
from mirage_pl.mirage import geometry
from mirage_pl.mirage.batch import IGNORE, Batch, Row, place
from mirage_pl.mirage.collator import Collator
from mirage_pl.mirage.generate import Decoder, Generation
from mirage_pl.mirage.latents import LatentVLM, Pass
from mirage_pl.mirage.losses import precise
from mirage_pl.mirage.sampling import Decoding
from mirage_pl.statistics import wilson

ORACLES = ("oracle", "matched_oracle")
"""They need helper images."""
NAMES = ("identity", "zero", "noise", "matched_noise", "first_repeated", "shuffled", *ORACLES, "none")
"""In the order in which they are shown."""


def replacements(name: str, latents: Sequence[Tensor], seed: int = 0) -> list[Tensor]:
    """What each row's latents are replaced by.

    Args:
        name: ``identity``: themselves; ``zero``; ``noise``: Gaussian of the latents' overall mean and variance;
            ``matched_noise``: Gaussian of their mean and covariance over all rows; ``first_repeated``: the row's first;
            ``shuffled``: those of another row.
        latents: of each row, ``[n, D]``.
        seed: of noise and shuffling.

    Raises:
        ValueError: unknown name.
    """
    random = torch.Generator().manual_seed(seed)
    if name == "identity":
        return list(latents)
    if name == "zero":
        return [torch.zeros_like(row) for row in latents]
    if name == "first_repeated":
        return [row[:1].expand_as(row) for row in latents]
    if name == "shuffled":
        return shuffled(latents, random)
    if name in ("noise", "matched_noise"):
        return noise(latents, random, matched=name == "matched_noise")
    raise ValueError(f"interventions={name} is unknown; choose from {', '.join(NAMES)}, or all")


def shuffled(latents: Sequence[Tensor], random: torch.Generator) -> list[Tensor]:
    """Give every row that has latents those of another; where there are too few, they come round again."""
    rows = [number for number, row in enumerate(latents) if len(row)]
    order = torch.randperm(len(rows), generator=random).tolist()
    donors = {rows[order[i]]: rows[order[(i + 1) % len(rows)]] for i in range(len(rows))}
    result = list(latents)
    for row, donor in donors.items():
        result[row] = latents[donor][torch.arange(len(latents[row])) % len(latents[donor])]
    return result


def noise(latents: Sequence[Tensor], random: torch.Generator, matched: bool) -> list[Tensor]:
    """Draw Gaussian vectors: with the latents' mean and covariance, or with one mean and variance for all numbers."""
    all_ND = torch.cat(list(latents)).double().cpu()
    mean_D = all_ND.mean(0) if matched else all_ND.mean().expand(all_ND.shape[1])
    if matched:
        # Real latents less their mean, mixed with Gaussian weights: exactly their covariance, without a root of it.
        directions_ND = (all_ND - mean_D) / max(1, len(all_ND) - 1) ** 0.5
    drawn = []
    for row in latents:
        if matched:
            vectors_nD = torch.randn(len(row), len(all_ND), generator=random, dtype=torch.float64) @ directions_ND
        else:
            vectors_nD = torch.randn(row.shape, generator=random, dtype=torch.float64) * all_ND.std()
        drawn.append((mean_D + vectors_nD).to(row))
    return drawn


def matched(targets: Sequence[Tensor], latents: Sequence[Tensor]) -> list[Tensor]:
    """Move and scale targets, slot by slot of the row, to the latents' mean and spread.

    A cosine leaves a latent's length to the model, and a centred one its mean too: raw targets then speak another
    dialect than the latents that the model is used to.
    """
    result = [row.clone() for row in targets]
    for slot in range(min(max(map(len, targets)), max(map(len, latents)))):
        rows = [number for number, row in enumerate(targets) if len(row) > slot]
        own_RD = torch.stack([row[slot] for row in latents if len(row) > slot])
        target_RD = torch.stack([targets[number][slot] for number in rows])
        own, other = ((each - each.mean(0)).square().mean().sqrt() for each in (own_RD, target_RD))
        moved_RD = own_RD.mean(0) + (target_RD - target_RD.mean(0)) * own / other.clamp(min=1e-12)
        for number, vector_D in zip(rows, moved_RD, strict=True):
            result[number][slot] = vector_D
    return result


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

    @property
    def latents(self) -> list[Tensor]:
        """The baseline's latents of every row, ``[n, D]``."""
        return [row for generation in self.baseline for row in generation.latents]

    @property
    def names(self) -> tuple[str, ...]:
        """The interventions that can be made: none without latents, no oracle unless every row has a helper image."""
        if not any(len(row) for row in self.latents):
            return ()
        helpers = [[part.path for part in sample.answer if isinstance(part, Latent)] for sample in self.samples]
        known = all(paths and all(path.is_file() for path in paths) for paths in helpers)
        return tuple(name for name in NAMES if known or name not in ORACLES)

    def describe(self) -> dict[str, Any]:
        """Numbers about the latents as vectors, see :mod:`mirage_pl.mirage.geometry`."""
        latents = [row for row in self.latents if len(row)]
        words_VD = self.net.backbone.get_input_embeddings().weight.detach()
        numbers: dict[str, Any] = {
            "rows": len(latents),
            "cosine_within": geometry.cosine_within(latents),
            "cosine_across": geometry.cosine_across(latents),
            "effective_rank": geometry.effective_rank(latents),
            "norm": geometry.mean_norm(torch.cat(latents)),
            "norm_of_embeddings": geometry.mean_norm(words_VD),
        }
        numbers = {name: number for name, number in numbers.items() if isfinite(number)}  # one latent has no pair
        if "oracle" in self.names and len(latents) == len(self.latents):
            targets = self.oracle
            found = geometry.retrieved(latents, targets)
            targets_ND = torch.cat(targets)
            numbers["norm_of_targets"] = geometry.mean_norm(targets_ND)
            numbers["retrieved"] = wilson(sum(found), len(found))
        return numbers

    def batches(self) -> Iterator[tuple[slice, Batch, Generation]]:
        """The baseline's batches: which rows, their prompts, and what was answered."""
        first, device = 0, self.net.backbone.device
        for generation in self.baseline:
            rows = slice(first, first + len(generation.texts))
            yield rows, self.collate.prompts(self.samples[rows]).to(device), generation
            first = rows.stop

    def replaced(self, name: str) -> list[Tensor]:
        """What each row's latents are replaced by; nothing for ``none``."""
        if name == "none":
            return [row[:0] for row in self.latents]
        if name in ORACLES:
            return self.oracle if name == "oracle" else matched(self.oracle, self.latents)
        return replacements(name, self.latents, self.seed)

    @cached_property
    @torch.no_grad()
    def oracle(self) -> list[Tensor]:
        """The compressed features of each row's own helper images: what stage 1 teaches."""
        rows: list[Tensor] = []
        for part, _, _ in self.batches():
            images, sizes = self.collate.helper_images(self.samples[part])
            blocks = iter(self.net.compress(images.to(self.net.backbone.device), [k for row in sizes for k in row]))
            rows += [torch.cat([next(blocks) for _ in row]) for row in sizes]
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
                other = self.read(prompts, generation, fit(given[rows], generation.latents))
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
        collate, rows = self.collate, []
        for tokens_T, real_T, answer in zip(prompts.tokens_BT, prompts.real_BT, generation.tokens, strict=True):
            asked, answer = tokens_T[real_T].tolist(), self.readable(answer)
            after = answer.index(collate.latent_pad) if collate.latent_pad in answer else len(answer)
            labels = [IGNORE] * after + [IGNORE if token == collate.latent_pad else token for token in answer[after:]]
            pairs = [
                pair for pair in zip(answer, labels, strict=True) if not (without and pair[0] == collate.latent_pad)
            ]
            rows.append(
                Row(asked + [token for token, _ in pairs], [IGNORE] * len(asked) + [label for _, label in pairs])
            )
        grids = (
            [(t, h // collate.merge, w // collate.merge) for t, h, w in prompts.images.grids] if prompts.images else []
        )
        batch = replace(place(rows, collate.latent_pad, collate.pad, collate.image_pad, grids), images=prompts.images)
        batch = batch.to(prompts.tokens_BT.device)
        embeds_BTD = self.net.embed(batch)
        if not without:
            latents_ND = torch.cat(list(latents)).to(embeds_BTD.dtype)
            embeds_BTD = embeds_BTD.masked_scatter(batch.latent_BT.unsqueeze(-1), latents_ND)
        hidden_BTD = Pass(self.net, batch, embeds_BTD).peek(embeds_BTD)
        asked_BT = batch.targets_BT != IGNORE
        shares_MV = precise(self.net.logits(hidden_BTD[asked_BT])).log_softmax(-1)
        return list(shares_MV.split(asked_BT.sum(1).tolist()))

    def readable(self, answer: Sequence[int]) -> list[int]:
        """An answer in which every latent pad is a slot and no image is asked for.

        A model may say those tokens as words, outside a block; padding stands for them.
        """
        slot, tokens = self.collate.latent_pad, list[int]()
        for token in answer:
            in_block = bool(tokens) and tokens[-1] in (self.collate.latent_start, slot)
            odd = token == self.collate.image_pad or (token == slot and not in_block)
            tokens.append(self.collate.pad if odd else token)
        return tokens


def fit(given: Sequence[Tensor], latents: Sequence[Tensor]) -> list[Tensor]:
    """As many vectors for each row as it has latents; where too few are given, they come round again."""
    pairs = zip(given, latents, strict=True)
    return [g[torch.arange(len(row)) % len(g)] if len(row) else row for g, row in pairs]
