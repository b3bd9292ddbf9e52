"""The one LightningDataModule: data sets by split, one collator, loaders that resume in mid-epoch."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from torch.utils.data import BatchSampler, DataLoader

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


class EpochBatches(BatchSampler):
    """Batches of indices in an order that depends on seed, epoch and rank alone, and can start anywhere.

    Every rank gets the same number of batches of the same size: at the end of an epoch the incomplete global batch is
    dropped, or, if there is none other, filled up from the front.

    Args:
        size: samples in the data set.
        batch_size: samples of a batch on one rank.
        seed: order of the samples.
        rank: this process.
        num_ranks: processes that share an epoch.
    """

    def __init__(self, size: int, batch_size: int, seed: int, rank: int = 0, num_ranks: int = 1) -> None:
        self.size, self.batch_size, self.seed, self.rank, self.num_ranks = size, batch_size, seed, rank, num_ranks
        self.epoch, self.start = 0, 0

    def __len__(self) -> int:
        return max(1, self.size // (self.batch_size * self.num_ranks))

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.size, generator=generator).tolist()
        width = self.batch_size * self.num_ranks
        order *= -(-width // self.size)
        for batch in range(self.start, len(self)):
            first = batch * width + self.rank
            yield order[first : (batch + 1) * width : self.num_ranks]


class ResumableLoader(DataLoader[Any]):
    """A DataLoader that knows how many batches it has handed out, so that a checkpoint can continue after them.

    Lightning puts :meth:`state_dict` into every checkpoint and gives it back on resume.
    """

    batches: EpochBatches

    def __init__(self, dataset: Any, batches: EpochBatches, **options: Any) -> None:
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
        files: the file of each split, ``train``, ``val`` and ``test``; ``None`` for a split that isn't there.
        collate: samples -> batch; the family's collator.
        batch_size: samples of a training batch on one device.
        eval_batch_size: the same for validation and test.
        num_workers: loading processes.
        seed: order of the training samples.
        maker: makes the data when it is missing; ``None`` for a user's own files.

    Raises:
        ValueError: two splits share a sample (a maze, say), or a bad number.
    """

    def __init__(
        self,
        dataset: Callable[[str], GradedDataset],
        files: Mapping[str, str | None],
        collate: Callable[[list[Sample]], Any],
        batch_size: int,
        eval_batch_size: int,
        num_workers: int,
        seed: int,
        maker: Maker | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1 or eval_batch_size < 1 or num_workers < 0:
            raise ValueError(f"loader sizes must be positive, got {batch_size=}, {eval_batch_size=}, {num_workers=}")
        self.read, self.files, self.collate = dataset, files, collate
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
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
                self.datasets[split] = self.read(str(self.files[split]))
        check_disjoint(self.datasets)

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled batches; resumes in mid-epoch."""
        dataset = self.datasets["train"]
        rank, num_ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        batches = EpochBatches(len(dataset), self.batch_size, self.seed, rank, num_ranks)
        return ResumableLoader(dataset, batches, collate_fn=self.collate, **self._workers())

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """All of ``val``, in order; nothing when there is no such file."""
        return self._ordered("val") if "val" in self.datasets else []

    def test_dataloader(self) -> DataLoader[Any]:
        """All of ``test``, in order."""
        return self._ordered("test")

    def _ordered(self, split: str) -> DataLoader[Any]:
        dataset: Any = self.datasets[split]
        return DataLoader(dataset, self.eval_batch_size, collate_fn=self.collate, **self._workers())

    def _workers(self) -> dict[str, Any]:
        forks = {"multiprocessing_context": "forkserver", "persistent_workers": True} if self.num_workers else {}
        return {"num_workers": self.num_workers, **forks}


def check_disjoint(datasets: Mapping[str, Any]) -> None:
    """Prove that no sample of one split is in another.

    Raises:
        ValueError: names the first shared pair of rows.
    """
    seen: dict[Any, tuple[str, str]] = {}
    for split, dataset in datasets.items():
        rows = dataset.identities() if hasattr(dataset, "identities") else {}
        if shared := rows.keys() & seen.keys():
            one = min(shared, key=lambda key: rows[key])
            where, other = rows[one], seen[one]
            raise ValueError(
                f"{len(shared)} sample(s) of {split} are in {other[0]} too ({where} is {other[1]}); remove them"
            )
        seen |= {key: (split, where) for key, where in rows.items()}
