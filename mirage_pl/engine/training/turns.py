"""Several optimizers that take turns within a batch: a generator and its critic, a model and its codebook.

One step of all of them is one step of the run: ``trainer.max_steps``, schedules and checkpoints count it once. Under
manual optimization Lightning neither clips nor accumulates; this module does, by ``trainer.gradient_clip_val`` and
``trainer.accumulate_grad_batches``. All turns accumulate the same batches, since the loss is a mean over the terms of
the step. Within a step, later turns see what earlier ones have learnt only in the last batch.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Annotated, Any

from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from mirage_pl.engine.training.base import BaseModule
from mirage_pl.engine.training.finite import list_rows
from mirage_pl.engine.training.lightning import attached_trainer, count_no_steps, expect_unused, let_clip
from mirage_pl.engine.training.losses import Weights, name_logged
from mirage_pl.engine.training.optim import parameter_groups


@dataclass(frozen=True)
class Turn:
    """One of several optimizers.

    Attributes:
        of: dotted prefixes of the weights that it trains.
        losses: weights of its losses by name, as ``loss_weights`` of a module with one optimizer.
        optimizer: parameter groups -> optimizer.
        schedule: (optimizer, its steps in the run) -> schedule.
        begin: first step of the run at which it is taken; before that its losses aren't computed.
        clip: largest norm of its gradient; ``None``: ``trainer.gradient_clip_val``.
        weight_decay: of its matrices.
        parts: as in :func:`mirage_pl.engine.training.optim.parameter_groups`.
    """

    of: Sequence[str]
    losses: Weights
    optimizer: Callable[[list[dict[str, Any]]], Optimizer]
    schedule: Callable[[Optimizer, int], LRScheduler]
    begin: Annotated[int, Ge(0)] = 0
    clip: Annotated[float, Gt(0)] | None = None
    weight_decay: Annotated[float, Ge(0)] = 0.0
    parts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Turns(BaseModule):
    """A module whose losses are minimized by several optimizers, one after another in each batch.

    Args:
        net: what is trained.
        turns: by name, in their order; the first begins at step 0.

    Raises:
        ValueError: two turns share a loss, or the first doesn't begin at once.
    """

    several_optimizers = True

    def __init__(self, net: nn.Module, turns: Mapping[str, Turn]) -> None:
        weights = {name: weight for turn in turns.values() for name, weight in turn.losses.items()}
        first = next(iter(turns), None)
        if first is None or turns[first].begin:
            raise ValueError("stage.module.turns needs a first turn with begin: 0; its steps are the run's")
        if len(weights) < sum(len(turn.losses) for turn in turns.values()):
            raise ValueError("two of stage.module.turns have a loss of the same name; give each another")
        super().__init__(net, weights, turns[first].optimizer, turns[first].schedule, 0.0)
        self.turns, self.clip, self.own_accumulate = dict(turns), 0.0, 1
        self.automatic_optimization = False

    @abstractmethod
    def losses_in(self, turn: str, batch: Any) -> dict[str, Tensor]:
        """Return the losses of a turn, unweighted, by name; weights of other turns have ``requires_grad`` off."""

    def losses(self, batch: Any) -> dict[str, Tensor]:
        """The losses of all turns that are taken at this step."""
        return {name: loss for turn in self.begun() for name, loss in self.losses_in(turn, batch).items()}

    def begun(self) -> list[str]:
        """The turns that are taken at this step, one at least; a stage may take some of them at some steps only."""
        return [name for name, turn in self.turns.items() if self.step >= turn.begin]

    def check_names(self, losses: Mapping[str, Tensor], turns: Sequence[str] | None = None) -> None:
        """Refuse losses whose names differ from those of the given turns, or of all turns of this step.

        Raises:
            ValueError: a loss without a weight, or a weight without a loss.
        """
        expected = {name for turn in turns or self.begun() for name in self.turns[turn].losses}
        if losses.keys() != expected:
            raise ValueError(
                f"losses {sorted(losses)} but weights for {sorted(expected)} in the turn(s) "
                f"{', '.join(turns or self.begun())}; stage.module.turns must name each loss once"
            )

    def configure_callbacks(self) -> list[Any]:
        """Take over clipping and accumulation, which Lightning refuses with several optimizers; it calls this first."""
        trainer = self.trainer
        self.clip, trainer.gradient_clip_val = trainer.gradient_clip_val or self.clip, None
        self.own_accumulate, trainer.accumulate_grad_batches = max(trainer.accumulate_grad_batches, 1), 1
        expect_unused(trainer.strategy)
        return []

    @property
    def progress(self) -> float:
        """Fraction of the run's steps before this one, the same for all turns."""
        return self.step / max(1, self.total_steps) if attached_trainer(self) else 0.0

    @property
    def accumulate(self) -> int:
        """Batches per step."""
        return self.own_accumulate

    @property
    def total_steps(self) -> int:
        """Steps of the run; Lightning counts every batch as one."""
        trainer = self.trainer
        batches = int(trainer.estimated_stepping_batches)
        if trainer.max_epochs in (None, -1) or self.accumulate == 1:
            return batches
        steps = ceil(trainer.num_training_batches / self.accumulate) * int(trainer.max_epochs)
        return min(steps, trainer.max_steps) if trainer.max_steps != -1 else steps

    def configure_optimizers(self) -> Any:
        """Return an optimizer and a schedule for each turn."""
        optimizers, schedules = [], []
        for turn in self.turns.values():
            groups = parameter_groups(self, turn.weight_decay, turn.parts, tuple(turn.of))
            optimizers.append(turn.optimizer(groups))
            let_clip(optimizers[-1])
            schedules.append(turn.schedule(optimizers[-1], max(1, self.total_steps - turn.begin)))
        return optimizers, [{"scheduler": schedule, "interval": "step"} for schedule in schedules]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Take every turn that has begun; return its weighted losses, scaled by their share in the step, detached."""
        shares = self.shares(batch, batch_idx)
        self.num_rows = len(batch)
        last = (batch_idx + 1) % self.accumulate == 0 or self.trainer.is_last_batch
        losses: dict[str, Tensor] = {}
        for at, name in enumerate(self.turns):
            if name in self.begun():
                losses |= self.take(at, name, batch, shares, last)
        self.watch.note(self.step + 1, losses, list_rows(batch))
        self.log_dict(name_logged(losses, self.weigh(losses)), prog_bar=True, batch_size=len(batch))
        return self.weigh({name: shares.get(name, 1) * loss for name, loss in losses.items()})

    def take(self, at: int, name: str, batch: Any, shares: Mapping[str, Tensor], last: bool) -> dict[str, Tensor]:
        """Compute a turn's losses and gradients, and with the step's last batch step its optimizer."""
        turn, optimizer = self.turns[name], as_list(self.optimizers())[at]
        self.toggle_optimizer(optimizer)
        losses = self.losses_in(name, batch)
        self.check_names(losses, [name])
        weighed = [self.weight(loss) * shares.get(loss, 1) * value for loss, value in losses.items()]
        self.manual_backward(sum(weighed[1:], weighed[0]) / self.accumulate)
        if last:
            if name != self.begun()[0]:
                count_no_steps(optimizer)
            self.clip_gradients(optimizer, turn.clip if turn.clip is not None else self.clip, "norm")
            optimizer.step()
            optimizer.zero_grad()
            as_list(self.lr_schedulers())[at].step()
        self.untoggle_optimizer(optimizer)
        return {loss: value.detach() for loss, value in losses.items()}


def as_list(one_or_more: Any) -> list[Any]:
    """Wrap a single optimizer or schedule, which Lightning returns without a list."""
    return one_or_more if isinstance(one_or_more, list) else [one_or_more]
