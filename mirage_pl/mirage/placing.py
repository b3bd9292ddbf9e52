"""Rows placed in columns.

Rows differ in prompt length, and in the number, places and lengths of their latent blocks. A batch is cut into
segments, alternating text and latent; each is as wide as its widest row, and padding lies inside the segments::

    row 0   . . P P P P S | L L L L | E T S | L L . | E T I .
    row 1   P P P P P P S | L L . . | . E S | L L L | E T T I
    row 2   . P P P T T I | . . . . | . . . | . . . | . . . .     (no latent block)

so that one step of the recurrence serves all rows. Explicit positions make padding invisible.

Shapes: B rows, T columns, N images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor

from mirage_pl.mirage.batch import IGNORE, Batch, Segment


@dataclass(frozen=True)
class Row:
    """One row before it is placed: token ids, and which of them are targets (``IGNORE`` elsewhere)."""

    tokens: list[int]
    labels: list[int]


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
    heads: Sequence[int] = (),
) -> Batch:
    """Place rows in columns.

    Text is padded on the left, so that the token before a latent block is in the column before it. Latent blocks, and
    the last text segment after them, are padded on the right, so that they start in the same column in every row.
    Questions that rows share are padded on the left, apart from the text behind them, so that they end in one column.

    Args:
        rows: at least one.
        latent_id: id of ``<|latent_pad|>``.
        pad_id: fills padding columns.
        image_id: id of image tokens.
        grids: merged grid of every image, row after row.
        positions: of image tokens, real columns and grids.
        heads: tokens of each row's question, where some are shared.
    """
    ends = heads or [0] * len(rows)
    asked = [[Row(row.tokens[:end], row.labels[:end])] for row, end in zip(rows, ends, strict=True)]
    table = [cut(Row(row.tokens[end:], row.labels[end:]), latent_id) for row, end in zip(rows, ends, strict=True)]
    tables, (head,) = align(asked, pad_id)
    others, segments = align(table, pad_id)
    tokens_BT, labels_BT, real_BT = (torch.cat(pair, dim=1) for pair in zip(tables, others, strict=True))
    segments = [Segment(head.stop + each.start, head.stop + each.stop, each.latent) for each in segments]
    image_BT, grids_N3 = (tokens_BT == image_id) & real_BT, torch.tensor(grids, dtype=torch.long).view(-1, 3)
    targets_BT = next_targets(labels_BT, real_BT)
    return Batch(
        tokens_BT=tokens_BT,
        real_BT=real_BT,
        latent_BT=(tokens_BT == latent_id) & real_BT,
        targets_BT=targets_BT,
        positions_3BT=positions(image_BT, real_BT, grids_N3),
        segments=(replace(segments[0], start=0), *segments[1:]),
        lengths=tuple(len(row.tokens) for row in rows),
        supervised=int((targets_BT != IGNORE).sum()),
        sizes=tuple(tuple(len(piece.tokens) for piece in pieces[1::2]) for pieces in table),
    )


def align(table: Sequence[Sequence[Row]], pad_id: int) -> tuple[tuple[Tensor, Tensor, Tensor], list[Segment]]:
    """Pad the pieces of rows, as :func:`place` says: tokens, labels and which are real, ``[B, T]``; and segments."""
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
    tokens_BT, labels_BT = (torch.tensor(each, dtype=torch.long) for each in (tokens, labels))
    return (tokens_BT, labels_BT, torch.tensor(real, dtype=torch.bool)), segments


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
