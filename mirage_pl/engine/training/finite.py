"""Losses, gradients and weights that aren't numbers end a run before a sound checkpoint is overwritten.

Nothing waits for the device: what a step noted is looked at when the next one begins, on a GPU when the one after that
does, and always before a checkpoint is written. Of several ranks all stop together, with one message.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

SHOWN = 8
"""Rows that an error names."""


@dataclass(frozen=True)
class Note:
    """Values of one batch, or of a whole step.

    Attributes:
        step: from 1.
        names: of the values.
        values: [N], on the device.
        rows: where the samples are from.
    """

    step: int
    names: tuple[str, ...]
    values: Tensor
    rows: tuple[str, ...]


@dataclass
class Copied:
    """A number on its way from the device to main memory."""

    number: Tensor
    host: Tensor = field(init=False)
    arrival: Any = None

    def __post_init__(self) -> None:
        if not self.number.is_cuda:
            self.host = self.number
            return
        self.host = torch.empty((), dtype=self.number.dtype, pin_memory=True)
        self.host.copy_(self.number, non_blocking=True)
        self.arrival = torch.cuda.Event()
        self.arrival.record()

    def read(self) -> float:
        """Wait for it."""
        if self.arrival is not None:
            self.arrival.synchronize()
        return self.host.item()


class Watch:
    """Values of the steps taken last, and whether all of them are numbers on all ranks."""

    def __init__(self) -> None:
        self.new: list[Note] = []
        self.known: deque[Note] = deque(maxlen=1024)
        self.flags: deque[Copied] = deque()

    def note(self, step: int, values: Mapping[str, Tensor], rows: Iterable[str] = ()) -> None:
        """Remember values of a step."""
        stacked = torch.stack([value.detach().float().reshape(()) for value in values.values()])
        self.new.append(Note(step, tuple(values), stacked, tuple(rows)))

    def take_flag(self, device: Any) -> Tensor:
        """1 if anything noted since the last call isn't a number, else 0; to be summed over the ranks."""
        values = [note.values.to(device) for note in self.new]
        self.known += self.new
        self.new = []
        return 1 - torch.cat(values).isfinite().all().float() if values else torch.zeros((), device=device)

    def await_flag(self, flag: Tensor) -> None:
        """Look at a flag, the same on all ranks, as soon as that needs no waiting."""
        self.flags.append(Copied(flag))

    def check(self, trainer: Any, wait: bool = False) -> None:
        """Look at the flags that are there.

        Args:
            trainer: Lightning's.
            wait: whether to look at those on their way, too.

        Raises:
            ValueError: a value isn't a number; names step, loss and rows.
        """
        while self.flags and (wait or len(self.flags) > self.flags[0].number.is_cuda):
            if self.flags.popleft().read():
                raise ValueError(self.describe(trainer))

    def check_all(self, trainer: Any) -> None:
        """Look at everything noted so far, on all ranks together; nothing is exchanged if nothing is new.

        Raises:
            ValueError: a value isn't a number.
        """
        if self.new:
            flag = self.take_flag(trainer.strategy.root_device)
            self.await_flag(trainer.strategy.reduce(flag, reduce_op="sum"))
        self.check(trainer, wait=True)

    def describe(self, trainer: Any) -> str:
        """Say which step, values and rows, of all ranks."""
        mine = [
            (note.step, name, value, note.rows or self.rows_of(note.step))
            for note in (*self.known, *self.new)
            for name, value in zip(note.names, note.values.tolist(), strict=True)
            if not torch.tensor(value).isfinite()
        ]
        ranks: list[Any] = [mine]
        if trainer.world_size > 1:
            ranks = [None] * trainer.world_size
            torch.distributed.all_gather_object(ranks, mine)
        every = [one for rank in ranks for one in rank]
        step, cause = min((number, order(name)) for number, name, *_ in every)
        first = [one for one in every if (one[0], order(one[1])) == (step, cause)]
        values = dict.fromkeys(f"{name} is {value}" for _, name, value, _ in first)
        rows = list(dict.fromkeys(row for *_, rows in first for row in rows))
        shown = ", ".join(rows[:SHOWN]) + (f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else "")
        return (
            f"step {step}: {', '.join(values)}, with the rows {shown or 'of this step'}; the run ends here, and no "
            "checkpoint was written since. Look at these rows, or lower stage.module.optimizer.lr; the same command "
            "goes on from the last checkpoint"
        )

    def rows_of(self, step: int) -> tuple[str, ...]:
        """All rows of a step on this rank."""
        return tuple(row for note in (*self.known, *self.new) if note.step == step for row in note.rows)


GRADIENTS, WEIGHTS = "the largest gradient", "the largest weight"
AFTER = (GRADIENTS, WEIGHTS)
"""What follows from a loss, in its order."""


def order(name: str) -> int:
    """Where a value comes in a chain of causes: losses first."""
    return AFTER.index(name) + 1 if name in AFTER else 0


def largest(tensors: Iterable[Tensor | None]) -> Tensor | None:
    """The largest magnitude in this rank's parts of some tensors, not a number if any isn't; ``None`` of nothing."""
    parts = [part.to_local() if isinstance(part, DTensor) else part for part in tensors if part is not None]
    parts = [part.detach() for part in parts if part.numel()]
    return torch.nn.utils.get_total_norm(parts, norm_type=float("inf")) if parts else None


def rows_of(batch: Any) -> Sequence[str]:
    """Where the samples of a batch are from, if it has ``samples``."""
    return [str(getattr(sample, "where", sample)) for sample in getattr(batch, "samples", ())]
