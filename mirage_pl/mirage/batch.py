"""A batch whose latent blocks start in the same columns in every row.

Rows are placed by :mod:`mirage_pl.mirage.placing`.

Shapes: B rows, T columns, N images, P patches, M features, D width.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from data_modules.samples import Sample

LATENT_PAD, LATENT_START, LATENT_END = "<|latent_pad|>", "<|latent_start|>", "<|latent_end|>"
LATENT_TOKENS = (LATENT_PAD, LATENT_START, LATENT_END)
"""In the order in which the official code adds them to the vocabulary, so that its checkpoints load."""

IGNORE = -100


@dataclass(frozen=True)
class Segment:
    """Columns ``start`` to ``stop`` of a batch."""

    start: int
    stop: int
    latent: bool


class Movable:
    """A frozen dataclass that moves with all its tensors."""

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Any:
        """Copy to a device."""
        parts: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        movable = {name: part for name, part in parts.items() if isinstance(part, Tensor | Movable)}
        moved = {name: part.to(device, non_blocking=non_blocking) for name, part in movable.items()}
        return replace(self, **moved)  # type: ignore[type-var]


@dataclass(frozen=True)
class Images(Movable):
    """The input images or the helper images of a batch, row by row.

    An image is given by its patches, or by its features if a cache has them.

    Attributes:
        grids: frames, patch rows and patch columns of every image.
        known: which images are given by their features.
        pixels_PF: patches of the others, one image after another; ``None`` if all are known.
        features_MD: merged features of the known ones, one image after another; ``None`` if none is known.
        blank: the last image is in no row; the tower runs on it because it runs on other ranks.
    """

    grids: tuple[tuple[int, int, int], ...]
    known: tuple[bool, ...]
    pixels_PF: Tensor | None
    features_MD: Tensor | None = None
    blank: bool = False

    def unknown_grids(self) -> list[tuple[int, int, int]]:
        """Grids of the images that the tower has to encode."""
        return [grid for grid, known in zip(self.grids, self.known, strict=True) if not known]


@dataclass(frozen=True)
class Shared(Movable):
    """Questions that several rows ask, so that each is run once.

    Shapes: Q questions, B rows.

    Attributes:
        stop: columns of the questions, the first ones of every row.
        first_Q: the first row that asks each of them, ascending.
        question_B: which question each row asks.
        spared: real columns of the questions that aren't run again.
    """

    stop: int
    first_Q: Tensor
    question_B: Tensor
    spared: tuple[int, ...]


@dataclass(frozen=True)
class Batch(Movable):
    """Rows placed in columns.

    Attributes:
        tokens_BT: token ids; latent slots hold ``<|latent_pad|>``.
        real_BT: false where a column is padding.
        latent_BT: true on latent slots.
        targets_BT: the token that column t has to predict, ``IGNORE`` where there is none.
        positions_3BT: rotary positions (time, height, width).
        segments: alternating text and latent, the same for all rows.
        lengths: real columns of each row.
        supervised: columns with a target.
        sizes: of each row, the latents of its blocks; in a prompt, of the blocks that its answer is planned to have.
        images: input images, those of a shared question once; ``None`` if there are none.
        helpers: helper images, one per block; ``None`` if they aren't needed.
        samples: one per row.
        most_supervised: the largest ``supervised`` of all ranks' batches in this step; 0 if it isn't needed.
        blind_BT: true where a column doesn't attend to images; ``None``: all do.
        shared: questions that rows have in common; ``None``: each row is run by itself.
        told: the same answers to questions that show their helper images; ``None`` if nobody is told.
    """

    tokens_BT: Tensor
    real_BT: Tensor
    latent_BT: Tensor
    targets_BT: Tensor
    positions_3BT: Tensor
    segments: tuple[Segment, ...]
    lengths: tuple[int, ...]
    supervised: int
    sizes: tuple[tuple[int, ...], ...] = ()
    images: Images | None = None
    helpers: Images | None = None
    samples: tuple[Sample, ...] = ()
    most_supervised: int = 0
    blind_BT: Tensor | None = None
    shared: Shared | None = None
    told: "Batch | None" = None

    def __len__(self) -> int:
        return len(self.tokens_BT)

    @property
    def num_real(self) -> int:
        """Columns that aren't padding, over all rows."""
        return sum(self.lengths)

    @property
    def num_columns(self) -> int:
        """Columns over all rows."""
        return self.tokens_BT.numel()

    @property
    def before_BT(self) -> Tensor:
        """True on the column before each latent slot; :func:`place` makes sure that it is real."""
        return self.latent_BT.roll(-1, 1)

    @property
    def places_N(self) -> Tensor:
        """The place of each latent slot in its block, in the order of the batch's slots."""
        places = [place for row in self.sizes for size in row for place in range(size)]
        return torch.tensor(places, device=self.tokens_BT.device, dtype=torch.long)

    @property
    def blocks(self) -> list[Segment]:
        """The latent segments."""
        return [segment for segment in self.segments if segment.latent]
