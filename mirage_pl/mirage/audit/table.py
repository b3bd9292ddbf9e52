"""Vectors of all latent slots of a test set, as what was written and as what should have been.

Shapes: R rows, J blocks, k latents of a block, D width, N slots of a batch, P parts of a picture.
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from data_modules.samples import Latent, Picture, Sample
from mirage_pl.mirage.audit.interventions import AuditInterventions
from mirage_pl.mirage.probing.reading import compress_helpers, count_latents

Blocks = Sequence[Tensor]
"""Vectors ``[k, D]`` of each block of a row."""


@dataclass(frozen=True)
class Slots:
    """Vectors in the places of latents; NaN where there are none.

    Attributes:
        true_RJkD: compressed features of the helper image.
        forced_RJkD: what the model writes with true latents before.
        free_RJkD: what it writes with its own before; of rows that have as many latents as they should.
        last_RJkD: compressed features of the picture before: of the last block, of the input image before the first.
        changed_RJkD: those of the changed question's helper image.
        states_RJP: what the parts of each helper image show; -1 where it isn't known.
        before_RJP: what the parts of the picture before show.
    """

    true_RJkD: Tensor
    forced_RJkD: Tensor
    free_RJkD: Tensor
    last_RJkD: Tensor
    changed_RJkD: Tensor
    states_RJP: Tensor
    before_RJP: Tensor

    @property
    def sources(self) -> Mapping[str, Tensor]:
        """What is judged: ``forced``, ``free``, and ``last``, as if the picture before were copied."""
        return {"forced": self.forced_RJkD, "free": self.free_RJkD, "last": self.last_RJkD}


def gather_slots(probe: AuditInterventions) -> Slots:
    """Compute the vectors of all slots.

    Args:
        probe: of a test set whose rows all have helper images.
    """
    true, forced, last = list[Blocks](), list[Blocks](), list[Blocks]()
    for part in probe.parts:
        samples = probe.samples[part]
        right, written = force_latents(probe, samples)
        true += right
        forced += written
        first = compress_inputs(probe, samples)
        last += [[before, *row[:-1]] for before, row in zip(first, right, strict=True)]
    changed = [probe.changed_oracle.get(row, ()) for row in range(len(true))]
    rows, blocks = len(true), max(map(len, true))
    k, width = max(len(block) for row in true for block in row), probe.net.width
    shape = rows, blocks, k, width
    states_RJP, before_RJP = list_states(probe, blocks)
    return Slots(
        true_RJkD=pad_blocks(true, shape),
        forced_RJkD=pad_blocks(forced, shape),
        free_RJkD=pad_blocks(list_written(probe, true), shape),
        last_RJkD=pad_blocks(last, shape),
        changed_RJkD=pad_blocks(changed, shape),
        states_RJP=states_RJP,
        before_RJP=before_RJP,
    )


@torch.no_grad()
def force_latents(probe: AuditInterventions, samples: Sequence[Sample]) -> tuple[list[Blocks], list[Blocks]]:
    """Of each row the latents that stage 1 teaches, and what is written where those before it are in their places."""
    collate = copy(probe.collate)
    collate.helpers = True
    batch = collate(samples).to(probe.net.backbone.device)
    _, predicted_ND, targets_ND = probe.net.teacher_forced(batch)
    return split_rows(targets_ND, batch.sizes), split_rows(probe.net.feedback(predicted_ND), batch.sizes)


def split_rows(vectors_ND: Tensor, sizes: Sequence[Sequence[int]]) -> list[Blocks]:
    """Split vectors, row after row, into blocks."""
    blocks = iter(vectors_ND.split([size for row in sizes for size in row]))
    return [[next(blocks) for _ in row] for row in sizes]


def compress_inputs(probe: AuditInterventions, samples: Sequence[Sample]) -> list[Tensor]:
    """The first input image of each row as a helper image, with as many latents as its first block; empty if it can't.

    A row without input images, or with one that has fewer features than the block has latents, has none.
    """
    asked = list[Sample | None]()
    for sample in samples:
        block = next(part for part in sample.answer if isinstance(part, Latent))
        picture = next((part for part in sample.question if isinstance(part, Picture)), None)
        helper = Latent(picture.path, block.size) if picture else None
        size = block.size or probe.collate.latent_size
        fits = helper and probe.collate.pictures.num_tokens(helper, sample.where) >= size
        asked.append(replace(sample, answer=(helper,)) if helper and fits else None)
    found = [each for each in asked if each is not None]
    vectors = iter(compress_helpers(probe.net, probe.collate, found) if found else ())
    return [next(vectors)[0] if each is not None else torch.zeros(0, probe.net.width) for each in asked]


def list_written(probe: AuditInterventions, true: Sequence[Blocks]) -> list[Blocks]:
    """The model's own latents of each row, block by block; none of a row that hasn't as many as it should."""
    answers = [tokens for generation in probe.baseline for tokens in generation.tokens]
    rows = list[Blocks]()
    for tokens, latents_nD, blocks in zip(answers, probe.latents, true, strict=True):
        sizes = [len(block) for block in blocks]
        rows.append(latents_nD.split(sizes) if count_latents(probe.collate, tokens) == sizes else ())
    return rows


def pad_blocks(rows: Iterable[Blocks], shape: tuple[int, int, int, int]) -> Tensor:
    """Lay vectors out as a table ``[R, J, k, D]``, on the CPU in single precision."""
    table_RJkD = torch.full(shape, float("nan"))
    for row, blocks in enumerate(rows):
        for number, block_kD in enumerate(blocks):
            table_RJkD[row, number, : len(block_kD)] = block_kD.float().cpu()
    return table_RJkD


def list_states(probe: AuditInterventions, blocks: int) -> tuple[Tensor, Tensor]:
    """What the parts of helper images show, ``[R, J, P]``, and those of the pictures before."""
    of: Any = getattr(probe.dataset, "states", None)
    rows = [of(sample) if of else () for sample in probe.samples]
    parts = max((len(picture) for row in rows for picture in row), default=0)
    states_RJP, before_RJP = (torch.full((len(rows), blocks, parts), -1) for _ in range(2))
    for row, pictures in enumerate(rows):
        for number, (before, after) in enumerate(zip(pictures[:blocks], pictures[1:], strict=False)):
            states_RJP[row, number, : len(after)] = torch.tensor(after)
            before_RJP[row, number, : len(before)] = torch.tensor(before)
    return states_RJP, before_RJP
