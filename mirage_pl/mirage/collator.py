"""From samples to a batch: texts as tokens (``tokens.py``), images as patches or features (``pictures.py``), placed."""

import logging
from collections.abc import Hashable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Interval

from data_modules.image_check import check_image
from data_modules.images import ImageSource
from data_modules.samples import Latent, Picture, Sample, Text
from mirage_pl.engine.training.draws import row_stream
from mirage_pl.mirage.batch import IGNORE, LATENT_TOKENS, Batch, Images, Shared
from mirage_pl.mirage.features import FeatureCache
from mirage_pl.mirage.pictures import Pictures
from mirage_pl.mirage.placing import Row, cut, place
from mirage_pl.mirage.stock.find import find_inputs
from mirage_pl.mirage.tokens import encode, encode_question

log = logging.getLogger(__name__)

MOST_COUNTED = 10_000
"""Rows of a training file, evenly spread, that are looked at for latent blocks."""


class Collator:
    """Turn samples into a batch.

    Targets are the answer's text, ``<|latent_start|>``, ``<|latent_end|>`` and the turn's end; never a latent slot.

    Args:
        processor: the backbone's own, with the latent tokens in its tokenizer.
        latent_size: latents of a block (k of the paper) whose row doesn't say its own number.
        latents: keep the answer's latent blocks; without them the answer is its text alone.
        helpers: decode helper images (stage 1 needs them).
        pixels: bounds of images, see :class:`mirage_pl.mirage.pictures.Pictures`.
        features: cache of a frozen tower's features, which :class:`mirage_pl.mirage.prefill.Prefill` fills.
        revealed: share of the rows to train on whose question shows their helper images, too: always the same rows.
            ``None``: of none.

    Raises:
        ValueError: ``latent_size`` below 1, or bad ``pixels``.
    """

    def __init__(
        self,
        processor: Any,
        latent_size: int,
        latents: bool,
        helpers: bool,
        pixels: Mapping[str, Mapping[str, int | None]] | None = None,
        features: FeatureCache | None = None,
        revealed: Annotated[float, Interval(ge=0, le=1)] | None = None,
    ) -> None:
        if not isinstance(latent_size, int) or latent_size < 1:
            raise ValueError(
                f"latent_size={latent_size} must be a whole number of 1 or more; for no latents choose stage=sft"
            )
        self.processor, self.latent_size, self.latents, self.helpers = processor, latent_size, latents, helpers
        self.inputs, self.tokenizer = find_inputs(processor), processor.tokenizer
        self.pictures, self.revealed = Pictures(self.inputs, pixels or {}, features), revealed
        self.latent_pad, self.latent_start, self.latent_end = self.tokenizer.convert_tokens_to_ids(list(LATENT_TOKENS))
        self.end, self.pad, self.image_pad = self.inputs.end, self.tokenizer.pad_token_id, self.inputs.image_id

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        """Build a training batch.

        Raises:
            ValueError: one of the samples has a :meth:`problem`.
        """
        for sample in samples:
            self._check_answer(sample)
        helpers = self.helper_images(samples)[0] if self.helpers and any(map(blocks, samples)) else None
        return replace(self._build(list(map(self.lesson, samples)), answers=True), helpers=helpers)

    def prompts(self, samples: Sequence[Sample], asked: Sequence[Hashable] | None = None) -> Batch:
        """Build a batch of questions to be answered: one text segment, padded on the left.

        Args:
            samples: the rows.
            asked: a name of each row's question; those of the same name are run once. ``None``: each by itself.

        Raises:
            ValueError: an image can't be read or shown, or a text can't be written as tokens; names the row.
        """
        sizes = tuple(tuple(self._size(block) for block in blocks(sample)) for sample in samples)
        return replace(self._build(samples, answers=False, asked=asked), sizes=sizes)

    def lesson(self, sample: Sample) -> Sample:
        """A row as it is trained on."""
        if not self.revealed:
            return sample
        draw = torch.rand((), generator=row_stream(0, f"revealed, {Path(sample.where).name}", 0)).item()
        return reveal(sample) if draw < self.revealed else sample

    def seen(self, sample: Sample) -> Sample:
        """A row with all images that are shown of its question when it is trained on."""
        return self.lesson(sample)

    def helper_images(self, samples: Sequence[Sample]) -> tuple[Images, list[list[int]]]:
        """Helper images of some rows, and the latents of each block of each row.

        Raises:
            ValueError: no row has one, or one is smaller than its block.
        """
        asked = [(block, sample.where) for sample in samples for block in blocks(sample)]
        images = self.pictures.collect(asked)
        if images is None:
            raise ValueError(f"{samples[0].where}: no helper image; give image_output or a sequence_plan")
        for (block, where), (t, h, w) in zip(asked, self.pictures.merged(images), strict=True):
            self._check_block(block, t * h * w, where)
        return images, [[self._size(block) for block in blocks(sample)] for sample in samples]

    def widths(self, sample: Sample) -> tuple[int, ...]:
        """Tokens of a training row's segments (text, latent, text, …); images are only measured, not decoded."""
        lesson = self.lesson(sample)
        row = self._row(lesson, [self.pictures.tokens(*asked) for asked in shown(lesson)], answers=True)
        return tuple(len(segment.tokens) for segment in cut(row, self.latent_pad))

    def problem(self, sample: Sample, answers: bool = True, max_length: int | None = None) -> str | None:
        """Say why a sample can't be used; nothing where it can. All images it needs are decoded.

        Args:
            sample: one row.
            answers: to train on; without them, to be asked.
            max_length: most tokens of a row; ``None``: no limit.
        """
        try:
            if answers:
                self._check_answer(sample)
            for image in self.images(sample, answers):
                check_image(image, sample.where)
            for block in blocks(sample) if answers and self.helpers else ():
                self._check_block(block, self.pictures.num_tokens(block, sample.where), sample.where)
            length = sum(self.widths(sample))
        except ValueError as error:
            return str(error)
        if max_length is None or length <= max_length:
            return None
        return f"{sample.where}: the row has {length} tokens, more than {max_length}; shorten it"

    def images(self, sample: Sample, answers: bool = True) -> list[ImageSource]:
        """The images that a batch with this sample decodes: the question's, and if they are used helper images."""
        helpers = blocks(sample) if answers and self.helpers else []
        pictures = shown(self.seen(sample) if answers else sample)
        return [picture.path for picture, _ in pictures] + [block.path for block in helpers]

    @property
    def needs_blocks(self) -> bool:
        """Whether something is learnt of latent blocks or helper images."""
        return bool(self.latents or self.helpers or self.revealed)

    def check_training(self, samples: Sequence[Sample]) -> None:
        """Look for latent blocks in the rows that are trained on; say how many have none.

        Raises:
            ValueError: not one has any, though the stage learns them.
        """
        if not self.needs_blocks:
            return
        stride = -(-len(samples) // MOST_COUNTED)
        rows = [samples[index] for index in range(0, len(samples), max(stride, 1))]
        without = sum(not blocks(row) for row in rows)
        if rows and without == len(rows):
            raise ValueError(
                f"{rows[0].where} and all other rows have no latent block, which this stage teaches: name "
                "helper images (image_output or sequence_plan; task.columns.image_output), or train with stage=sft"
            )
        if without:
            log.warning("%d of %d rows (%.1f %%) have no latent block", without, len(rows), 100 * without / len(rows))

    def shown_processor(self) -> Any:
        """The processor, with the bounds of input images in place of the model's own."""
        processor = copy(self.processor)
        processor.image_processor = self.pictures.processors[Picture]
        return processor

    def place(self, rows: Sequence[Row], grids: Sequence[tuple[int, int, int]], heads: Sequence[int] = ()) -> Batch:
        """Place rows in columns; ``grids`` are those of their images in tokens, row after row."""
        return place(rows, self.latent_pad, self.pad, self.image_pad, grids, self.inputs.positions, heads)

    def _build(
        self,
        samples: Sequence[Sample],
        answers: bool,
        written: Sequence[Row] = (),
        asked: Sequence[Hashable] | None = None,
    ) -> Batch:
        """Build a batch of questions: alone, with their answers, or with what was written in their place."""
        names = range(len(samples)) if asked is None else asked
        number = {name: question for question, name in enumerate(dict.fromkeys(names))}
        question_B = [number[name] for name in names]
        first_Q = [question_B.index(question) for question in range(len(number))]
        once = [samples[row] for row in first_Q]
        images = self.pictures.collect([each for sample in once for each in shown(sample)])
        left = iter(self.pictures.merged(images))
        grids_Q = [[next(left) for _ in shown(sample)] for sample in once]
        rows_Q = [self._question(*each, answers) for each in zip(once, grids_Q, strict=True)]
        rows = [rows_Q[question] for question in question_B]
        if written:
            pairs = zip(rows, written, strict=True)
            rows = [Row(row.tokens + end.tokens, row.labels + end.labels) for row, end in pairs]
        grids = [grid for question in question_B for grid in grids_Q[question]]
        heads = [len(rows_Q[question].tokens) for question in question_B]
        batch = replace(self.place(rows, grids, [] if asked is None else heads), images=images, samples=tuple(samples))
        if asked is None:
            return batch
        spared = tuple(head for row, head in enumerate(heads) if row not in first_Q)
        return replace(batch, shared=Shared(max(heads), torch.tensor(first_Q), torch.tensor(question_B), spared))

    def _question(self, sample: Sample, grids: Sequence[tuple[int, int, int]], answers: bool) -> Row:
        """A row whose images have these grids in tokens."""
        tokens = [self.pictures.tokens(*each, grid) for each, grid in zip(shown(sample), grids, strict=True)]
        return self._row(sample, tokens, answers)

    def _row(self, sample: Sample, images: Sequence[tuple[int, ...]], answers: bool) -> Row:
        """The tokens of a row, whose images stand for these."""
        texts = tuple(part.text if isinstance(part, Text) else None for part in sample.question)
        tokens: list[int] = []
        try:
            question, left = encode_question(self.inputs, texts), list(images)
            for token in question:
                tokens += left.pop(0) if token == self.image_pad else (token,)
            labels = [IGNORE] * len(tokens)
            for part in sample.answer if answers else ():
                piece = encode(self.tokenizer, part.text) if isinstance(part, Text) else self._block(part)
                tokens += piece
                labels += [IGNORE if token == self.latent_pad else token for token in piece]
        except ValueError as error:
            raise ValueError(f"{sample.where}: {error}") from None
        return Row([*tokens, self.end], [*labels, self.end]) if answers else Row(tokens, labels)

    def _size(self, block: Latent) -> int:
        return self.latent_size if block.size is None else block.size

    def _block(self, block: Latent) -> tuple[int, ...]:
        slots = [self.latent_pad] * self._size(block)
        return (self.latent_start, *slots, self.latent_end) if self.latents else ()

    def _check_answer(self, sample: Sample) -> None:
        if not sample.answer:
            raise ValueError(
                f"{sample.where}: no text_output or sequence_plan, and a row to train on needs an answer; add it"
            )

    def _check_block(self, block: Latent, num_tokens: int, where: str) -> None:
        if num_tokens < (k := self._size(block)):
            raise ValueError(
                f"{where}: helper image {block.path} makes {num_tokens} patch(es), fewer than latent_size={k}; "
                "lower latent_size, or draw it larger"
            )


def shown(sample: Sample) -> list[tuple[Picture, str]]:
    """The images of a question, each with its row."""
    return [(part, sample.where) for part in sample.question if isinstance(part, Picture)]


def blocks(sample: Sample) -> list[Latent]:
    """The latent blocks of an answer."""
    return [part for part in sample.answer if isinstance(part, Latent)]


def reveal(sample: Sample) -> Sample:
    """A row whose helper images are shown at the end of its question."""
    return replace(sample, question=(*sample.question, *(Picture(block.path) for block in blocks(sample))))
