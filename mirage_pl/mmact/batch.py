"""Steps of demonstrations -> a batch. Shapes: B rows, L ids, M rows with a state, S and A numbers, N = H x A slots of
actions, W slots of words."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_modules.demonstrations.steps import Step
from mirage_pl.mmact.model.coder import CoderSizes
from mirage_pl.mmact.model.templates import OTHER_VIEWS, Observation, Templates, Written
from mirage_pl.mmact.model.vocabulary import Vocab
from mirage_pl.mmact.words import Words

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prompts:
    """Prompts with slots behind them, padded at their left to the longest.

    Attributes:
        ids_BL: masks in slots, and where the state's numbers belong, since how these become ids is the model's to know.
        keys_BL: bool: what is no padding.
        state_BL: bool: places of states' numbers, row by row.
        views_BL: bool: places of codes of what cameras see, view by view.
        slots_BL: bool: places of slots, as many in each row.
        begin: the first of them, the same in all rows.
    """

    ids_BL: Tensor
    keys_BL: Tensor
    state_BL: Tensor
    views_BL: Tensor
    slots_BL: Tensor
    begin: int

    def to(self, device: Any) -> Self:
        """Return them on a device."""
        moved: dict[str, Any] = {name: part.to(device) for name, part in vars(self).items() if name != "begin"}
        return replace(self, **moved)


@dataclass(frozen=True)
class Batch:
    """What is asked for, and what the answers are.

    Attributes:
        samples: where they are from.
        action: prompts for actions.
        text: prompts for words; ``None``: none are asked for.
        image: prompts for codes of an image; ``None``: none is asked for.
        states_MS: of the rows that have a state.
        actions_BN: what is done, step by step.
        real_BN: bool: what of it lies within the episode.
        words_BW: ids of what is said, and behind its end further ends.
        said_BW: bool: what of it is said, its end included; nothing where nobody says anything.
        codes_Vn: of what cameras see, view by view of each row; ``None``: they aren't coded yet.
    """

    samples: tuple[Step, ...]
    action: Prompts
    text: Prompts | None
    image: Prompts | None
    states_MS: Tensor
    actions_BN: Tensor
    real_BN: Tensor
    words_BW: Tensor
    said_BW: Tensor
    codes_Vn: Tensor | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def to(self, device: Any, **_: Any) -> Self:
        """Return the batch on a device."""
        parts = {name: part for name, part in vars(self).items() if isinstance(part, Tensor | Prompts)}
        moved: dict[str, Any] = {name: part.to(device) for name, part in parts.items()}
        return replace(self, **moved)

    @property
    def actions_BHA(self) -> Tensor:
        """What is done, with as many numbers in a step as the data have."""
        return self.actions_BN.unflatten(1, self.samples[0].actions_HA.shape)

    @property
    def prompts(self) -> list[Prompts]:
        """Of all that is asked for."""
        return [prompts for prompts in (self.action, self.text, self.image) if prompts]

    @property
    def num_real(self) -> int:
        """Ids that are no padding."""
        return sum(int(prompts.keys_BL.sum()) for prompts in self.prompts)

    @property
    def num_columns(self) -> int:
        """Ids in all."""
        return sum(prompts.ids_BL.numel() for prompts in self.prompts)


class Collator:
    """Write prompts.

    Args:
        vocab: where ids are.
        words: file of the tokenizer.
        phrases: name of a phrase -> its words.
        cut: of a prompt that is too long, see :class:`Templates`.
        limit: ids of a prompt, padding included; ``None``: as many as the longest of a batch has.
        reserve: padding behind the actions, as released for robots of 7 dimensions: as many as there are slots.
        text_slots: of an answer in words; ``None``: none is asked for.
        states: states are read.
        instructions: so are they; otherwise each is empty.
        views: of cameras, the first ones of a row.
        coder: sizes of what codes pictures, for how many codes one has.
        paints: weight of images of the future; ``None``: none is asked for.
    """

    def __init__(
        self,
        vocab: Vocab,
        words: str,
        phrases: Mapping[str, str],
        cut: Literal["instruction", "tail"],
        limit: int | None,
        reserve: bool,
        text_slots: int | None,
        states: bool = True,
        instructions: bool = True,
        views: int = 0,
        coder: CoderSizes | None = None,
        paints: float | None = None,
    ) -> None:
        if text_slots is not None and text_slots < 2:
            raise ValueError(f"text_slots={text_slots} must be 2 or more, an end included, or null for no words")
        if not 0 <= views <= len(OTHER_VIEWS):
            there = ", ".join(OTHER_VIEWS)
            raise ValueError(f"views={views} must be 0 to {len(OTHER_VIEWS)}: a prompt has {there}")
        self.words, self.limit, self.reserve, self.text_slots = Words(words, vocab), limit, reserve, text_slots
        self.states, self.instructions, self.views, self.paints = states, instructions, views, paints is not None
        self.places = 0 if coder is None else coder.places
        self.templates = Templates(vocab, {name: self.words.encode(text) for name, text in phrases.items()}, cut)
        self.written: dict[tuple[Any, ...], Written] = {}  # rows of one instruction differ in numbers alone
        self.warned = False

    def __call__(self, samples: Sequence[Step]) -> Batch:
        """Build a batch.

        Raises:
            ValueError: a prompt, or what is said, is too long; names the row.
        """
        states = [sample.state_S for sample in samples if sample.state_S is not None and self.states]
        actions_BHA = torch.from_numpy(np.stack([sample.actions_HA for sample in samples]))
        real_BH = torch.arange(actions_BHA.shape[1]) < torch.tensor([[sample.real] for sample in samples])
        said = [self.write_words(sample) for sample in samples]
        return Batch(
            tuple(samples),
            self.join([self.write_action(sample) for sample in samples]),
            None if self.text_slots is None else self.join([self.write_text(sample) for sample in samples]),
            self.join([self.write_image(sample) for sample in samples]) if self.paints else None,
            torch.from_numpy(np.stack(states)) if states else torch.zeros(0, 0),
            actions_BHA.flatten(1),
            real_BH.repeat_interleave(actions_BHA.shape[2], 1),
            torch.tensor(said),
            self.find_said(samples, said),
        )

    def join(self, rows: Sequence[Written]) -> Prompts:
        """Pad rows at their left to the longest."""
        longest, vocab = max(len(row.ids) for row in rows), self.templates.vocab
        ids_BL = torch.from_numpy(np.stack([fill_left(row.ids, longest, vocab["pad"]) for row in rows]))
        keys_BL = torch.from_numpy(np.stack([fill_left(row.keys, longest, 0) for row in rows])).bool()
        begin = longest - len(rows[0].ids) + rows[0].slots.start  # what is behind a prompt is as long in each row
        slot_L = torch.arange(longest) - begin
        slots_BL = ((slot_L >= 0) & (slot_L < len(rows[0].slots))).expand(len(rows), -1)
        states_BL, views_BL = (ids_BL == vocab["mask"]) & ~slots_BL, ids_BL == vocab.images.first
        return Prompts(ids_BL, keys_BL, states_BL, views_BL, slots_BL, begin)

    def write_action(self, sample: Step) -> Written:
        """The ids of a row that asks for actions."""

        def write(seen: Observation, steps: int, dims: int) -> Written:
            slots = [self.templates.vocab["mask"]] * steps * dims
            return self.templates.write_action(seen, dims, slots, self.limit, len(slots) if self.reserve else 0)

        return self.write(sample, "action", write)

    def write_text(self, sample: Step) -> Written:
        """The ids of a row that asks for words; its slots are masks."""

        def write(seen: Observation, _: int, dims: int) -> Written:
            assert self.text_slots is not None
            row = self.templates.write_text(seen, dims, [], self.limit, self.text_slots)
            masks = [self.templates.vocab["mask"]] * len(row.slots)
            return replace(row, ids=[*row.ids[: row.slots.start], *masks])

        return self.write(sample, "text", write)

    def write_image(self, sample: Step) -> Written:
        """The ids of a row that asks for codes of an image; its slots are masks."""

        def write(seen: Observation, _: int, dims: int) -> Written:
            slots = [self.templates.vocab["mask"]] * self.places
            length = None if self.limit is None else self.limit + len(slots) + 2
            return self.templates.write_image(seen, dims, slots, length)

        return self.write(sample, "image", write)

    def write(self, sample: Step, kind: str, write: Callable[[Observation, int, int], Written]) -> Written:
        """A row whose numbers are masks, and whose codes are the first one; says once that an instruction was cut."""
        numbers = 0 if sample.state_S is None or not self.states else len(sample.state_S)
        if (there := sample.views if sample.seen is None else len(sample.seen)) < self.views:
            raise ValueError(
                f"{sample.where}: {there} views, but this policy takes {self.views}; make the data with views"
            )
        instruction = sample.instruction if self.instructions else ""
        key = (kind, instruction, numbers, *sample.actions_HA.shape)
        if (row := self.written.get(key)) is None:
            vocab, views = self.templates.vocab, [[self.templates.vocab.images.first] * self.places] * self.views
            seen = Observation(self.words.encode(instruction), [vocab["mask"]] * numbers, views)
            try:
                row = self.written[key] = write(seen, *sample.actions_HA.shape)
            except ValueError as error:
                raise ValueError(f"{sample.where}: {error}") from None
        if row.left_out and not self.warned:
            self.warned = True
            log.warning(
                "%s: the last %d tokens of its instruction don't fit into prompt_length=%s and are left out; said once",
                *(sample.where, row.left_out, self.limit),
            )
        return row

    def write_words(self, sample: Step) -> list[int]:
        """The ids of what is said, filled with ends."""
        if self.text_slots is None:
            return []
        ids = self.words.encode(sample.plan or "")
        if len(ids) >= self.text_slots:
            raise ValueError(
                f"{sample.where}: a plan of {len(ids)} ids and its end don't fit into text_slots={self.text_slots}"
            )
        return [*ids, *[self.templates.vocab["eos"]] * (self.text_slots - len(ids))]

    def find_said(self, samples: Sequence[Step], said: Sequence[Sequence[int]]) -> Tensor:
        """What of it is said, its end included."""
        eos = self.templates.vocab["eos"]
        ends_B = [
            list(ids).index(eos) if sample.plan and ids else -1 for sample, ids in zip(samples, said, strict=True)
        ]
        return torch.arange(self.text_slots or 0) <= torch.tensor(ends_B)[:, None]

    def widths(self, sample: Step) -> tuple[int, ...]:
        """Count what ``loader.max_tokens`` limits."""
        rows = [self.write_action(sample)]
        rows += [self.write_text(sample)] if self.text_slots else []
        rows += [self.write_image(sample)] if self.paints else []
        return tuple(len(row.ids) for row in rows)


def fill_left(row: Sequence[int], length: int, pad: int) -> NDArray[np.int64]:
    """A row, padded at its left."""
    filled = np.full(length, pad, np.int64)
    filled[length - len(row) :] = row
    return filled
