"""Which items are scored, and how many of them the model was trained on."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from hydra.utils import instantiate

from mirage_pl.engine.seams import Row


@dataclass(frozen=True)
class TestSet:
    """A test set as the scored model sees it.

    Attributes:
        facts: ``file``, ``rows``, ``digest`` of the items in order, ``train_file``, and ``seen``: how many of the items
            are in ``train_file``.
        learnt: identities of the training rows; ``None`` if unknown.
    """

    __test__ = False  # pytest would collect it by its name

    facts: Mapping[str, Any]
    learnt: frozenset[str] | None

    def mark(self, rows: list[Row]) -> list[Row]:
        """Add ``seen`` to each row, if the model was trained on any item of the set."""
        if not self.facts["seen"] or self.learnt is None:
            return rows
        return [row | {"seen": row["id"] in self.learnt} for row in rows]


def describe_test_set(dataset: Any, file: Any, training: Any) -> TestSet:
    """Describe a test set.

    Args:
        dataset: the test split.
        file: what it was read from.
        training: the ``task`` of the run's config.
    """
    identities = [identify_item(dataset, dataset[index]) for index in range(len(dataset))]
    learnt = read_training_identities(training)
    facts = {
        "file": str(file),
        "rows": len(identities),
        "digest": sha256(" ".join(identities).encode()).hexdigest()[:12],
        "train_file": str(training.get("train_file")),
        "seen": None if learnt is None else sum(identity in learnt for identity in identities),
    }
    return TestSet(facts, learnt)


def identify_item(dataset: Any, sample: Any) -> str:
    """Identity of an item; one that can't be read is identified by its place, and scoring reports it."""
    try:
        return str(dataset.identity(sample))
    except ValueError:
        return f"unreadable {sample.where}"


def read_training_identities(task: Any) -> frozenset[str] | None:
    """Read the identities of the training rows; ``None`` if the file is gone, can't be read, or is too large."""
    if not task.get("train_file"):
        return None
    try:
        return frozenset(instantiate(task.dataset).read(task.train_file).identities()) or None
    except ValueError:
        return None


def open_split(task: Any, collate: Any, split: str = "test") -> Any:
    """Build the task's data module with one split, making its data if missing.

    Raises:
        ValueError: the task has no file for the split, or the file is bad.
    """
    file = task.get(f"{split}_file")
    if file is None:
        raise ValueError(f"task={task.name} has no {split} file; give task.{split}_file=FILE")
    data: Any = instantiate(task.data, collate=collate)
    data.prepare(split)
    data.setup(split)
    return data
