"""Data set and collator as a loader calls them: random numbers depend on the row, and no error ends an epoch.

A ``StopIteration`` that leaves a data set or a collator looks like the end of the data to the loop over batches, and
training would silently go on with the next epoch.
"""

from collections.abc import Callable, Iterator, Sequence
from operator import getitem
from typing import Any, NamedTuple

from torch.utils.data import Dataset, Sampler

from data_modules.loading.draws import reseed


class Place(NamedTuple):
    """An epoch, and the number of a row in the data set."""

    epoch: int
    row: int


def draw_sample(rows: Any, index: int) -> Any:
    """Return a sample for training: what a ``draw_sample`` of the data set draws with Python's random numbers."""
    return rows.draw_sample(index) if hasattr(rows, "draw_sample") else rows[index]


class Served(Dataset[Any]):
    """Rows of a data set, each read with random numbers seeded by seed, epoch and row, in whichever process.

    The collator then draws by seed, epoch and the batch's first row.

    Args:
        rows: the data set.
        names: of the random stream: a seed and the name of a split.
        read: reads a sample.
    """

    def __init__(self, rows: Any, *names: object, read: Callable[[Any, int], Any] = getitem) -> None:
        self.rows, self.names, self.read = rows, names, read

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, places: Sequence[Place]) -> list[Any]:
        """Return the rows of a batch.

        Raises:
            RuntimeError: a ``StopIteration`` left the data set.
        """
        samples = []
        for place in places:
            reseed(*self.names, *place)
            try:
                samples.append(self.read(self.rows, place.row))
            except StopIteration as error:
                raise RuntimeError(f"StopIteration left {type(self.rows).__name__} at row {place.row}") from error
        reseed(*self.names, "batch", *places[0])
        return samples


class Collated:
    """A collator that turns a ``StopIteration`` into an error that names the rows.

    Args:
        collate: samples -> batch.
    """

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, samples: list[Any]) -> Any:
        """Return the batch.

        Raises:
            RuntimeError: a ``StopIteration`` left the collator.
        """
        try:
            return self.collate(samples)
        except StopIteration as error:
            rows = ", ".join(str(getattr(sample, "where", sample)) for sample in samples)
            raise RuntimeError(f"StopIteration left the collator {type(self.collate).__name__}; rows {rows}") from error


class Placed(Sampler[list[Place]]):
    """Batches of places from batches of indices.

    Args:
        batches: lists of indices; if it has an ``epoch``, that is the places' own, otherwise 0.
    """

    def __init__(self, batches: Any) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Place]]:
        for rows in self.batches:
            yield [Place(getattr(self.batches, "epoch", 0), row) for row in rows]
