"""From samples to a batch: chat template, special tokens, latent blocks, image patches or their cached features.

Shapes: B rows, N images, P patches, M features, D width.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from data_modules.images import image_size, open_image
from data_modules.samples import Latent, Picture, Sample, Text
from mirage_pl.mirage.batch import IGNORE, LATENT_TOKENS, Batch, Images, Row, cut, place
from mirage_pl.mirage.features import FeatureCache

Grid = tuple[int, int, int]


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


def bounded(images: Any, role: str, bounds: Mapping[str, int | None]) -> Any:
    """An image processor that resizes to other numbers of pixels.

    Args:
        images: the processor.
        role: ``input`` or ``helper``, for errors.
        bounds: ``min`` and ``max`` of width times height; ``None``: the processor's own.

    Returns:
        The processor itself where its own bounds are these.

    Raises:
        ValueError: bounds that leave nothing between them.
    """
    smallest, largest = images.size["shortest_edge"], images.size["longest_edge"]
    size = {
        "shortest_edge": smallest if bounds.get("min") is None else bounds["min"],
        "longest_edge": largest if bounds.get("max") is None else bounds["max"],
    }
    if not 0 < size["shortest_edge"] <= size["longest_edge"]:  # type: ignore[operator]
        raise ValueError(
            f"pixels.{role}: images of {size['shortest_edge']} to {size['longest_edge']} pixels can't be; "
            f"min must be 1 or more, and at most max (the model's own: {smallest} to {largest})"
        )
    if size == dict(images.size):
        return images
    other = copy(images)
    other.size = type(images.size)(**size)
    return other


class Collator:
    """Turn samples into a batch.

    Targets are the answer's text, ``<|latent_start|>``, ``<|latent_end|>`` and ``<|im_end|>``; never a latent slot.

    Args:
        processor: the backbone's own, with the latent tokens in its tokenizer.
        latent_size: latents of a block (k of the paper) whose row doesn't say its own number.
        latents: keep the answer's latent blocks; without them the answer is its text alone.
        helpers: decode helper images (stage 1 needs them).
        pixels: for ``input`` and ``helper`` images the ``min`` and ``max`` of width times height, to which others are
            resized; ``None`` for the model's own.

    Attributes:
        features: where features of images are looked up; the module sets it when the tower is frozen.
        processors: the image processor of each role; one and the same object where they don't differ.

    Raises:
        ValueError: ``latent_size`` below 1, bad ``pixels``, or an image that can't be read.
    """

    features: FeatureCache | None = None

    def __init__(
        self,
        processor: Any,
        latent_size: int,
        latents: bool,
        helpers: bool,
        pixels: Mapping[str, Mapping[str, int | None]] | None = None,
    ) -> None:
        if not isinstance(latent_size, int) or latent_size < 1:
            raise ValueError(
                f"latent_size={latent_size} must be a whole number of 1 or more; for no latents choose stage=sft"
            )
        self.images, self.tokenizer = processor.image_processor, processor.tokenizer
        self.processors = self._bound(pixels or {})
        self.processor, self.latent_size, self.latents, self.helpers = processor, latent_size, latents, helpers
        self.latent_pad, self.latent_start, self.latent_end = self.tokenizer.convert_tokens_to_ids(list(LATENT_TOKENS))
        self.image_pad, self.merge = processor.image_token_id, self.images.merge_size
        self.end, self.pad = self.tokenizer.convert_tokens_to_ids("<|im_end|>"), self.tokenizer.pad_token_id

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        """Build a training batch.

        Raises:
            ValueError: a row without an answer, or a helper image smaller than its block.
        """
        for sample in samples:
            if not sample.answer:
                raise ValueError(
                    f"{sample.where}: no text_output or sequence_plan, and a row to train on needs an answer; add it"
                )
        helpers = self._images(samples, Latent) if self.helpers else None
        self._check_helpers(samples, helpers)
        return replace(self._build(samples, answers=True), helpers=helpers)

    def prompts(self, samples: Sequence[Sample]) -> Batch:
        """Build a batch of questions to be answered: one text segment, padded on the left."""
        sizes = tuple(tuple(self._size(part) for part in s.answer if isinstance(part, Latent)) for s in samples)
        return replace(self._build(samples, answers=False), sizes=sizes)

    def helper_images(self, samples: Sequence[Sample]) -> tuple[Images, list[list[int]]]:
        """Helper images of some rows, and the latents of each block of each row.

        Raises:
            ValueError: no row has one, or one is smaller than its block.
        """
        images = self._images(samples, Latent)
        if images is None:
            raise ValueError(f"{samples[0].where}: no helper image; give image_output or a sequence_plan")
        self._check_helpers(samples, images)
        return images, [[self._size(part) for part in s.answer if isinstance(part, Latent)] for s in samples]

    def widths(self, sample: Sample) -> tuple[int, ...]:
        """Tokens of a training row's segments (text, latent, text, …); images are only measured, not decoded."""
        images = [self.num_tokens(part, sample.where) for part in sample.question if isinstance(part, Picture)]
        row = self._row(sample, iter(images), answers=True)
        return tuple(len(segment.tokens) for segment in cut(row, self.latent_pad))

    def shown_processor(self) -> Any:
        """The processor, with the bounds of input images in place of the model's own."""
        processor = copy(self.processor)
        processor.image_processor = self.processors[Picture]
        return processor

    def num_tokens(self, part: Picture | Latent, where: str) -> int:
        """Tokens an image makes, from its header alone.

        Raises:
            ValueError: it can't be read, or is too long for its width; names the row.
        """
        width, height = image_size(part.path, where)
        images = self.processors[type(part)]
        bounds = {"min_pixels": images.size["shortest_edge"], "max_pixels": images.size["longest_edge"]}
        try:
            return int(images.get_number_of_image_patches(height, width, bounds)) // self.merge**2
        except ValueError as error:
            raise ValueError(f"{where}: image {part.path} of {width}×{height} pixels can't be shown: {error}") from None

    def _bound(self, pixels: Mapping[str, Mapping[str, int | None]]) -> dict[type, Any]:
        if unknown := pixels.keys() - {"input", "helper"}:
            raise ValueError(f"pixels.{min(unknown)} is unknown; there are pixels.input and pixels.helper")
        shown = bounded(self.images, "input", pixels.get("input") or {})
        helper = bounded(self.images, "helper", pixels.get("helper") or {})
        return {Picture: shown, Latent: shown if helper.size == shown.size else helper}

    def _build(self, samples: Sequence[Sample], answers: bool) -> Batch:
        images = self._images(samples, Picture)
        grids = [] if images is None else [(t, h // self.merge, w // self.merge) for t, h, w in images.grids]
        widths = iter([t * h * w for t, h, w in grids])
        rows = [self._row(sample, widths, answers) for sample in samples]
        batch = place(rows, self.latent_pad, self.pad, self.image_pad, grids)
        return replace(batch, images=images, samples=tuple(samples))

    def _row(self, sample: Sample, widths: Iterator[int], answers: bool) -> Row:
        tokens: list[int] = []
        texts = tuple(part.text if isinstance(part, Text) else None for part in sample.question)
        for token in template(self.processor, texts):
            tokens += [token] * next(widths) if token == self.image_pad else [token]
        labels = [IGNORE] * len(tokens)
        if answers:
            for part in sample.answer:
                piece = encode(self.tokenizer, part.text) if isinstance(part, Text) else self._block(part)
                tokens += piece
                labels += [IGNORE if token == self.latent_pad else token for token in piece]
            tokens.append(self.end)
            labels.append(self.end)
        return Row(tokens, labels)

    def _size(self, block: Latent) -> int:
        return self.latent_size if block.size is None else block.size

    def _block(self, block: Latent) -> tuple[int, ...]:
        slots = [self.latent_pad] * self._size(block)
        return (self.latent_start, *slots, self.latent_end) if self.latents else ()

    def _check_helpers(self, samples: Sequence[Sample], helpers: Images | None) -> None:
        blocks = [(part, s.where) for s in samples for part in s.answer if isinstance(part, Latent)]
        for (block, where), (t, h, w) in zip(blocks, helpers.grids if helpers else (), strict=helpers is not None):
            size, k = t * h * w // self.merge**2, self._size(block)
            if size < k:
                raise ValueError(
                    f"{where}: helper image {block.path} makes {size} patch(es), fewer than latent_size={k}; "
                    "lower latent_size, or draw it larger"
                )

    def _images(self, samples: Sequence[Sample], kind: type[Picture] | type[Latent]) -> Images | None:
        """Look every image up in the cache and decode the others."""
        parts = [(p, s.where) for s in samples for p in (*s.question, *s.answer) if isinstance(p, kind)]
        if not parts:
            return None
        found = [self.known(part, where) for part, where in parts]
        patches, grids = self.patches([part for part, hit in zip(parts, found, strict=True) if hit is None])
        unknown = iter(grids)
        stored = [hit[0] for hit in found if hit is not None]
        return Images(
            grids=tuple(next(unknown) if hit is None else hit[1] for hit in found),
            known=tuple(hit is not None for hit in found),
            pixels_PF=patches,
            features_MD=torch.cat(stored) if stored else None,
        )

    def patches(self, parts: Sequence[tuple[Picture | Latent, str]]) -> tuple[Tensor | None, list[Grid]]:
        """Decode images, with the rows that ask for them, all with one processor, and cut them into patches.

        Returns:
            Patches ``[P, pixels of a patch]``, ``None`` of no image; and the grid of each image.

        Raises:
            ValueError: one can't be read or shown; names the row.
        """
        if not parts:
            return None, []
        opened = [open_image(part.path, where) for part, where in parts]
        try:
            made = self.processors[type(parts[0][0])](images=opened, return_tensors="pt")
        except ValueError:
            for part, where in parts:
                self.num_tokens(part, where)  # says which one is too long
            raise
        return made["pixel_values"], [(t, h, w) for t, h, w in made["image_grid_thw"].tolist()]

    def known(self, part: Picture | Latent, where: str) -> tuple[Tensor, Grid] | None:
        """Features and grid of an image that the cache has.

        Raises:
            ValueError: the file is missing or unreadable.
        """
        if self.features is None:
            return None
        try:
            return self.features.get(self.key(self.features, part))
        except OSError:
            open_image(part.path, where)  # says what is wrong with it
            raise

    def key(self, features: FeatureCache, part: Picture | Latent) -> str:
        """Name an image in a cache: by its bytes, and by its bounds where they aren't the model's own.

        Raises:
            OSError: it can't be read.
        """
        images, key = self.processors[type(part)], features.key(part.path)
        if images is self.images:
            return key
        return f"{key}-{images.size['shortest_edge']}-{images.size['longest_edge']}"
