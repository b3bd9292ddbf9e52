"""Time two ways of doing the same, in turns, so that a busy moment of the machine meets both."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import torch


@dataclass(frozen=True)
class Pair:
    """Seconds of both sides, run by run."""

    ours: list[float]
    theirs: list[float]

    @property
    def ratio(self) -> float:
        """How many times longer the other side takes: the median over pairs of neighbours."""
        return median(b / a for a, b in zip(self.ours, self.theirs, strict=True))

    @property
    def spread(self) -> tuple[float, float]:
        """The smallest and the largest of those."""
        ratios = [b / a for a, b in zip(self.ours, self.theirs, strict=True)]
        return min(ratios), max(ratios)


def in_turns(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    repeats: int,
    warmup: int = 2,
    clock: Callable[[], float] = perf_counter,
) -> Pair:
    """Run both sides ``repeats`` times after a warm-up."""
    for _ in range(warmup):
        ours(), theirs()
    runs = [(seconds(ours, clock), seconds(theirs, clock)) for _ in range(repeats)]
    return Pair([a for a, _ in runs], [b for _, b in runs])


def seconds(work: Callable[[], object], clock: Callable[[], float] = perf_counter) -> float:
    """Time of one run by a clock, its kernels included."""
    wait()
    started = clock()
    work()
    wait()
    return clock() - started


def wait() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
