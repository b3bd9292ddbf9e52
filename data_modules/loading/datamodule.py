"""The one LightningDataModule: data sets by split, one collator."""

import logging
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Protocol

import pytorch_lightning as pl
from annotated_types import Interval
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler

from data_modules.loading.batches import Batches, EpochBatches, TokenBatches
from data_modules.loading.loader import Loading, ResumableLoader
from data_modules.loading.served import Collated, Placed, Served, draw_sample
from data_modules.loading.usable import usable
from data_modules.missing import Makes, make_missing
from data_modules.samples import Sample

log = logging.getLogger(__name__)


class Collate(Protocol):
    """What loading needs of a family's collator."""

    def __call__(self, samples: list[Sample]) -> Any:
        """Build a training batch."""
        ...

    def widths(self, sample: Sample) -> Sequence[int]:
        """Count the tokens of a sample in each segment of a training batch; called only where a limit is set."""
        ...


class Rows(Protocol):
    """What loading needs of a data set."""

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def __getitem__(self, index: int) -> Any:
        """Return one sample, whose ``where`` names its source."""
        ...

    def identities(self) -> Mapping[str, str]:
        """Return identity -> where of all rows; empty where identities aren't known."""
        ...


class Files(Protocol):
    """A task's data set before a file is read."""

    def read(self, file: Any) -> Rows:
        """Return the rows of what a task calls a file."""
        ...


class Kept(Dataset[Sample]):
    """Some samples of a data set; its other attributes are that data set's.

    Args:
        rows: the data set.
        indices: of the samples that are kept.
    """

    def __init__(self, rows: Any, indices: Sequence[int]) -> None:
        self.rows, self.indices = rows, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        sample: Sample = self.rows[self.indices[index]]
        return sample

    def draw_sample(self, index: int) -> Any:
        """Return a sample for training."""
        return draw_sample(self.rows, self.indices[index])

    def __getattr__(self, name: str) -> Any:
        if name == "rows":  # while it is unpickled
            raise AttributeError(name)
        return getattr(self.rows, name)


class DataModule(pl.LightningDataModule):
    """Serve the splits of a task.

    A checkpoint holds the position in the training data. Lightning's own copy isn't restored once the number of steps
    has been asked for, nor between two epochs.

    Args:
        dataset: reads a file.
        files: what it reads for each split, ``train``, ``val`` and ``test``, usually a file; ``None`` for a missing
            split.
        collate: samples -> batch; the family's collator.
        loader: sizes and limits.
        seed: order of the training samples.
        maker: makes missing data; ``None`` for a user's own files.

    Raises:
        ValueError: two splits share a sample (a maze, say), one is too long, or there is none to train on.
    """

    def __init__(
        self,
        dataset: Files,
        files: Mapping[str, Any],
        collate: Collate,
        loader: Loading,
        seed: Annotated[int, Interval(ge=0, le=2**32 - 1)],
        maker: Makes | None = None,
    ) -> None:
        super().__init__()
        self.dataset, self.files, self.collate = dataset, files, collate
        self.loader, self.seed, self.maker = loader, seed, maker
        self.datasets: dict[str, Rows] = {}
        self.widths: dict[str, list[Sequence[int]]] = {}
        self.serving: ResumableLoader | None = None
        self.place: Mapping[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Position of the next training batch; empty where nothing is trained on."""
        return self.serving.state_dict() if self.serving else {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue with the batch that would have been next.

        Raises:
            ValueError: the data is divided into other batches now.
        """
        self.place = state_dict
        if self.serving:
            self.serving.load_state_dict(state_dict)

    def prepare_data(self) -> None:
        """Make missing training data if the task can."""
        self.prepare("train", "val")

    def prepare(self, *splits: str) -> None:
        """Make missing data of these splits if the task can; a user's own files are never made."""
        make_missing(self.maker, [file for split in splits if (file := self.files[split]) is not None])

    def setup(self, stage: str) -> None:
        """Read the splits this stage needs and prove them disjoint."""
        splits = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}[stage]
        if stage == "fit" and self.files["train"] is None:
            raise ValueError("training needs a file of rows, and task.train_file is null; give task.train_file=FILE")
        for split in splits:
            if split not in self.datasets and self.files[split] is not None:
                rows = self.dataset.read(self.files[split])
                # a test row that can't be asked is a failure of the evaluation, not an error here
                self.datasets[split] = rows if stage == "test" else self._usable(rows, split)
        if len(self.datasets) > 1:
            check_disjoint(self.datasets)
        if stage == "fit":
            for split, dataset in self.datasets.items():
                if hasattr(dataset, "learnable"):
                    dataset.learnable()
                self._bound(split)

    def _usable(self, rows: Rows, split: str) -> Rows:
        shared = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        kept: Rows = usable(rows, self.collate, self.loader, split, *shared)
        return kept

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled batches; resumes in mid-epoch."""
        dataset, trainer, batches = self.datasets["train"], self.trainer, self._batches(self.datasets["train"])
        limit = num_limited(len(batches), trainer.limit_train_batches) if trainer else None
        overfit = getattr(trainer, "overfit_batches", 0) > 0
        options = {"collate_fn": self.collate, **self.loader.workers()}
        self.serving = ResumableLoader(dataset, batches, limit, overfit, **options)
        if self.place:
            self.serving.load_state_dict(self.place)
        return self.serving

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """All of ``val``, in order; empty without such a file."""
        return self._ordered("val") if "val" in self.datasets else []

    def test_dataloader(self) -> DataLoader[Any]:
        """All of ``test``, in order."""
        return self._ordered("test")

    def _bound(self, split: str) -> None:
        """Measure a split whose samples have a limit, and refuse or drop those that are longer."""
        limit = self.loader.limit(split)
        if limit is None or split in self.widths:
            return
        dataset: Any = self.datasets[split]
        widths = [self.collate.widths(dataset[index]) for index in range(len(dataset))]
        kept = within(dataset, [sum(row) for row in widths], *limit, self.loader.on_overlong)
        self.widths[split] = [widths[index] for index in kept]
        if len(kept) < len(widths):
            left, limited = len(widths) - len(kept), "loader.{}={}".format(*limit)
            log.warning("%s: %d of %d samples are longer than %s and left out", split, left, len(widths), limited)
            self.datasets[split] = Kept(dataset, kept)

    def _batches(self, dataset: Rows) -> Batches:
        trainer = self.trainer
        shared = (trainer.global_rank, trainer.world_size, accumulated(trainer)) if trainer else (0, 1, 1)
        if self.loader.max_tokens is None:
            warn_of_repeats(len(dataset), self.loader.batch_size, shared[1], first=shared[0] == 0)
            return EpochBatches(len(dataset), self.loader.batch_size, self.seed, *shared)
        return TokenBatches(self.widths["train"], self.loader.max_tokens, self.seed, *shared)

    def _ordered(self, split: str) -> DataLoader[Any]:
        dataset: Any = self.datasets[split]
        batches = Placed(BatchSampler(SequentialSampler(dataset), self.loader.eval_batch_size, drop_last=False))
        served, collate = Served(dataset, self.seed, split), Collated(self.collate)
        return DataLoader(served, batch_sampler=batches, collate_fn=collate, **self.loader.workers())


def warn_of_repeats(size: int, batch_size: int, num_ranks: int, first: bool) -> None:
    """Say so if a batch takes more rows than there are; only the first process does."""
    if first and size < batch_size * num_ranks:
        ranks = f" on {num_ranks} devices" if num_ranks > 1 else ""
        log.warning(
            "train has %d rows, fewer than a batch of loader.batch_size=%d%s takes, so that each batch repeats rows; "
            "for each row once set loader.batch_size=%d",
            *(size, batch_size, ranks, max(1, size // num_ranks)),
        )


def accumulated(trainer: Any) -> int:
    """Batches of an optimizer step: Lightning's, or those of a module that accumulates by itself."""
    return int(getattr(trainer.lightning_module, "accumulate", trainer.accumulate_grad_batches))


def num_limited(num_batches: int, limit: int | float | None) -> int:
    """How many batches of an epoch Lightning's ``limit_train_batches`` leaves: a number of them, or a share."""
    if limit is None or isinstance(limit, int):
        return num_batches if limit is None else min(num_batches, limit)
    return int(num_batches * limit)


def within(dataset: Any, lengths: Sequence[int], name: str, limit: int, on_overlong: str) -> list[int]:
    """Find the samples that are short enough.

    Args:
        dataset: the samples.
        lengths: of each, in tokens.
        name: of the limit, below ``loader``.
        limit: most tokens of a sample.
        on_overlong: ``error`` or ``drop``.

    Raises:
        ValueError: one is longer and may not be dropped, names the longest; or none is left.
    """
    kept = [index for index, length in enumerate(lengths) if length <= limit]
    if len(kept) == len(lengths) or (kept and on_overlong == "drop"):
        return kept
    longest = max(lengths)
    raise ValueError(
        f"{dataset[lengths.index(longest)].where}: the row has {longest} tokens, more than loader.{name}={limit}"
        f"{'' if kept else ', and no row has fewer'}; set loader.{name}={longest} or more, shorten the row, or leave "
        "such rows out with loader.on_overlong=drop"
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
        rows = dataset.identities()
        if shared := rows.keys() & seen.keys():
            one = min(shared, key=lambda key: rows[key])
            where, other = rows[one], seen[one]
            raise ValueError(
                f"{len(shared)} sample(s) of {split} are in {other[0]} too ({where} is {other[1]}); remove them"
            )
        seen |= {key: (split, where) for key, where in rows.items()}
        all_compared &= bool(rows)
    return all_compared
