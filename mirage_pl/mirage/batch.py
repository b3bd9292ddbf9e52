"""From samples to a batch whose latent blocks stand in the same columns in every row.

Rows differ in prompt length, in where their latent blocks are and in how many they have. A batch is cut into
segments, text and latent in turn; each is as wide as its widest row, and rows are padded inside their text segments::

    row 0   . . P P P P S | L L L L | E T T T I
    row 1   P P P P P P S | L L L L | E T I . .
    row 2   . P P P T T I | . . . . | . . . . .        (no latent block)

so that one step of the recurrence serves all rows. Positions are given explicitly, which makes padding invisible.

Shapes: B rows, T columns, N images, P patches.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from data_modules.samples import Latent, Picture, Sample, Text, open_image

LATENT_PAD, LATENT_START, LATENT_END = "<|latent_pad|>", "<|latent_start|>", "<|latent_end|>"
LATENT_TOKENS = (LATENT_PAD, LATENT_START, LATENT_END)
"""In the order in which the official code adds them, so that its checkpoints load."""

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


@dataclass(frozen=True)
class Batch:
    """Rows placed in columns.

    Attributes:
        tokens_BT: token ids; latent slots hold ``<|latent_pad|>``.
        real_BT: false where a column is padding.
        latent_BT: true on latent slots.
        targets_BT: the token that column t has to predict, ``IGNORE`` where nothing is asked.
        segments: text and latent in turn, the same for all rows.
        pixels_PF: patches of all input images, row after row; ``None`` without images.
        grids_N3: frames, patch rows and patch columns of each input image.
        helper_pixels_PF: patches of all helper images, row after row; ``None`` where they aren't needed.
        helper_grids_N3: their grids.
        samples: where the rows came from.
    """

    tokens_BT: Tensor
    real_BT: Tensor
    latent_BT: Tensor
    targets_BT: Tensor
    segments: tuple[Segment, ...]
    pixels_PF: Tensor | None = None
    grids_N3: Tensor | None = None
    helper_pixels_PF: Tensor | None = None
    helper_grids_N3: Tensor | None = None
    samples: tuple[Sample, ...] = ()

    def __len__(self) -> int:
        return len(self.tokens_BT)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """Move every tensor."""
        tensors: dict[str, Any] = {f.name: v for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}
        return replace(self, **{name: tensor.to(device, non_blocking=non_blocking) for name, tensor in tensors.items()})


def cut(row: Row, latent_id: int) -> list[Row]:
    """Cut a row into text, latent, text, …; it starts and ends with a text, which may be empty."""
    pieces = [Row([], [])]
    for latent, run in groupby(zip(row.tokens, row.labels, strict=True), key=lambda pair: pair[0] == latent_id):
        tokens, labels = (list(column) for column in zip(*run, strict=True))
        if latent == (len(pieces) % 2 == 1):
            pieces.append(Row([], []))
        pieces[-1] = Row(tokens, labels)
    return pieces if len(pieces) % 2 else [*pieces, Row([], [])]


def place(rows: Sequence[Row], latent_id: int, pad_id: int) -> Batch:
    """Place rows in columns.

    Text segments are padded on the left, so that the token before a latent block is the column before it; only the
    last of several segments is padded on the right.

    Args:
        rows: at least one.
        latent_id: id of ``<|latent_pad|>``.
        pad_id: fills padding columns.

    Raises:
        ValueError: latent blocks at the same place have different lengths.
    """
    table = [cut(row, latent_id) for row in rows]
    depth = max(len(pieces) for pieces in table)
    tokens: list[list[int]] = [[] for _ in rows]
    labels: list[list[int]] = [[] for _ in rows]
    real: list[list[bool]] = [[] for _ in rows]
    segments: list[Segment] = []
    for index in range(depth):
        column = [pieces[index] if index < len(pieces) else Row([], []) for pieces in table]
        width, latent = max(len(piece.tokens) for piece in column), index % 2 == 1
        if latent and {len(piece.tokens) for piece in column} - {0, width}:
            raise ValueError(f"latent blocks of different lengths in one batch: {[len(p.tokens) for p in column]}")
        start = len(tokens[0])
        segments.append(Segment(start, start + width, latent))
        on_right = index == depth - 1 and depth > 1
        for number, piece in enumerate(column):
            gap = width - len(piece.tokens)
            before, after = (0, gap) if on_right else (gap, 0)
            tokens[number] += [pad_id] * before + piece.tokens + [pad_id] * after
            labels[number] += [IGNORE] * before + piece.labels + [IGNORE] * after
            real[number] += [False] * before + [True] * len(piece.tokens) + [False] * after
    tokens_BT, real_BT = torch.tensor(tokens), torch.tensor(real)
    return Batch(
        tokens_BT=tokens_BT,
        real_BT=real_BT,
        latent_BT=(tokens_BT == latent_id) & real_BT,
        targets_BT=next_targets(torch.tensor(labels), real_BT),
        segments=tuple(segments),
    )


def next_targets(labels_BT: Tensor, real_BT: Tensor) -> Tensor:
    """Move every label to the real column before it: what that column has to predict."""
    targets_BT = torch.full_like(labels_BT, IGNORE)
    for row, columns in enumerate(real.nonzero().squeeze(1) for real in real_BT):
        targets_BT[row, columns[:-1]] = labels_BT[row, columns[1:]]
    return targets_BT


def check_answers(samples: Sequence[Sample]) -> None:
    """Demand an answer of every training row.

    Raises:
        ValueError: names the first row without one.
    """
    for sample in samples:
        if not sample.answer:
            raise ValueError(f"{sample.where}: no text_output, and a row to train on needs one; add it")


@lru_cache(65536)
def encode(tokenizer: Any, text: str) -> tuple[int, ...]:
    """Token ids of a text, without special tokens around it."""
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


@lru_cache(65536)
def template(processor: Any, texts: tuple[str | None, ...]) -> tuple[int, ...]:
    """Token ids of a question in the chat template, up to where the answer starts; ``None`` is an image, one token."""
    content = [{"type": "image"} if text is None else {"type": "text", "text": text} for text in texts]
    chat = [{"role": "user", "content": content}]
    return encode(processor.tokenizer, processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False))


class Collator:
    """Turn samples into a batch: chat template, special tokens, latent blocks, image patches.

    Targets are the answer's text, ``<|latent_start|>``, ``<|latent_end|>`` and ``<|im_end|>``; never a latent slot.

    Args:
        processor: the backbone's own, with the latent tokens in its tokenizer.
        latent_size: latent tokens a block (k of the paper).
        latents: keep the answer's latent blocks; without them the answer is its text alone.
        helpers: decode helper images (stage 1 needs them).

    Raises:
        ValueError: ``latent_size`` below 1, or an image that can't be read.
    """

    def __init__(self, processor: Any, latent_size: int, latents: bool, helpers: bool) -> None:
        if latent_size < 1:
            raise ValueError(f"latent_size={latent_size} must be 1 or more; for no latents choose stage=sft")
        self.images, self.tokenizer = processor.image_processor, processor.tokenizer
        self.processor, self.latent_size, self.latents, self.helpers = processor, latent_size, latents, helpers
        self.latent_pad, self.latent_start, self.latent_end = self.tokenizer.convert_tokens_to_ids(list(LATENT_TOKENS))
        self.image_pad = processor.image_token_id
        self.end, self.pad = self.tokenizer.convert_tokens_to_ids("<|im_end|>"), self.tokenizer.pad_token_id

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        """Build a training batch."""
        return self._build(samples, answers=True)

    def prompts(self, samples: Sequence[Sample]) -> Batch:
        """Build a batch of questions to be answered: one text segment, padded on the left."""
        return self._build(samples, answers=False)

    def _build(self, samples: Sequence[Sample], answers: bool) -> Batch:
        pixels_PF, grids_N3 = self._patches(samples, Picture)
        helper_pixels_PF, helper_grids_N3 = None, None
        if answers:
            check_answers(samples)
        if answers and self.helpers:
            helper_pixels_PF, helper_grids_N3 = self._patches(samples, Latent)
            self._check_helpers(samples, helper_grids_N3)
        merge = self.images.merge_size**2
        widths = iter([] if grids_N3 is None else (grids_N3.prod(-1) // merge).tolist())
        rows = [self._row(sample, widths, answers) for sample in samples]
        return replace(
            place(rows, self.latent_pad, self.pad),
            pixels_PF=pixels_PF,
            grids_N3=grids_N3,
            helper_pixels_PF=helper_pixels_PF,
            helper_grids_N3=helper_grids_N3,
            samples=tuple(samples),
        )

    def _row(self, sample: Sample, widths: Any, answers: bool) -> Row:
        tokens: list[int] = []
        texts = tuple(part.text if isinstance(part, Text) else None for part in sample.question)
        for token in template(self.processor, texts):
            tokens += [token] * next(widths) if token == self.image_pad else [token]
        labels = [IGNORE] * len(tokens)
        if answers:
            for part in sample.answer:
                piece = encode(self.tokenizer, part.text) if isinstance(part, Text) else self._block()
                tokens += piece
                labels += [IGNORE if token == self.latent_pad else token for token in piece]
            tokens.append(self.end)
            labels.append(self.end)
        return Row(tokens, labels)

    def _block(self) -> tuple[int, ...]:
        return (self.latent_start, *[self.latent_pad] * self.latent_size, self.latent_end) if self.latents else ()

    def _check_helpers(self, samples: Sequence[Sample], grids_N3: Tensor | None) -> None:
        helpers = [(part.path, s.where) for s in samples for part in s.answer if isinstance(part, Latent)]
        sizes = [] if grids_N3 is None else (grids_N3.prod(-1) // self.images.merge_size**2).tolist()
        for (path, where), size in zip(helpers, sizes, strict=True):
            if size < self.latent_size:
                raise ValueError(
                    f"{where}: helper image {path} makes {size} patch(es), fewer than latent_size={self.latent_size}; "
                    "lower latent_size, or draw it larger"
                )

    def _patches(
        self, samples: Sequence[Sample], kind: type[Picture] | type[Latent]
    ) -> tuple[Tensor | None, Tensor | None]:
        parts = [(p, s.where) for s in samples for p in (*s.question, *s.answer) if isinstance(p, kind)]
        if not parts:
            return None, None
        images = [open_image(part.path, where) for part, where in parts]
        patches = self.images(images=images, return_tensors="pt")
        return patches["pixel_values"], patches["image_grid_thw"]
