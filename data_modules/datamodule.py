"""The one LightningDataModule: data sets by split, one collator, loaders that resume in mid-epoch."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from data_modules.batches import Batches, EpochBatches, TokenBatches
from data_modules.samples import GradedDataset, Sample


class Maker(Protocol):
    """Something that makes missing data."""

    def wanted(self, files: Iterable[str]) -> bool:
        """Say whether any of these files is one it makes."""
        ...

    def made(self) -> bool:
        """Say whether the data is there."""
        ...

    def make(self) -> None:
        """Make it."""
        ...


class Collate(Protocol):
    """The part of a family's collator that loading needs."""

    def __call__(self, samples: list[Sample]) -> Any:
        """Build a training batch."""
        ...

    def widths(self, sample: Sample) -> Sequence[int]:
        """Count the tokens of a sample in each segment of a training batch; asked for with ``max_tokens`` alone."""
        ...


class ResumableLoader(DataLoader[Any]):
    """A DataLoader that knows how many batches it has handed out, so that a checkpoint can continue after them.

    Lightning puts :meth:`state_dict` into every checkpoint and gives it back on resume.
    """

    batches: Batches

    def __init__(self, dataset: Any, batches: Batches, **options: Any) -> None:
        super().__init__(dataset, batch_sampler=batches, **options)
        self.batches = batches
        self.epoch, self.handed_out = 0, 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self.batches.epoch, self.batches.start = self.epoch, self.handed_out
        for batch in super().__iter__():
            self.handed_out += 1
            if self.handed_out == len(self):
                self.epoch, self.handed_out = self.epoch + 1, 0
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Epoch and batches handed out in it; the same on every rank."""
        return {"epoch": self.epoch, "handed_out": self.handed_out}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue after the batch that :meth:`state_dict` saw last."""
        self.epoch, self.handed_out = state["epoch"], state["handed_out"]


class DataModule(pl.LightningDataModule):
    """Serve the splits of a task.

    Args:
        dataset: file -> data set.
        files: what ``dataset`` reads for each split, ``train``, ``val`` and ``test``, as a rule a file; ``None`` for a
            split that isn't there.
        collate: samples -> batch; the family's collator.
        batch_size: samples of a training batch on one device; not used with ``max_tokens``.
        max_tokens: padded tokens of a training batch on one device; ``None`` for batches of ``batch_size``.
        eval_batch_size: samples of a batch for validation and test.
        num_workers: loading processes.
        seed: order of the training samples.
        maker: makes the data when it is missing; ``None`` for a user's own files.

    Raises:
        ValueError: two splits share a sample (a maze, say), or a bad number.
    """

    def __init__(
        self,
        dataset: Callable[[Any], GradedDataset],
        files: Mapping[str, Any],
        collate: Collate,
        batch_size: int,
        max_tokens: int | None,
        eval_batch_size: int,
        num_workers: int,
        seed: int,
        maker: Maker | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1 or eval_batch_size < 1 or num_workers < 0:
            raise ValueError(f"loader sizes must be positive, got {batch_size=}, {eval_batch_size=}, {num_workers=}")
        if max_tokens is not None and max_tokens < 1:
            raise ValueError(f"loader.max_tokens={max_tokens} must be 1 or more; for fixed batches set it to null")
        self.read, self.files, self.collate = dataset, files, collate
        self.batch_size, self.max_tokens, self.eval_batch_size = batch_size, max_tokens, eval_batch_size
        self.num_workers, self.seed = num_workers, seed
        self.maker = maker
        self.datasets: dict[str, GradedDataset] = {}

    def prepare_data(self) -> None:
        """Make the data for training if the task can and it isn't there."""
        self.prepare("train", "val")

    def prepare(self, *splits: str) -> None:
        """Make the data of these splits if the task can and it isn't there; a user's own files are never made."""
        files = [file for split in splits if (file := self.files[split]) is not None]
        if self.maker is not None and self.maker.wanted(files) and not self.maker.made():
            self.maker.make()

    def setup(self, stage: str) -> None:
        """Read the splits this stage needs and prove them disjoint."""
        wanted = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}[stage]
        for split in wanted:
            if split not in self.datasets and self.files[split] is not None:
                self.datasets[split] = self.read(self.files[split])
        if len(self.datasets) > 1:
            check_disjoint(self.datasets)

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled batches; resumes in mid-epoch.

        Raises:
            ValueError: a sample is longer than ``max_tokens``.
        """
        dataset = self.datasets["train"]
        return ResumableLoader(dataset, self._batches(dataset), collate_fn=self.collate, **self._workers())

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """All of ``val``, in order; nothing when there is no such file."""
        return self._ordered("val") if "val" in self.datasets else []

    def test_dataloader(self) -> DataLoader[Any]:
        """All of ``test``, in order."""
        return self._ordered("test")

    def _batches(self, dataset: GradedDataset) -> Batches:
        rank, num_ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        if self.max_tokens is None:
            return EpochBatches(len(dataset), self.batch_size, self.seed, rank, num_ranks)
        widths = [self.collate.widths(dataset[index]) for index in range(len(dataset))]
        check_lengths(dataset, [sum(row) for row in widths], self.max_tokens)
        return TokenBatches(widths, self.max_tokens, self.seed, rank, num_ranks)

    def _ordered(self, split: str) -> DataLoader[Any]:
        dataset: Any = self.datasets[split]
        return DataLoader(dataset, self.eval_batch_size, collate_fn=self.collate, **self._workers())

    def _workers(self) -> dict[str, Any]:
        forks = {"multiprocessing_context": "forkserver", "persistent_workers": True} if self.num_workers else {}
        return {"num_workers": self.num_workers, **forks}


def check_lengths(dataset: GradedDataset, lengths: Sequence[int], max_tokens: int) -> None:
    """Demand that every sample fits into a batch.

    Raises:
        ValueError: names the longest sample if it doesn't.
    """
    longest = max(lengths)
    if longest > max_tokens:
        where = dataset[lengths.index(longest)].where
        raise ValueError(
            f"{where}: the row has {longest} tokens, more than loader.max_tokens={max_tokens}; "
            f"set loader.max_tokens={longest} or more, or shorten the row"
        )


def check_disjoint(datasets: Mapping[str, Any]) -> bool:
    """Prove that no sample of one split is in another.

    Returns:
        Whether all were compared: a data set without identities, or too large to tell them, is left out.

    Raises:
        ValueError: names the first shared pair of rows.
    """
    seen: dict[Any, tuple[str, str]] = {}
    all_compared = True
    for split, dataset in datasets.items():
        rows = dataset.identities() if hasattr(dataset, "identities") else {}
        if shared := rows.keys() & seen.keys():
            one = min(shared, key=lambda key: rows[key])
            where, other = rows[one], seen[one]
            raise ValueError(
                f"{len(shared)} sample(s) of {split} are in {other[0]} too ({where} is {other[1]}); remove them"
            )
        seen |= {key: (split, where) for key, where in rows.items()}
        all_compared &= bool(rows)
    return all_compared
