"""End a run whose losses, gradients or weights aren't finite, before a sound checkpoint is overwritten.

Nothing waits for the device: a step's values are checked at the start of the next step (on a GPU, of the one after),
and always before a checkpoint is written. All ranks stop together, with one message.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

SHOWN = 8
"""Most rows that an error names."""


@dataclass(frozen=True)
class Note:
    """Values of a batch or of a step.

    Attributes:
        step: counted from 1.
        names: of the values.
        values: [N], on the device.
        rows: places of the samples.
    """

    step: int
    names: tuple[str, ...]
    values: Tensor
    rows: tuple[str, ...]


@dataclass
class Copied:
    """A number that is being copied from the device to main memory."""

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
        """Wait for the copy and return it."""
        if self.arrival is not None:
            self.arrival.synchronize()
        return self.host.item()


class Watch:
    """The values of the latest steps, and whether all are finite on all ranks."""

    def __init__(self) -> None:
        self.new: list[Note] = []
        self.known: deque[Note] = deque(maxlen=1024)
        self.flags: deque[Copied] = deque()

    def note(self, step: int, values: Mapping[str, Tensor], rows: Iterable[str] = ()) -> None:
        """Keep values of a step."""
        stacked = torch.stack([value.detach().float().reshape(()) for value in values.values()])
        self.new.append(Note(step, tuple(values), stacked, tuple(rows)))

    def take_flag(self, device: Any) -> Tensor:
        """1 if a value noted since the last call isn't finite, else 0; to be summed over ranks."""
        values = [note.values.to(device) for note in self.new]
        self.known += self.new
        self.new = []
        return 1 - torch.cat(values).isfinite().all().float() if values else torch.zeros((), device=device)

    def await_flag(self, flag: Tensor) -> None:
        """Queue a flag, the same on all ranks, to be checked once it can be read without waiting."""
        self.flags.append(Copied(flag))

    def check(self, trainer: Any, wait: bool = False) -> None:
        """Check the flags that have arrived.

        Args:
            trainer: Lightning's.
            wait: whether to wait for the others.

        Raises:
            ValueError: a value isn't finite; names step, loss and rows.
        """
        while self.flags and (wait or len(self.flags) > self.flags[0].number.is_cuda):
            if self.flags.popleft().read():
                raise ValueError(self.describe(trainer))

    def check_all(self, trainer: Any) -> None:
        """Check everything noted so far, on all ranks together; nothing is exchanged if nothing is new.

        Raises:
            ValueError: a value isn't finite.
        """
        if self.new:
            flag = self.take_flag(trainer.strategy.root_device)
            self.await_flag(trainer.strategy.reduce(flag, reduce_op="sum"))
        self.check(trainer, wait=True)

    def describe(self, trainer: Any) -> str:
        """The error's message: the first step that went wrong, its values and rows, of all ranks."""
        faults = [
            (note.step, name, value, note.rows or self.rows_of(note.step))
            for note in (*self.known, *self.new)
            for name, value in zip(note.names, note.values.tolist(), strict=True)
            if not torch.tensor(value).isfinite()
        ]
        ranks: list[Any] = [faults]
        if trainer.world_size > 1:
            ranks = [None] * trainer.world_size
            torch.distributed.all_gather_object(ranks, faults)
        faults = [fault for rank in ranks for fault in rank]
        step, cause = min((number, rank_in_chain(name)) for number, name, *_ in faults)
        first = [fault for fault in faults if (fault[0], rank_in_chain(fault[1])) == (step, cause)]
        values = dict.fromkeys(f"{name} is {value}" for _, name, value, _ in first)
        rows = list(dict.fromkeys(row for *_, rows in first for row in rows))
        shown = ", ".join(rows[:SHOWN]) + (f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else "")
        return (
            f"step {step}: {', '.join(values)}, with the rows {shown or 'of this step'}; the run ends here, and no "
            "checkpoint was written since. Look at these rows, or lower stage.module.optimizer.lr; the same command "
            "goes on from the last checkpoint"
        )

    def rows_of(self, step: int) -> tuple[str, ...]:
        """Rows of a step on this rank."""
        return tuple(row for note in (*self.known, *self.new) if note.step == step for row in note.rows)


GRADIENTS, WEIGHTS = "the largest gradient", "the largest weight"
AFTER = (GRADIENTS, WEIGHTS)
"""Values that follow from a loss, in causal order."""


def rank_in_chain(name: str) -> int:
    """Position of a value in the chain of causes: losses come first."""
    return AFTER.index(name) + 1 if name in AFTER else 0


def find_largest(tensors: Iterable[Tensor | None]) -> Tensor | None:
    """Largest magnitude in this rank's parts of some tensors, NaN if any value is; ``None`` if there are no values."""
    parts = [part.to_local() if isinstance(part, DTensor) else part for part in tensors if part is not None]
    parts = [part.detach() for part in parts if part.numel()]
    return torch.nn.utils.get_total_norm(parts, norm_type=float("inf")) if parts else None


def list_rows(batch: Any) -> Sequence[str]:
    """Places of a batch's ``samples``; empty if it has none."""
    return [str(getattr(sample, "where", sample)) for sample in getattr(batch, "samples", ())]
