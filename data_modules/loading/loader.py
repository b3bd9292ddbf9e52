"""How samples are loaded: the options, and a loader that resumes in mid-epoch."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader

from data_modules.loading.batches import Batches
from data_modules.loading.served import Collated, Placed, Served, draw_sample
from data_modules.loading.workers import end_with_parent

MOST_WORKERS = 16
"""Loading processes for each core of the machine."""


class ResumableLoader(DataLoader[Any]):
    """A DataLoader that counts the batches it has handed out, so that a resumed run continues after them.

    Args:
        dataset: the samples.
        batches: which of them come together.
        limit: most batches of an epoch; ``None``: all.
        overfit: whether every epoch repeats the first one.
        options: of ``DataLoader``.

    Attributes:
        step_batches: all batches of the current optimizer step. They are loaded together, so that a loss can be the
            mean over all of them.
    """

    batches: Batches

    def __init__(
        self, dataset: Any, batches: Batches, limit: int | None = None, overfit: bool = False, **options: Any
    ) -> None:
        served = Served(dataset, batches.seed, "train", read=draw_sample)
        options["collate_fn"] = Collated(options["collate_fn"])
        super().__init__(served, batch_sampler=Placed(batches), **options)
        self.batches, self.overfit = batches, overfit
        self.num_batches = len(batches) if limit is None else min(limit, len(batches))
        self.epoch, self.handed_out = 0, 0
        self.step_batches: list[Any] = []

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        first = self.handed_out
        self.batches.epoch, self.batches.start = 0 if self.overfit else self.epoch, first
        batches = super().__iter__()
        for start in range(first, self.num_batches, self.batches.accumulate):
            size = min(self.batches.accumulate, self.num_batches - start)
            self.step_batches = list(islice(batches, size))
            if len(self.step_batches) < size:
                raise RuntimeError(
                    f"epoch {self.epoch} ended after {self.handed_out} of {self.num_batches} batches: the data set "
                    "gave no more"
                )
            for batch in self.step_batches:
                self.handed_out += 1
                if self.handed_out == self.num_batches:
                    self.epoch, self.handed_out = self.epoch + 1, 0
                yield batch

    @property
    def division(self) -> dict[str, int]:
        """Numbers on which the order of the batches depends, by name."""
        return self.batches.division | {"batches an epoch": self.num_batches, "rows in all": len(self.dataset)}  # type: ignore

    def state_dict(self) -> dict[str, Any]:
        """Epoch, number of batches handed out in it, and the numbers they depend on; the same on every rank."""
        return {"epoch": self.epoch, "handed_out": self.handed_out, "division": self.division}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue after the last batch before :meth:`state_dict`; to be called before the first batch.

        Raises:
            ValueError: the epoch was divided into other batches, so that the next one isn't known.
        """
        before, here = state["division"], self.division
        changed = [name for name in here if before.get(name) != here[name]]
        if changed:
            was, now = (", ".join(f"{numbers.get(name)} {name}" for name in changed) for numbers in (before, here))
            raise ValueError(
                f"the run was trained with {was}, and can't be continued with {now}; set trainer.devices, "
                "trainer.num_nodes, trainer.accumulate_grad_batches, trainer.limit_train_batches, loader.batch_size "
                "and the training data so that it is what it was, or start a new run with init_from=RUN and another "
                "run_dir, whose optimizer begins anew"
            )
        self.epoch, self.handed_out = state["epoch"], state["handed_out"]


@dataclass(frozen=True)
class Loading:
    """How samples are loaded: the config's ``loader``.

    Attributes:
        batch_size: samples of a training batch on one device; not used with ``max_tokens``.
        max_tokens: padded tokens of a training batch on one device; ``None`` for batches of ``batch_size``.
        max_length: tokens of a sample that is trained or validated on; ``None``: no limit but ``max_tokens``.
        on_overlong: ``error``, or ``drop``, which leaves longer samples out. Nothing is ever cut short.
        eval_batch_size: samples of a batch for validation and test.
        num_workers: loading processes.
        prefetch: batches that each of them loads ahead.
        decoded: file that lists images which could be decoded, so that later starts needn't; ``None``: each start does.

    Raises:
        ValueError: a bad number or word.
    """

    batch_size: int = 1
    max_tokens: int | None = None
    max_length: int | None = None
    on_overlong: str = "error"
    eval_batch_size: int = 1
    num_workers: int = 0
    prefetch: int = 2
    decoded: str | None = None

    def __post_init__(self) -> None:
        for name, least in {"batch_size": 1, "eval_batch_size": 1, "num_workers": 0, "prefetch": 1}.items():
            if (value := getattr(self, name)) < least:
                raise ValueError(f"loader.{name}={value} must be {least} or more")
        if self.num_workers > (most := MOST_WORKERS * (os.cpu_count() or 1)):
            raise ValueError(f"loader.num_workers={self.num_workers} are more than {most} processes; 4 to 16 are usual")
        for name in ("max_tokens", "max_length"):
            if (limit := getattr(self, name)) is not None and limit < 1:
                raise ValueError(f"loader.{name}={limit} must be 1 or more; for no limit set it to null")
        if self.on_overlong not in ("error", "drop"):
            raise ValueError(f"loader.on_overlong={self.on_overlong} is unknown; choose error or drop")

    def limit(self, split: str) -> tuple[str, int] | None:
        """Name and value of the limit on a sample's tokens in a split; ``None`` without one."""
        names = ("max_length", "max_tokens") if split == "train" else ("max_length",)
        limits = [(name, getattr(self, name)) for name in names if getattr(self, name) is not None]
        return min(limits, key=lambda limit: limit[1]) if limits else None

    def workers(self) -> dict[str, Any]:
        """Options of a ``DataLoader`` with these worker processes."""
        if not self.num_workers:
            return {"num_workers": 0}
        options = {"num_workers": self.num_workers, "prefetch_factor": self.prefetch, "persistent_workers": True}
        return {**options, "multiprocessing_context": "forkserver", "worker_init_fn": end_with_parent}
