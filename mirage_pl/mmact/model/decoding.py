"""Blocks of slots filled in: in one step, or in several that hide the least certain again.

Shapes: B rows, N slots of each, V ids of the span that they are from. Ids count from the span's first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, Self

import torch
from torch import Generator, Tensor

from mirage_pl.mmact.model.masking import Schedule

Choose = Literal["argmax", "sample", "expectation"]
TINY = 1e-20
"""Probabilities and draws are raised to it before their logarithm is taken."""
HIDDEN = -1
"""Stands for a slot that isn't known."""

Predict = Callable[[Tensor], Tensor]
"""Ids of all slots, [B, N], ``HIDDEN`` ones included -> logits, [B, N, V]: one forward pass."""


@dataclass(frozen=True)
class Filled:
    """Slots that were filled in.

    Attributes:
        ids_BN: of each slot.
        expected_BN: the mean of the ids, weighed by their probability; the ids themselves unless it was asked for.
        forwards: passes that it took.
        hidden: after each step, how many slots of each row were hidden again.
        step_BN: where slots are kept for good: in which step, from 1; 0: it was given.
    """

    ids_BN: Tensor
    expected_BN: Tensor
    forwards: int
    hidden: Sequence[list[int]] = field(default_factory=list)
    step_BN: Tensor | None = None


class Decoder(Protocol):
    """A way to fill in slots: :class:`Decode`, or :class:`mirage_pl.mmact.model.text_decoding.Commit`."""

    @property
    def stale(self) -> bool:
        """Whether prompts' keys are kept though they depend on what is filled in."""

    @property
    def exact(self) -> Self:
        """The same without what only approximates it; its own equal, if nothing does."""

    def __call__(self, predict: Predict, slots_BN: Tensor, streams: Sequence[Generator] | None = None) -> Filled:
        """Fill in the hidden slots.

        Args:
            predict: a forward pass.
            slots_BN: ids, ``HIDDEN`` where they aren't known.
            streams: random numbers of each row, where any are drawn.
        """


@dataclass(frozen=True)
class Decode:
    """In each step all slots are chosen, and the least certain ones hidden again (MaskGIT, arXiv 2202.04200).

    Attributes:
        steps: forward passes; 1: all slots at once, each by itself.
        choose: ``argmax``: the likeliest id; ``sample``: one drawn by its probability, as released; ``expectation``:
            the likeliest id, and in the last step the mean of all as the number.
        schedule: share that is hidden after each step.
        temperature: of the noise on how certain a drawn id is; it falls over the steps.
        cumulative: the falls multiply, as released for images; otherwise each is counted from the first.
        threshold: what was kept before is hidden again when its probability falls below it, and
        drop: when its probability falls by more than this since it was chosen; both ``None``: never, as in MaskGIT.
            Source: Discrete Diffusion VLA (arXiv 2508.20072).
        stale: keys of prompts are those of the first step in all, though prompts see what is filled in: approximate.
    """

    steps: int = 1
    choose: Choose = "argmax"
    schedule: Schedule = field(default_factory=Schedule)
    temperature: float = 0.0
    cumulative: bool = False
    threshold: float | None = None
    drop: float | None = None
    stale: bool = False

    def __post_init__(self) -> None:
        if self.choose not in ("argmax", "sample", "expectation"):
            raise ValueError(f"decode.choose={self.choose} is unknown; choose argmax, sample or expectation")
        if self.steps < 1 or self.temperature < 0:
            raise ValueError(f"decode.steps={self.steps} must be 1 or more, temperature={self.temperature} 0 or more")

    @property
    def exact(self) -> Self:
        """The same with keys of prompts computed anew in each step."""
        return replace(self, stale=False)

    def __call__(self, predict: Predict, slots_BN: Tensor, streams: Sequence[Generator] | None = None) -> Filled:
        """See :class:`Decoder`; the answer is what the last step chose, whatever of it was hidden again."""
        ids_BN, hidden, heat = slots_BN, list[list[int]](), self.temperature
        chosen_BN = expected_BN = certain_BN = torch.zeros(slots_BN.shape, device=slots_BN.device)
        for step in range(1, self.steps + 1):
            logits_BNV = predict(ids_BN).float()
            chances_BNV = logits_BNV.softmax(-1)
            open_BN = self.reopen(ids_BN, chances_BNV, certain_BN, slots_BN)
            chosen_BN = torch.where(open_BN, choose_ids(logits_BNV, self.choose, streams), ids_BN)
            expected_BN = chosen_BN.float()
            if self.choose == "expectation":
                expected_BN = torch.where(open_BN, average_ids(chances_BNV), expected_BN)
            chance_BN = chances_BNV.gather(-1, chosen_BN[..., None])[..., 0]
            certain_BN = torch.where(open_BN, chance_BN, certain_BN)
            heat = (heat if self.cumulative else self.temperature) * (1 - step / self.steps)
            score_BN = chance_BN.masked_fill(~open_BN, torch.inf).clamp(min=TINY).log()
            if self.choose == "sample":
                score_BN = score_BN + heat * draw_noise(score_BN, streams)
            again_BN = hide_least(score_BN, self.count_hidden(torch.tensor(step / self.steps), open_BN))
            ids_BN = torch.where(again_BN, HIDDEN, chosen_BN)
            hidden.append(again_BN.sum(1).tolist())
        return Filled(chosen_BN, expected_BN, self.steps, hidden)

    def count_hidden(self, share: Tensor, open_BN: Tensor) -> Tensor:
        """How many slots of each row are hidden again: by the schedule, less than were open, but never none."""
        wanted = int((self.schedule(share) * open_BN.shape[1]).floor())
        return (open_BN.sum(1) - 1).clamp(max=wanted).clamp(min=1)

    def reopen(self, ids_BN: Tensor, chances_BNV: Tensor, certain_BN: Tensor, given_BN: Tensor) -> Tensor:
        """What is chosen in this step: what is hidden, and what was kept but has become uncertain."""
        open_BN = ids_BN == HIDDEN
        if self.threshold is None and self.drop is None:
            return open_BN
        now_BN = chances_BNV.gather(-1, ids_BN.clamp(min=0)[..., None])[..., 0]
        doubted_BN = torch.zeros_like(open_BN)
        if self.threshold is not None:
            doubted_BN |= now_BN < self.threshold
        if self.drop is not None:
            doubted_BN |= certain_BN - now_BN > self.drop
        return open_BN | (doubted_BN & (given_BN == HIDDEN))


def average_ids(chances_BNV: Tensor) -> Tensor:
    """The mean of the ids, [B, N], weighed by their probability."""
    mean_BN: Tensor = chances_BNV @ torch.arange(chances_BNV.shape[-1], device=chances_BNV.device).float()
    return mean_BN


def choose_ids(logits_BNV: Tensor, choose: Choose, streams: Sequence[Generator] | None) -> Tensor:
    """Choose an id for each slot, [B, N]; each row draws from its own stream."""
    if choose != "sample":
        return logits_BNV.argmax(-1)
    if streams is None:
        raise ValueError("decode.choose=sample draws, and was given no random numbers")
    rows = zip(logits_BNV.softmax(-1), streams, strict=True)
    drawn = [torch.multinomial(chances_NV.cpu(), 1, generator=stream)[:, 0] for chances_NV, stream in rows]
    return torch.stack(drawn).to(logits_BNV.device)


def draw_noise(score_BN: Tensor, streams: Sequence[Generator] | None) -> Tensor:
    """Gumbel noise for each slot, each row from its own stream."""
    assert streams is not None
    uniform_BN = torch.stack([torch.rand(score_BN.shape[1], generator=stream) for stream in streams])
    inner_BN = -uniform_BN.clamp(min=TINY).log()
    return -inner_BN.clamp(min=TINY).log().to(score_BN.device)


def hide_least(score_BN: Tensor, count_B: Tensor) -> Tensor:
    """The ``count_B`` lowest scores of each row, bool [B, N]; of scores that are equal at the end fewer."""
    ordered_BN = score_BN.sort(1).values
    return score_BN < ordered_BN.gather(1, count_B.clamp(max=score_BN.shape[1] - 1)[:, None])
