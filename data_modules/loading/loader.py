"""How samples are loaded: the options, and a loader that resumes in mid-epoch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader

from data_modules.loading.batches import Batches
from data_modules.loading.workers import end_with_parent


class ResumableLoader(DataLoader[Any]):
    """A DataLoader that knows how many batches it has handed out, so that a checkpoint can continue after them.

    Lightning puts :meth:`state_dict` into every checkpoint and gives it back on resume.

    Attributes:
        step_batches: the batches of the optimizer step to which the one handed out last belongs. They are loaded
            together, so that a loss can be the mean over all of them.
    """

    batches: Batches

    def __init__(self, dataset: Any, batches: Batches, **options: Any) -> None:
        super().__init__(dataset, batch_sampler=batches, **options)
        self.batches = batches
        self.epoch, self.handed_out = 0, 0
        self.step_batches: list[Any] = []

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self.batches.epoch, self.batches.start = self.epoch, self.handed_out
        batches = super().__iter__()
        while step_batches := list(islice(batches, self.batches.accumulate)):
            self.step_batches = step_batches
            for batch in step_batches:
                self.handed_out += 1
                if self.handed_out == len(self):
                    self.epoch, self.handed_out = self.epoch + 1, 0
                yield batch

    def state_dict(self) -> dict[str, Any]:
        """Epoch, batches handed out in it, and what they depend on; the same on every rank."""
        return {"epoch": self.epoch, "handed_out": self.handed_out, "cut": self.batches.cut}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue after the batch that :meth:`state_dict` saw last.

        Raises:
            ValueError: the epoch was cut into batches otherwise, so that the next one can't be told.
        """
        was, now = (", ".join(f"{n} {name}" for name, n in cut.items()) for cut in (state["cut"], self.batches.cut))
        if was != now:
            raise ValueError(
                f"the run was trained with {was}, and can't be continued with {now}; set trainer.devices, "
                "trainer.num_nodes, trainer.accumulate_grad_batches and loader.batch_size so that it is what it was, "
                "or start a new run with init_from=RUN and another run_dir, whose optimizer begins anew"
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

    def __post_init__(self) -> None:
        for name, least in {"batch_size": 1, "eval_batch_size": 1, "num_workers": 0, "prefetch": 1}.items():
            if (given := getattr(self, name)) < least:
                raise ValueError(f"loader.{name}={given} must be {least} or more")
        for name in ("max_tokens", "max_length"):
            if (limit := getattr(self, name)) is not None and limit < 1:
                raise ValueError(f"loader.{name}={limit} must be 1 or more; for no limit set it to null")
        if self.on_overlong not in ("error", "drop"):
            raise ValueError(f"loader.on_overlong={self.on_overlong} is unknown; choose error or drop")

    def limit(self, split: str) -> tuple[str, int] | None:
        """The name and value of what bounds a sample of a split; ``None`` where nothing does."""
        names = ("max_length", "max_tokens") if split == "train" else ("max_length",)
        given = [(name, getattr(self, name)) for name in names if getattr(self, name) is not None]
        return min(given, key=lambda limit: limit[1]) if given else None

    def workers(self) -> dict[str, Any]:
        """Options of a DataLoader."""
        if not self.num_workers:
            return {"num_workers": 0}
        options = {"num_workers": self.num_workers, "prefetch_factor": self.prefetch, "persistent_workers": True}
        return {**options, "multiprocessing_context": "forkserver", "worker_init_fn": end_with_parent}
