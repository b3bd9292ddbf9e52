"""The stages of Mirage: each turns a batch into named losses; all answer questions the same way.

Shapes: B rows, T columns, D width.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, cast

import torch
from annotated_types import Ge, Gt, Interval, Lt
from torch import Tensor

from mirage_pl.engine.checkpoints.trained import Trained
from mirage_pl.engine.training.base import BaseModule
from mirage_pl.mirage.batch import IGNORE, Batch
from mirage_pl.mirage.bottleneck import Bottleneck
from mirage_pl.mirage.decoding.generate import Decoder, Generation
from mirage_pl.mirage.decoding.sampling import Decoding
from mirage_pl.mirage.draws import draw_rows, draw_slots
from mirage_pl.mirage.evidence import EVIDENCE, Evidence, Places, check_stage, plan_images
from mirage_pl.mirage.export.folder import write_folder
from mirage_pl.mirage.losses import (
    can_fuse,
    fused_ce,
    latent_contrast,
    latent_cosine,
    text_ce,
    weigh_changes,
    weighted_mean,
)
from mirage_pl.mirage.model.codes import Codes
from mirage_pl.mirage.model.latents import LatentVLM
from mirage_pl.mirage.placing import widen
from mirage_pl.mirage.stock.flops import step_flops


class MirageModule(BaseModule):
    """The base of all stages: cross-entropy on the answer, and generation.

    Args:
        decoder: answers prompts.
        ce_chunk: number of supervised positions whose logits are in memory at a time; ``None``: all.
        ce_fused: use Liger's fused kernel if there are a GPU and liger-kernel.
        bottleneck: hides images from text in training; ``None``: nothing does.
        evidence: a further loss of the latents that the model writes, named ``evidence``; ``None``: none.
        options: for :class:`mirage_pl.engine.training.base.BaseModule`.

    Raises:
        ValueError: an option out of its range, or ``evidence`` in a stage that writes no latents.
    """

    net: LatentVLM
    generation_type = Generation
    writes_latents = True
    """Whether the model's own latents are in training."""
    gives_credit = False
    """Whether a latent's weight in ``evidence`` may differ from another's."""

    def __init__(
        self,
        decoder: Decoder,
        ce_chunk: int | None,
        ce_fused: bool,
        bottleneck: Bottleneck | None = None,
        evidence: Evidence | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if bottleneck is not None:
            self.net.architecture.check_masks("a bottleneck")
        if evidence is not None:
            check_stage(evidence, self)
        self.evidence = evidence
        if ce_chunk is not None and ce_chunk < 1:
            raise ValueError(f"memory.ce_chunk={ce_chunk} must be 1 or more, or null for all positions at once")
        self.decoder, self.ce_chunk, self.ce_fused, self.bottleneck = decoder, ce_chunk, ce_fused, bottleneck

    def units(self) -> list[torch.nn.Module]:
        """Embedding, every layer, last norm, head, the vision tower with its blocks, queries and words of latents."""
        net = self.net
        words, head = net.backbone.get_input_embeddings(), net.architecture.head
        return [
            words,
            *net.decoder.layers,
            net.decoder.norm,
            head,
            *net.architecture.tower_blocks,
            *net.architecture.tower,
            *net.added,
        ]

    def parts(self) -> dict[str, Sequence[torch.nn.Module]]:
        """``vision`` without its ``merger``, and ``language``: embedding, decoder and head."""
        return self.net.architecture.parts

    def vocabulary(self) -> tuple[torch.nn.Module, torch.nn.Module, Sequence[int]]:
        """Embedding, head, and the ids of the three latent tokens."""
        tokens = self.decoder.latent_start, self.decoder.latent_pad, self.decoder.latent_end
        return self.net.backbone.get_input_embeddings(), self.net.architecture.head, tokens

    def alike(self, batch: Batch, most: Callable[[Sequence[int]], list[int]]) -> Batch:
        """Match the rank with the most latent columns and chunks of cross-entropy; add images if any rank has some."""
        widths = [block.stop - block.start for block in batch.blocks]
        encoded = [images is not None and images.pixels_PF is not None for images in (batch.images, batch.helpers)]
        encodes_inputs, encodes_helpers, supervised, *widths = most([*encoded, batch.supervised, *widths])
        images = self.net.with_pixels(batch.images) if encodes_inputs else batch.images
        helpers = self.net.with_pixels(batch.helpers) if encodes_helpers else batch.helpers
        return widen(replace(batch, images=images, helpers=helpers, most_supervised=supervised), widths)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """As of all stages, with a bottleneck if there is one."""
        if self.bottleneck is not None:
            random_B = draw_rows(batch, self.seed, self.global_step, "bottleneck", 1).squeeze(1)
            batch = self.bottleneck.narrow(batch, self.net.architecture.image_id, self.progress, random_B)
        return super().training_step(batch, batch_idx)

    def terms(self, batch: Batch) -> dict[str, int]:
        """Number of supervised tokens (``text``), of latents (``latent``), and of those that ``evidence`` compares."""
        terms = {"text": batch.supervised, "latent": sum(size for row in batch.sizes for size in row)}
        return terms | self.evidence_terms(batch)

    def evidence_terms(self, batch: Batch) -> dict[str, int]:
        """Latents of rows to train on that ``evidence`` compares, if it is learnt."""
        return {} if self.evidence is None else {EVIDENCE: plan_images(batch).count}

    def evidence_loss(
        self, states_ND: Tensor, batch: Batch, places: Places | None = None, credit_N: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``evidence`` of the latents that these hidden states become, if it is learnt.

        Args:
            states_ND: of :meth:`mirage_pl.mirage.model.latents.LatentVLM.written`.
            batch: with helper images.
            places: which image is whose; ``None``: as the rows plan it.
            credit_N: of the latents, see :class:`mirage_pl.mirage.evidence.Evidence`.
        """
        if self.evidence is None:
            return {}
        places = places or plan_images(batch)
        latents_ND = self.net.feedback(states_ND)
        prototypes = [] if batch.helpers is None else self.net.compress(batch.helpers, [1] * len(places.names_I))
        return {EVIDENCE: self.evidence(latents_ND, torch.cat([latents_ND[:0], *prototypes]), places, credit_N)}

    def text_loss(self, hidden_BTD: Tensor, batch: Batch) -> Tensor:
        """Mean cross-entropy over the batch's supervised tokens; logits are computed for these positions only."""
        supervised_BT = batch.targets_BT != IGNORE
        hidden_MD, targets_M, head = (
            hidden_BTD[supervised_BT],
            batch.targets_BT[supervised_BT],
            self.net.architecture.head,
        )
        if self.ce_fused and can_fuse(hidden_MD, head):
            return fused_ce(hidden_MD, head, targets_M)
        return text_ce(hidden_MD, head, targets_M, self.ce_chunk, batch.most_supervised)

    def export(self, folder: Path, trained: Trained, shard_size: str) -> dict[str, Tensor]:
        """Write a folder of stock transformers with a file that decodes latents; return what is read back."""
        return write_folder(folder, self, trained, shard_size)

    def flops(self, batch: Batch) -> float:
        """Floating-point operations of a training step on this batch."""
        grids = [grid for images in (batch.images, batch.helpers) if images for grid in images.unknown_grids()]
        decoder, tower = self.net.architecture.decoder_flops, self.net.architecture.tower_flops
        return step_flops(decoder, tower, batch.lengths, batch.supervised, grids, self.net.tower_trained)

    def generate(self, prompts: Batch, max_new_tokens: int, **options: Any) -> Generation:
        """Answer a batch of prompts, with latents where the model opens a block.

        Args:
            prompts: from the collator.
            max_new_tokens: most columns to decode, latents included.
            options: other options of :class:`mirage_pl.mirage.decoding.sampling.Decoding`; greedy without any.
        """
        return self.decoder(self.net, prompts, Decoding(max_new_tokens, **options))

    def stream(self, prompts: Batch, max_new_tokens: int, **options: Any) -> Iterator[str]:
        """Yield the answer to the first prompt piece by piece, then a description of its latents."""
        yield from self.decoder.stream(self.net, prompts, Decoding(max_new_tokens, **options))


class SFT(MirageModule):
    """Pretraining and the baseline: answers without latents, which the collator leaves out."""

    writes_latents = False

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """``text``: cross-entropy on the answer."""
        return {"text": self.text_loss(self.net.recurrent(batch), batch)}


class Stage2(MirageModule):
    """Latents are the model's own hidden states; only text is supervised, and gradients flow through latents."""

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """``text``: cross-entropy on the answer's text, given recycled latents; ``evidence`` of them, if learnt."""
        hidden_BTD, states_ND = self.net.written(batch)
        return {"text": self.text_loss(hidden_BTD, batch), **self.evidence_loss(states_ND, batch)}


class Supervised(MirageModule):
    """The base of stages that also supervise latents, by the losses that ``loss_weights`` names.

    Args:
        centre: ``latent`` compares latents less their batch's mean, see :func:`mirage_pl.mirage.losses.latent_cosine`.
        temperature: of ``contrast``, see :func:`mirage_pl.mirage.losses.latent_contrast`, and of ``code``, see
            :meth:`mirage_pl.mirage.model.codes.Codes.surprise`.
        still: weight in all of latents that are as in the block before, see
            :func:`mirage_pl.mirage.losses.weigh_changes`; 1: all weigh alike.
        through: let gradients run through latents that the model writes; without, these learn from their own losses.
        options: for :class:`MirageModule`.

    Raises:
        ValueError: ``code`` has a weight, and latents aren't fed back as codes.
    """

    def __init__(
        self,
        centre: bool,
        temperature: Annotated[float, Gt(0)] = 0.1,
        still: Annotated[float, Interval(ge=0, le=1)] = 1.0,
        through: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.centre, self.temperature, self.still, self.through = centre, temperature, still, through
        if "code" in self.loss_weights and not isinstance(self.net.feedback, Codes):
            raise ValueError(
                "stage.module.loss_weights.code asks which code a latent is, and "
                f"{type(self.net.feedback).__name__} has none; set feedback=snapped or feedback=words, or null"
            )

    def terms(self, batch: Batch) -> dict[str, int]:
        """Number of supervised tokens (``text``) and of latents (the others)."""
        terms = super().terms(batch)
        return {name: terms.get(name, terms["latent"]) for name in self.loss_weights}

    def both(self, batch: Batch, hidden_BTD: Tensor, predicted_ND: Tensor, targets_ND: Tensor) -> dict[str, Tensor]:
        """``text``: cross-entropy; and those of :meth:`latent_losses`."""
        losses = {"text": self.text_loss(hidden_BTD, batch), **self.latent_losses(batch, predicted_ND, targets_ND)}
        return losses | self.evidence_loss(predicted_ND, batch)

    def latent_losses(self, batch: Batch, predicted_ND: Tensor, targets_ND: Tensor) -> dict[str, Tensor]:
        """Those that have a weight; without any ``latent``, so that one is asked for.

        ``latent``: one minus cosine to the compressed helper features; ``contrast``: which of the batch's they are;
        ``code``: which code.
        """
        weighed = [name for name in ("latent", "contrast", "code") if name in self.loss_weights] or ["latent"]
        predicted_ND = self.net.feedback.compared(predicted_ND)
        if not len(targets_ND):
            return {name: predicted_ND.sum() for name in weighed}
        weights_N = None if self.still == 1 else weigh_changes(targets_ND, batch.sizes, self.still)
        places_N, feedback = batch.places_N if self.centre else None, cast(Codes, self.net.feedback)
        losses = {
            "latent": lambda: latent_cosine(predicted_ND, targets_ND, places_N, weights_N),
            "contrast": lambda: latent_contrast(predicted_ND, targets_ND, self.temperature, weights_N),
            "code": lambda: weighted_mean(feedback.surprise(predicted_ND, targets_ND, self.temperature), weights_N),
        }
        return {name: losses[name]() for name in weighed}


class Stage1(Supervised):
    """Stage 1, teacher-forced: L1 = L_visual + gamma L_text (section 3 of the paper).

    Args:
        hidden: share of the latents that aren't shown, drawn anew in every batch, so that the others don't give away
            what stands beside them; not in the paper.
        options: for :class:`Supervised`.
    """

    def __init__(self, hidden: Annotated[float, Ge(0), Lt(1)] = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.hidden = hidden

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """``text`` and those of latents, given the compressed helper features as latents."""
        if not (self.hidden and self.training):
            return self.both(batch, *self.net.teacher_forced(batch))
        shown_BT = draw_slots(batch, self.seed, self.global_step, 1 - self.hidden)
        return self.both(batch, *self.net.teacher_forced(batch, shown_BT))


class Guided(Supervised):
    """Stage 2 that keeps the latent loss: recycled latents are still pulled to the helper image. Not in the paper."""

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """``text`` and those of latents, with recycled latents."""
        return self.both(batch, *self.net.recycled(batch, self.through))
