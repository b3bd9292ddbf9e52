"""A batch whose latent blocks start in the same columns in every row.

Rows differ in prompt length, and in the number, places and lengths of their latent blocks. A batch is cut into
segments, alternating text and latent; each is as wide as its widest row, and padding lies inside the segments::

    row 0   . . P P P P S | L L L L | E T S | L L . | E T I .
    row 1   P P P P P P S | L L . . | . E S | L L L | E T T I
    row 2   . P P P T T I | . . . . | . . . | . . . | . . . .     (no latent block)

so that one step of the recurrence serves all rows. Explicit positions make padding invisible.

Shapes: B rows, T columns, N images, P patches, M features, D width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from data_modules.samples import Sample

LATENT_PAD, LATENT_START, LATENT_END = "<|latent_pad|>", "<|latent_start|>", "<|latent_end|>"
LATENT_TOKENS = (LATENT_PAD, LATENT_START, LATENT_END)
"""In the order in which the official code adds them to the vocabulary, so that its checkpoints load."""

IGNORE = -100


@dataclass(frozen=True)
class Row:
    """One row before it is placed: token ids, and which of them are targets (``IGNORE`` elsewhere)."""

    tokens: list[int]
    labels: list[int]


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
        images: input images; ``None`` if there are none.
        helpers: helper images, one per block; ``None`` if they aren't needed.
        samples: one per row.
        most_supervised: the largest ``supervised`` of all ranks' batches in this step; 0 if it isn't needed.
        blind_BT: true where a column doesn't attend to images; ``None``: all do.
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


def cut(row: Row, latent_id: int) -> list[Row]:
    """Cut a row into text, latent, text, …; the first and last piece are text, which may be empty."""
    pieces = [Row([], [])]
    for latent, run in groupby(zip(row.tokens, row.labels, strict=True), key=lambda pair: pair[0] == latent_id):
        tokens, labels = (list(column) for column in zip(*run, strict=True))
        if latent == (len(pieces) % 2 == 1):
            pieces.append(Row([], []))
        pieces[-1] = Row(tokens, labels)
    return pieces if len(pieces) % 2 else [*pieces, Row([], [])]


Positions = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Image tokens, real columns (both ``[B, T]``) and merged grids ``[N, 3]`` -> rotary positions ``[3, B, T]``."""


def rotary_positions(image_BT: Tensor, real_BT: Tensor, grids_N3: Tensor) -> Tensor:
    """Qwen2.5-VL's rotary positions, for all rows at once.

    Text advances by one per token. An image's tokens share one time, to which height and width add their row and
    column; text after the image continues from its larger side. Stock ``get_rope_index`` does the same row by row.

    Args:
        image_BT: true on image tokens; two images never touch.
        real_BT: false on padding, whose positions are arbitrary.
        grids_N3: merged grid (frames, rows, columns) of every image, row after row; one frame each.

    Returns:
        ``[3, B, T]``: time, height, width.
    """
    text_BT = (real_BT & ~image_BT).long()
    first_BT = image_BT & ~image_BT.roll(1, 1)
    image_of_BT = first_BT.flatten().cumsum(0).view_as(text_BT) - 1
    sides_BT = torch.zeros_like(text_BT)
    sides_BT[first_BT] = grids_N3[:, 1:].amax(1)
    base_BT = text_BT.cumsum(1) - text_BT + sides_BT.cumsum(1)
    positions_3BT = base_BT.expand(3, -1, -1).clone()
    if len(grids_N3):
        number_n = image_of_BT[image_BT]
        place_n = image_BT.flatten().nonzero().squeeze(1)
        offset_n = place_n - first_BT.flatten().nonzero().squeeze(1)[number_n]
        start_n = base_BT[image_BT] - grids_N3[number_n, 1:].amax(1)
        columns_n = grids_N3[number_n, 2]
        positions_3BT[:, image_BT] = torch.stack(
            [start_n, start_n + offset_n // columns_n, start_n + offset_n % columns_n]
        )
    return positions_3BT


def place(
    rows: Sequence[Row],
    latent_id: int,
    pad_id: int,
    image_id: int = -1,
    grids: Sequence[tuple[int, int, int]] = (),
    positions: Positions = rotary_positions,
) -> Batch:
    """Place rows in columns.

    Text is padded on the left, so that the token before a latent block is in the column before it. Latent blocks, and
    the last text segment after them, are padded on the right, so that they start in the same column in every row.

    Args:
        rows: at least one.
        latent_id: id of ``<|latent_pad|>``.
        pad_id: fills padding columns.
        image_id: id of image tokens.
        grids: merged grid of every image, row after row.
        positions: of image tokens, real columns and grids.
    """
    table = [cut(row, latent_id) for row in rows]
    tokens, labels, real, segments = align(table, pad_id)
    tokens_BT, real_BT = torch.tensor(tokens), torch.tensor(real)
    image_BT, grids_N3 = (tokens_BT == image_id) & real_BT, torch.tensor(grids, dtype=torch.long).view(-1, 3)
    targets_BT = next_targets(torch.tensor(labels), real_BT)
    return Batch(
        tokens_BT=tokens_BT,
        real_BT=real_BT,
        latent_BT=(tokens_BT == latent_id) & real_BT,
        targets_BT=targets_BT,
        positions_3BT=positions(image_BT, real_BT, grids_N3),
        segments=tuple(segments),
        lengths=tuple(len(row.tokens) for row in rows),
        supervised=int((targets_BT != IGNORE).sum()),
        sizes=tuple(tuple(len(piece.tokens) for piece in pieces[1::2]) for pieces in table),
    )


def align(
    table: Sequence[Sequence[Row]], pad_id: int
) -> tuple[list[list[int]], list[list[int]], list[list[bool]], list[Segment]]:
    """Pad the pieces of rows, as :func:`place` says: tokens, labels and which are real, of each row; and segments."""
    depth = max(len(pieces) for pieces in table)
    tokens: list[list[int]] = [[] for _ in table]
    labels: list[list[int]] = [[] for _ in table]
    real: list[list[bool]] = [[] for _ in table]
    segments: list[Segment] = []
    for index in range(depth):
        column = [pieces[index] if index < len(pieces) else Row([], []) for pieces in table]
        width, latent = max(len(piece.tokens) for piece in column), index % 2 == 1
        segments.append(Segment(len(tokens[0]), len(tokens[0]) + width, latent))
        on_right = latent or (index == depth - 1 and depth > 1)
        for number, piece in enumerate(column):
            gap = width - len(piece.tokens)
            before, after = (0, gap) if on_right else (gap, 0)
            tokens[number] += [pad_id] * before + piece.tokens + [pad_id] * after
            labels[number] += [IGNORE] * before + piece.labels + [IGNORE] * after
            real[number] += [False] * before + [True] * len(piece.tokens) + [False] * after
    return tokens, labels, real, segments


def widen(batch: Batch, widths: Sequence[int]) -> Batch:
    """Widen latent segments, or add some; the new columns are padding.

    Args:
        batch: from :func:`place`.
        widths: least number of columns of each latent segment; at least one entry per segment of the batch.
    """
    columns: list[int] = []  # of the batch, -1 for a new one
    segments: list[Segment] = []
    for index in range(2 * len(widths) + 1):
        start, latent = len(columns), index % 2 == 1
        if index < len(batch.segments):
            columns += range(batch.segments[index].start, batch.segments[index].stop)
        if latent:
            columns += [-1] * (widths[index // 2] - (len(columns) - start))
        segments.append(Segment(start, len(columns), latent))
    device = batch.tokens_BT.device
    from_T, added_T = torch.tensor(columns, device=device).clamp(min=0), torch.tensor(columns, device=device) < 0
    fills = {"tokens_BT": 0, "real_BT": False, "latent_BT": False, "targets_BT": IGNORE, "positions_3BT": 0}
    fills |= {} if batch.blind_BT is None else {"blind_BT": False}
    widened = {n: getattr(batch, n).index_select(-1, from_T).masked_fill(added_T, fill) for n, fill in fills.items()}
    return replace(batch, segments=tuple(segments), **widened)


def next_targets(labels_BT: Tensor, real_BT: Tensor) -> Tensor:
    """Move every label to the real column before it, which has to predict it."""
    targets_BT = torch.full_like(labels_BT, IGNORE)
    for row, columns in enumerate(real.nonzero().squeeze(1) for real in real_BT):
        targets_BT[row, columns[:-1]] = labels_BT[row, columns[1:]]
    return targets_BT
