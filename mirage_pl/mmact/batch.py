"""Steps of demonstrations -> a batch. Shapes: B rows, L ids, M rows with a state, S and A numbers, N = H x A slots."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_modules.demonstrations.steps import Step
from mirage_pl.mmact.model.templates import Observation, Templates, Written
from mirage_pl.mmact.model.vocabulary import Vocab
from mirage_pl.mmact.words import Words

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """Prompts with room for actions behind them, padded at their left to the longest.

    Attributes:
        samples: where they are from.
        ids_BL: masks where numbers belong, since how these become ids is the model's to know.
        keys_BL: bool: what is no padding.
        state_BL: bool: places of states' numbers, in the order of ``states_MS``.
        slots_BL: bool: places of actions' numbers.
        words_BL: bool: places of the instruction.
        states_MS: of the rows that have a state.
        actions_BN: what is done, step by step.
        real_BN: bool: what of it lies within the episode.
    """

    samples: tuple[Step, ...]
    ids_BL: Tensor
    keys_BL: Tensor
    state_BL: Tensor
    slots_BL: Tensor
    words_BL: Tensor
    states_MS: Tensor
    actions_BN: Tensor
    real_BN: Tensor

    def __len__(self) -> int:
        return len(self.samples)

    def to(self, device: Any, **_: Any) -> Self:
        """Return the batch on a device."""
        moved: dict[str, Any] = {name: part.to(device) for name, part in vars(self).items() if isinstance(part, Tensor)}
        return replace(self, **moved)

    @property
    def num_real(self) -> int:
        """Ids that are no padding."""
        return int(self.keys_BL.sum())

    @property
    def num_columns(self) -> int:
        """Ids in all."""
        return self.ids_BL.numel()


class Collator:
    """Write prompts.

    Args:
        vocab: where ids are.
        words: file of the tokenizer.
        phrases: name of a phrase -> its words.
        cut: of a prompt that is too long, see :class:`Templates`.
        limit: ids of a prompt, padding included; ``None``: as many as the longest of a batch has.
        reserve: padding behind the actions, as released for robots of 7 dimensions: as many as there are slots.
    """

    def __init__(
        self,
        vocab: Vocab,
        words: str,
        phrases: Mapping[str, str],
        cut: Literal["instruction", "tail"],
        limit: int | None,
        reserve: bool,
    ) -> None:
        self.words, self.limit, self.reserve, self.warned = Words(words, vocab), limit, reserve, False
        self.written: dict[tuple[str, int, int, int], Written] = {}  # rows of one instruction differ in numbers alone
        self.templates = Templates(vocab, {name: self.words.encode(text) for name, text in phrases.items()}, cut)

    def __call__(self, samples: Sequence[Step]) -> Batch:
        """Build a batch."""
        rows = [self.write(sample) for sample in samples]
        longest, vocab = max(len(row.ids) for row in rows), self.templates.vocab
        states = [sample.state_S for sample in samples if sample.state_S is not None]
        actions_BHA = torch.from_numpy(np.stack([sample.actions_HA for sample in samples]))
        real_BH = torch.arange(actions_BHA.shape[1]) < torch.tensor([[sample.real] for sample in samples])
        ids_BL = torch.from_numpy(np.stack([fill_left(row.ids, longest, vocab["pad"]) for row in rows]))
        keys_BL = torch.from_numpy(np.stack([fill_left(row.keys, longest, 0) for row in rows])).bool()
        begins_B1 = torch.tensor([[longest - len(row.ids) + row.slots.start] for row in rows])
        slot_BL = torch.arange(longest) - begins_B1
        slots_BL = (slot_BL >= 0) & (slot_BL < len(rows[0].slots))
        return Batch(
            tuple(samples),
            ids_BL,
            keys_BL,
            (ids_BL == vocab["mask"]) & ~slots_BL,
            slots_BL,
            keys_BL & (ids_BL < vocab.text),
            torch.from_numpy(np.stack(states)) if states else torch.zeros(0, 0),
            actions_BHA.flatten(1),
            real_BH.repeat_interleave(actions_BHA.shape[2], 1),
        )

    def write(self, sample: Step) -> Written:
        """The ids of a row; numbers are masks. Says once that an instruction was cut."""
        key = (sample.instruction, 0 if sample.state_S is None else len(sample.state_S), *sample.actions_HA.shape)
        if (row := self.written.get(key)) is None:
            try:
                row = self.written[key] = self.write_row(*key)
            except ValueError as error:
                raise ValueError(f"{sample.where}: {error}") from None
        if row.left_out and not self.warned:
            self.warned = True
            log.warning(
                "%s: the last %d tokens of its instruction don't fit into prompt_length=%s and are left out; said once",
                *(sample.where, row.left_out, self.limit),
            )
        return row

    def write_row(self, instruction: str, state: int, steps: int, dims: int) -> Written:
        """The ids of a row with so many numbers."""
        mask, slots = self.templates.vocab["mask"], steps * dims
        seen = Observation(self.words.encode(instruction), [mask] * state)
        return self.templates.write_action(seen, dims, [mask] * slots, self.limit, slots if self.reserve else 0)

    def widths(self, sample: Step) -> tuple[int, ...]:
        """Count what ``loader.max_tokens`` limits."""
        return (len(self.write(sample).ids),)


def fill_left(row: Sequence[int], length: int, pad: int) -> NDArray[np.int64]:
    """A row, padded at its left."""
    filled = np.full(length, pad, np.int64)
    filled[length - len(row) :] = row
    return filled
