"""The one seam every family shares: a batch goes in, named losses come out."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from mirage_pl.optim import parameter_groups


class BaseModule(pl.LightningModule):
    """Weigh, log and sum the losses a stage returns.

    Args:
        net: what is trained.
        loss_weights: a weight for every name that :meth:`losses` returns, and for no other; a pair of numbers goes from
            the first to the second, linearly over the run.
        optimizer: parameter groups -> optimizer.
        schedule: (optimizer, total steps) -> schedule, stepped once an optimizer step.
        weight_decay: of matrices; norms, biases and embeddings never decay.
    """

    def __init__(
        self,
        net: nn.Module,
        loss_weights: Mapping[str, float | Sequence[float]],
        optimizer: Callable[[list[dict[str, Any]]], Optimizer],
        schedule: Callable[[Optimizer, int], LRScheduler],
        weight_decay: float,
    ) -> None:
        super().__init__()
        self.net = net
        self.loss_weights = {name: as_pair(name, weight) for name, weight in loss_weights.items()}
        self.make_optimizer, self.make_schedule, self.weight_decay = optimizer, schedule, weight_decay

    @abstractmethod
    def losses(self, batch: Any) -> dict[str, Tensor]:
        """Return every loss this stage trains on, unweighted, by name."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Weigh the losses of one batch."""
        return self.weigh(self.losses(batch), "train", len(batch))

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Weigh the losses of one validation batch."""
        return self.weigh(self.losses(batch), "val", len(batch))

    def weigh(self, losses: Mapping[str, Tensor], split: str, batch_size: int) -> Tensor:
        """Log each loss as ``split/name`` and return their weighted sum, logged as ``split/loss``.

        Raises:
            ValueError: a loss without a weight, or a weight without a loss.
        """
        if losses.keys() != self.loss_weights.keys():
            raise ValueError(
                f"losses {sorted(losses)} but weights for {sorted(self.loss_weights)}; "
                "stage.module.loss_weights must name each loss once"
            )
        weighed = [self.weight(name) * loss for name, loss in losses.items()]
        total = sum(weighed[1:], weighed[0])
        logged = {f"{split}/{name}": loss.detach() for name, loss in losses.items()} | {f"{split}/loss": total.detach()}
        self.log_dict(logged, prog_bar=True, sync_dist=split == "val", batch_size=batch_size)
        return total

    @property
    def progress(self) -> float:
        """Share of the run's optimizer steps that have been taken; 0 outside a run."""
        return self.global_step / max(1, int(self.trainer.estimated_stepping_batches)) if self._trainer else 0.0

    def weight(self, name: str) -> float:
        """Weight of a loss at this point of the run."""
        first, last = self.loss_weights[name]
        return first if first == last else first + (last - first) * min(1.0, self.progress)

    def configure_optimizers(self) -> Any:
        """Optimizer over what is trainable, and its schedule over the steps the trainer will take."""
        optimizer = self.make_optimizer(parameter_groups(self, self.weight_decay))
        schedule = self.make_schedule(optimizer, int(self.trainer.estimated_stepping_batches))
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def as_pair(name: str, weight: float | Sequence[float]) -> tuple[float, float]:
    """A weight at the start and at the end of a run.

    Raises:
        ValueError: neither a number nor a pair of numbers.
    """
    pair = (weight, weight) if isinstance(weight, int | float) else tuple(weight)
    if len(pair) != 2 or not all(isinstance(value, int | float) for value in pair):
        raise ValueError(f"stage.module.loss_weights.{name}={weight} must be a number, or [first, last]")
    return float(pair[0]), float(pair[1])
