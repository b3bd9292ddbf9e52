"""What an audit does besides replacing latents by zeros, noise or another sample's.

Shapes: B rows, T columns so far, S columns of one call, n latents of one row, D width.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from data_modules.samples import Sample
from mirage_pl.mirage.audit.names import FLIPPED, NAMES, NOISES, TRUE
from mirage_pl.mirage.batch import Batch
from mirage_pl.mirage.decoding.generate import Decoder, Generation
from mirage_pl.mirage.decoding.sampling import Choice
from mirage_pl.mirage.probing.interventions import Interventions
from mirage_pl.mirage.probing.panels import has_helpers
from mirage_pl.mirage.probing.reading import compress_helpers
from mirage_pl.mirage.probing.replacements import build_replacements, exchange_latents
from mirage_pl.mirage.stock.architecture import Architecture
from mirage_pl.mirage.stock.places import Places


@runtime_checkable
class Paired(Protocol):
    """A data set that knows what its questions are about, as ``data_modules/rows/questions.py`` has it."""

    def counterfactual(self, sample: Sample) -> Sample | None:
        """Return the question with one thing changed, so that its right answer is wrong."""

    def states(self, sample: Sample) -> Sequence[Sequence[int]]:
        """Return what each part of a picture shows: of the one that is asked about, then of each helper image."""


@dataclass
class AuditInterventions(Interventions):
    """Interventions, and those of an audit.

    Args:
        dataset: of the samples.
    """

    dataset: Any = None
    known: ClassVar[Sequence[str]] = NAMES

    def list_impossible(self) -> set[str]:
        """Also what needs counterfactuals or true features that there aren't, or layers to hide images from."""
        missing = super().list_impossible()
        missing |= set() if self.changed else {FLIPPED}
        helped = all(has_helpers(self.collate, sample) for sample in self.changed.values())
        for name, of in TRUE.items():
            if of in missing or "oracle" in missing or (of == FLIPPED and not helped):
                missing.add(name)
        states = len(self.net.architecture.attending) < len(self.net.architecture.kinds)
        return missing | ({"strict"} if states else set())

    @cached_property
    def changed(self) -> dict[int, Sample]:
        """Row -> its question with one thing changed, of rows with latents that have one."""
        if not isinstance(self.dataset, Paired):
            return {}
        pairs = {
            row: self.dataset.counterfactual(self.samples[row]) for row, own in enumerate(self.latents) if len(own)
        }
        return {row: sample for row, sample in pairs.items() if sample is not None}

    @cached_property
    def changed_latents(self) -> dict[int, Tensor]:
        """Row -> the latents ``[n, D]`` that the model writes when it is asked the changed question, if any."""
        decoder = Decoder(self.processor, self.collate.latent_size)
        latents = []
        for samples in self.split_changed():
            prompts = self.collate.prompts(samples).to(self.net.backbone.device)
            latents += decoder(self.net, prompts, self.decoding).latents
        return {row: each for row, each in zip(self.changed, latents, strict=True) if len(each)}

    @cached_property
    def changed_oracle(self) -> dict[int, list[Tensor]]:
        """Row -> compressed features ``[k, D]`` of each helper image of the changed question."""
        blocks = [row for samples in self.split_changed() for row in compress_helpers(self.net, self.collate, samples)]
        return dict(zip(self.changed, blocks, strict=True))

    def split_changed(self) -> Iterator[list[Sample]]:
        """Yield the changed questions, as many at a time as the baseline's first batch has."""
        samples, width = list(self.changed.values()), len(self.baseline[0].texts)
        for first in range(0, len(samples), width):
            yield samples[first : first + width]

    def list_givers(self, name: str) -> Mapping[int, Sample]:
        """Also those of changed questions, and where latents are true features."""
        return self.changed if TRUE.get(name, name) == FLIPPED else super().list_givers(TRUE.get(name, name))

    def replace_latents(self, name: str) -> list[Tensor]:
        """Also those of an audit; conditions that leave latents as they are return them."""
        if name in NOISES:
            return mix_noise(self.latents, build_replacements("matched_noise", self.latents, self.seed), NOISES[name])
        if name == "filler":
            return [self.filler.to(row).expand_as(row) for row in self.latents]
        if name == FLIPPED:
            return exchange_latents(self.latents, self.changed_latents)
        if name == "flipped_oracle":
            return exchange_latents(self.latents, {row: torch.cat(each) for row, each in self.changed_oracle.items()})
        if name == "donor_oracle":
            return exchange_latents(self.latents, {row: self.oracle[donor] for row, donor in self.donors.items()})
        return self.latents if name in ("unmarked", "skipped", "strict") else super().replace_latents(name)

    def answer(self, name: str) -> Iterator[Generation]:
        """Also without a block, without markers, or without the image."""
        if name == "skipped":
            yield from self.answer_at_once()
            return
        with ExitStack() as stack:
            if name == "unmarked":
                stack.enter_context(hide_markers(self.net.backbone.get_input_embeddings(), self.markers, self.filler))
            if name == "strict":
                stack.enter_context(hide_images(self.net.architecture))
            yield from super().answer(name)

    def answer_at_once(self) -> Iterator[Generation]:
        """Answer without beginning a block."""
        decoder = Decoder(self.processor, self.collate.latent_size)
        for _, prompts, _ in self.batches():
            choose = WithoutBlocks(self.markers[0], self.decoding, prompts)
            answers = decoder.gather(decoder.steps(self.net, prompts, self.decoding, choose=choose), len(prompts))
            yield replace(answers, texts=[self.decoding.cut(text) for text in answers.texts])

    @property
    def markers(self) -> tuple[int, int]:
        """Ids of the tokens around a block."""
        return self.collate.latent_start, self.collate.latent_end

    @cached_property
    def filler(self) -> Tensor:
        """The mean of all token embeddings, ``[D]``."""
        return self.net.words().double().mean(0)


class WithoutBlocks(Choice):
    """Choose as a decoding says, but never the token that begins a block."""

    def __init__(self, start: int, decoding: Any, prompts: Batch) -> None:
        super().__init__(decoding, prompts.samples, prompts.tokens_BT.device)
        self.start = start

    def __call__(self, logits_BV: Tensor, count_B: Tensor) -> Tensor:
        """Choose token ids ``[B]``."""
        start = torch.tensor([self.start], device=logits_BV.device)
        return super().__call__(logits_BV.index_fill(-1, start, float("-inf")), count_B)


def mix_noise(latents: Sequence[Tensor], noise: Sequence[Tensor], share: float) -> list[Tensor]:
    """Give a share of the latents' variance to noise of the same mean and covariance; both stay as they are.

    Args:
        latents: of each row, ``[n, D]``.
        noise: as many vectors for each.
        share: 0: nothing changes; 1: noise alone.
    """
    mean_D = torch.cat(list(latents)).double().mean(0)
    keep, add = (1 - share) ** 0.5, share**0.5
    pairs = zip(latents, noise, strict=True)
    return [(mean_D + keep * (own.double() - mean_D) + add * (each.double() - mean_D)).to(own) for own, each in pairs]


@contextmanager
def hide_markers(embedding: nn.Module, markers: Sequence[int], vector_D: Tensor) -> Iterator[None]:
    """Let an embedding read some tokens as one vector."""

    def blur(_module: Any, inputs: tuple[Tensor], outputs: Tensor) -> Tensor:
        marks = torch.isin(inputs[0], torch.tensor(markers, device=inputs[0].device))
        return torch.where(marks.unsqueeze(-1), vector_D.to(outputs), outputs)

    hook = embedding.register_forward_hook(blur)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def hide_images(architecture: Architecture) -> Iterator[None]:
    """Let no column but those of images attend to images: latents enter as vectors, and they alone tell of them."""
    masks = architecture.masks

    def mask(places: Places, start: int, dtype: torch.dtype) -> dict[str, Any]:
        return masks(replace(places, blind_BT=places.image_BT < 0), start, dtype)

    with replaced(architecture, "masks", mask):
        yield


@contextmanager
def replaced(owner: Any, name: str, method: Callable[..., Any]) -> Iterator[None]:
    """Let an object have another method for a while."""
    vars(owner)[name] = method
    try:
        yield
    finally:
        del vars(owner)[name]
