"""Which samples make a training batch: a fixed number of rows, or rows of similar shape that fill a token budget.

Both orders depend only on seed and epoch, can start at any batch, and give every rank the same number of batches. An
epoch is a whole number of optimizer steps: what is left over, samples or batches, is dropped.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import pairwise
from operator import itemgetter

import torch
from torch.utils.data import BatchSampler

Box = tuple[int, ...]
"""Widths of all segments."""

ROW_UNITS = (4, 2, 1)
"""Batches by tokens come in multiples of the first of these that fits, so that 1, 2 and 4 ranks can share the same."""


class Batches(BatchSampler, ABC):
    """Batches of indices for one of several ranks, which share each global batch.

    Args:
        seed: order of the samples.
        rank: this process.
        num_ranks: processes that share an epoch.
        accumulate: batches of an optimizer step. An epoch with fewer repeats its batches up to that number.

    Attributes:
        epoch: the epoch to iterate over.
        start: the batch to begin with.
    """

    def __init__(self, seed: int, rank: int, num_ranks: int, accumulate: int = 1) -> None:
        self.seed, self.rank, self.num_ranks, self.accumulate = seed, rank, num_ranks, accumulate
        self.epoch, self.start = 0, 0

    def __len__(self) -> int:
        return max(1, self.num_global // self.accumulate) * self.accumulate

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        batches = self.global_batches(generator)
        batches *= -(-len(self) // len(batches))
        for rows in batches[self.start : len(self)]:
            yield rows[self.rank :: self.num_ranks]

    @property
    @abstractmethod
    def num_global(self) -> int:
        """Number of :meth:`global_batches`, the same in every epoch."""

    @property
    def division(self) -> dict[str, int]:
        """Numbers on which all batches depend, by name; they may not change when a run continues."""
        return {"processes": self.num_ranks, "batches a step": self.accumulate}

    @abstractmethod
    def global_batches(self, generator: torch.Generator) -> list[list[int]]:
        """Return an epoch's batches, each for all ranks together and with at least one row for each."""


class EpochBatches(Batches):
    """Batches of a fixed number of rows.

    An incomplete global batch at the end of an epoch is dropped; if it is the only one, it is filled up from the front.

    Args:
        size: samples in the data set.
        batch_size: samples of a batch on one rank.
        seed: order of the samples.
        rank: this process.
        num_ranks: processes that share an epoch.
        accumulate: batches of an optimizer step.
    """

    def __init__(
        self, size: int, batch_size: int, seed: int, rank: int = 0, num_ranks: int = 1, accumulate: int = 1
    ) -> None:
        super().__init__(seed, rank, num_ranks, accumulate)
        self.size, self.width = size, batch_size * num_ranks

    @property
    def num_global(self) -> int:
        """The complete ones, at least one."""
        return max(1, self.size // self.width)

    @property
    def division(self) -> dict[str, int]:
        """Rows of a batch, whatever the number of processes."""
        return {"rows a batch of all processes": self.width, "batches a step": self.accumulate}

    def global_batches(self, generator: torch.Generator) -> list[list[int]]:
        """Cut a random order into equal pieces."""
        order = torch.randperm(self.size, generator=generator).tolist()
        order *= -(-self.width // self.size)
        return [order[batch * self.width : (batch + 1) * self.width] for batch in range(self.num_global)]


class TokenBatches(Batches):
    """Batches of rows of similar shape, as many as a token budget holds.

    A batch consists of segments, each as wide as its widest row; rows times the sum of these widths is at most
    ``max_tokens`` on each rank. Every sample comes once an epoch, but a batch with fewer rows than ranks repeats some.

    Samples are sorted into cells of similar shape (:func:`split_into_cells`), and the sorted cells are divided into
    global batches once, so that all epochs have the same number of steps, as Lightning needs. An epoch draws which
    members of a cell meet, and the order of the batches. 1, 2 and 4 ranks with the same ``max_tokens * num_ranks`` see
    the same global batches, as long as any four neighbours fit into one.

    Args:
        widths: tokens of each sample's segments, in sum from 1 to ``max_tokens``; of samples with fewer segments the
            last ones are missing.
        max_tokens: padded tokens of a batch on one rank.
        seed: order of the samples.
        rank: this process.
        num_ranks: processes that share an epoch.
        accumulate: batches of an optimizer step.
    """

    def __init__(
        self,
        widths: Sequence[Sequence[int]],
        max_tokens: int,
        seed: int,
        rank: int = 0,
        num_ranks: int = 1,
        accumulate: int = 1,
    ) -> None:
        super().__init__(seed, rank, num_ranks, accumulate)
        self.lengths, self.budget = [sum(row) for row in widths], max_tokens * num_ranks
        segments = transpose_widths(widths)
        cells = split_into_cells(range(len(widths)), segments, self.budget, (False,) * len(segments))
        self.cell = {row: number for number, cell in enumerate(cells) for row in cell}
        self.edges = self._divide([box for cell in cells for box in [find_box(cell, segments)] * len(cell)])

    @property
    def num_global(self) -> int:
        """Number of batches into which the data set was divided."""
        return len(self.edges) - 1

    def global_batches(self, generator: torch.Generator) -> list[list[int]]:
        """Shuffle rows within their cells, divide them at the fixed edges, and shuffle the batches."""
        order = torch.randperm(len(self.lengths), generator=generator).tolist()
        order.sort(key=self.cell.__getitem__)
        batches = [self._deal(order[first:last]) for first, last in pairwise(self.edges)]
        return [batches[batch] for batch in torch.randperm(len(batches), generator=generator).tolist()]

    def _deal(self, rows: list[int]) -> list[int]:
        """Sort rows by length, so that ranks that take turns get similar work; repeat them if ranks are more."""
        rows = sorted(rows, key=self.lengths.__getitem__, reverse=True)
        return rows if len(rows) >= self.num_ranks else (rows * self.num_ranks)[: self.num_ranks]

    def _divide(self, boxes: list[Box]) -> list[int]:
        """Return where batches start and end in the sorted samples, given the box of each sample's cell.

        The last batch has the remaining rows. If it has fewer than the one before, it takes rows from that one, up to
        an even share, so that every rank has some.
        """
        edges = [0]
        while edges[-1] < len(boxes):
            edges.append(self._fill(boxes, edges[-1]))
        if len(edges) > 2:
            even = min((edges[-3] + edges[-1]) // 2, edges[-2])
            edges[-2] = next(edge for edge in range(even, edges[-2] + 1) if self._fits(boxes[edge:]))
        return edges

    def _fill(self, boxes: list[Box], first: int) -> int:
        """Return where the batch that starts at ``first`` ends: after as many whole units as fit, or at the end."""
        widest, last = boxes[first], first
        while last < len(boxes):
            widest = tuple(map(max, widest, boxes[last]))
            if last + 1 - first > self._rows(sum(widest)):
                return first + self._whole(last - first)
            last += 1
        return last

    def _fits(self, boxes: list[Box]) -> bool:
        return len(boxes) <= self._rows(sum(map(max, zip(*boxes, strict=True))))

    def _rows(self, width: int) -> int:
        """Rows of a full global batch."""
        return self._whole(max(self.budget // width, self.num_ranks))

    def _whole(self, rows: int) -> int:
        """Round down to a multiple of the ranks, so that no rank's share exceeds its budget."""
        unit = next((unit for unit in ROW_UNITS if unit <= rows and unit % self.num_ranks == 0), self.num_ranks)
        return rows // unit * unit


def transpose_widths(widths: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """Return the widths of each segment from those of each row, 0 where a row has no such segment."""
    depth = max(map(len, widths))
    return list(zip(*((*row, *[0] * (depth - len(row))) for row in widths), strict=True))


def find_box(rows: Sequence[int], segments: Sequence[Sequence[int]]) -> Box:
    """Return the width of every segment when these rows are placed together."""
    return tuple(max(map(segment.__getitem__, rows)) for segment in segments)


def split_into_cells(
    rows: Sequence[int], segments: Sequence[Sequence[int]], room: int, rising: tuple[bool, ...]
) -> list[list[int]]:
    """Sort rows into cells of similar shape, neighbouring cells being similar too.

    Rows are split in two where that saves most padding, and so is each part, until all rows of a part have one shape or
    fit into ``room``. With one segment, cells are in descending order of length. With several, the other segments run
    in opposite directions on the two sides of a split, so that a batch across the split has rows that differ mainly in
    one segment.

    Batches are measured by the boxes of their cells, so that their edges don't depend on how an epoch shuffles cells.

    Args:
        rows: indices to sort.
        segments: for each segment, the width of every row.
        room: most padded tokens of a cell whose rows differ; those of a batch, so that an epoch has rows to mix.
        rising: for each segment, whether narrow rows come first.
    """
    saving, segment, wide, narrow = max(split_in_two(rows, segments), key=itemgetter(0))
    if saving == 0 or len(rows) * sum(find_box(rows, segments)) <= room:
        return [list(rows)]
    back = tuple(way if index == segment else not way for index, way in enumerate(rising))
    first, second = (narrow, wide) if rising[segment] else (wide, narrow)
    return split_into_cells(first, segments, room, rising) + split_into_cells(second, segments, room, back)


def split_in_two(
    rows: Sequence[int], segments: Sequence[Sequence[int]]
) -> Iterator[tuple[int, int, list[int], list[int]]]:
    """Split rows in two by each segment: yield the padding saved, the segment, the wide rows and the narrow ones."""
    for index, segment in enumerate(segments):
        order = sorted(rows, key=segment.__getitem__, reverse=True)
        savings = [(len(order) - at) * (segment[order[0]] - segment[row]) for at, row in enumerate(order)]
        saving = max(savings)
        at = savings.index(saving)
        yield saving, index, order[:at], order[at:]
