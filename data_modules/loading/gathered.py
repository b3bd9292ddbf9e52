"""Batches of samples that a stage gathers itself as it learns: by playing, by imagining, by asking itself.

Before each step its stage makes what is due, with the weights of the steps before; then the step's samples are drawn by
its number. A checkpoint has no batch ahead, so that a resumed run gathers and draws what it would have.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Protocol

from annotated_types import Ge
from torch import Generator

from data_modules.loading.batches import Batches
from data_modules.loading.datamodule import DataModule, accumulated, num_limited
from data_modules.loading.loader import ResumableLoader


class Gatherer(Protocol):
    """A stage that makes its own samples as it learns: it plays, imagines, or answers and is graded.

    Its YAML sets ``task.data._target_: data_modules.loading.gathered.GatheredData``. What has been made is the stage's
    own: it writes it below the run folder, saves with the checkpoint how much there was, and on resuming drops what
    came later. Every process makes the same; with randomness by step a resumed run does, too. What can't be cut, such
    as an episode, is made at once: there is no checkpoint within.
    """

    def gather(self, step: int) -> None:
        """Make what is due before a step, given the steps before; after a resume perhaps again."""
        ...

    def pick(self, step: int, part: int, size: int) -> Sequence[Any]:
        """Return the samples of a batch, by step and part alone.

        Args:
            step: optimizer steps taken before.
            part: which of the step's accumulated batches.
            size: ``loader.batch_size`` times the processes, which take turns at the samples.
        """
        ...


class GatheredBatches(Batches):
    """Numbers of batches, one after the other from the first step on.

    Args:
        steps: of an epoch.
        batch_size: samples on one rank.
        options: of :class:`data_modules.loading.batches.Batches`.
    """

    def __init__(self, steps: int, batch_size: int, *options: int) -> None:
        super().__init__(*options)
        self.steps, self.width = steps, batch_size * self.num_ranks

    @property
    def num_global(self) -> int:
        """Of an epoch."""
        return self.steps * self.accumulate

    @property
    def division(self) -> dict[str, int]:
        """Rows of a batch, whatever the number of processes."""
        return {"rows a batch of all processes": self.width, "batches a step": self.accumulate}

    def global_batches(self, generator: Generator) -> list[list[int]]:
        """The numbers of an epoch; every rank's."""
        return [[self.epoch * len(self) + place] * self.num_ranks for place in range(len(self))]


class Gathered:
    """A data set whose items are batches.

    Args:
        gatherer: the stage.
        batches: whose numbers are asked for.
    """

    def __init__(self, gatherer: Gatherer, batches: GatheredBatches) -> None:
        self.gatherer, self.batches = gatherer, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> list[Any]:
        step, part = divmod(number, self.batches.accumulate)
        if part == 0:
            self.gatherer.gather(step)
        samples = self.gatherer.pick(step, part, self.batches.width)
        return list(samples[self.batches.rank :: self.batches.num_ranks])


class GatheredData(DataModule):
    """Serve what a stage gathers; the task's files are held-out samples, and whatever the stage takes of ``train``.

    Args:
        steps_an_epoch: for ``trainer.max_epochs``; data that grows has no epochs of its own.
        options: of :class:`data_modules.loading.datamodule.DataModule`.
    """

    def __init__(self, steps_an_epoch: Annotated[int, Ge(1)], **options: Any) -> None:
        super().__init__(**options)
        self.steps_an_epoch = steps_an_epoch
        if self.loader.num_workers:
            raise ValueError(
                f"loader.num_workers={self.loader.num_workers}, but samples that a stage gathers are in its process; "
                "set it to 0"
            )

    def train_dataloader(self) -> ResumableLoader:
        """The batches of the steps to come."""
        trainer: Any = self.trainer
        shared = (self.seed, trainer.global_rank, trainer.world_size, accumulated(trainer))
        batches = GatheredBatches(self.steps_an_epoch, self.loader.batch_size, *shared)
        gathered = Gathered(trainer.lightning_module, batches)
        limit = num_limited(len(batches), trainer.limit_train_batches)
        self.serving = ResumableLoader(gathered, batches, limit, collate_fn=self.collate_first, num_workers=0)
        if self.place:
            self.serving.load_state_dict(self.place)
        return self.serving

    def collate_first(self, batches: list[list[Any]]) -> Any:
        """Collate the only item."""
        return self.collate(batches[0])
