"""Which items are scored, and how many of them the model was trained on."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from mirage_pl.engine.seams import Row


@dataclass(frozen=True)
class TestSet:
    """What a test set holds.

    Attributes:
        facts: ``file``, ``rows``, ``digest`` of the items in order, ``train_file``, and ``seen``: how many are in it.
        learnt: identities of the training rows; ``None`` where they can't be told.
    """

    __test__ = False  # no test of pytest's

    facts: Mapping[str, Any]
    learnt: frozenset[str] | None

    def mark(self, rows: list[Row]) -> list[Row]:
        """Say of each row whether the model was trained on it, if it was on any."""
        if not self.facts["seen"] or self.learnt is None:
            return rows
        return [row | {"seen": row["id"] in self.learnt} for row in rows]


def describe_test_set(dataset: Any, file: Any, training: Any) -> TestSet:
    """Tell what is scored.

    Args:
        dataset: the test split.
        file: its file.
        training: the ``task`` of the run's config.
    """
    identities = [identify(dataset, dataset[index]) for index in range(len(dataset))]
    learnt = read_training_identities(training)
    facts = {
        "file": str(file),
        "rows": len(identities),
        "digest": sha256(" ".join(identities).encode()).hexdigest()[:12],
        "train_file": str(training.get("train_file")),
        "seen": None if learnt is None else sum(identity in learnt for identity in identities),
    }
    return TestSet(facts, learnt)


def identify(dataset: Any, sample: Any) -> str:
    """Identity of an item; one that can't be read, which scoring will name, has one of its own."""
    try:
        return str(dataset.identity(sample))
    except ValueError:
        return f"unreadable {sample.where}"


def read_training_identities(task: Any) -> frozenset[str] | None:
    """Identities of the training rows; ``None`` where the file isn't there any more, can't be read, or is too large."""
    from hydra.utils import instantiate

    if not task.get("train_file"):
        return None
    try:
        return frozenset(instantiate(task.dataset).read(task.train_file).identities()) or None
    except ValueError:
        return None


def open_split(task: Any, collate: Any, split: str = "test") -> Any:
    """The task's data module, with one split read, and made where it is missing.

    Raises:
        ValueError: the task has no file for it, or a bad one.
    """
    from hydra.utils import instantiate

    file = task.get(f"{split}_file")
    if file is None:
        raise ValueError(f"task={task.name} has no {split} file; give task.{split}_file=FILE")
    data: Any = instantiate(task.data, collate=collate)
    data.prepare(split)
    data.setup(split)
    return data
