"""The one seam every family shares: a batch goes in, named losses come out."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
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
        loss_weights: a weight for every name that :meth:`losses` returns, and for no other.
        optimizer: parameter groups -> optimizer.
        schedule: (optimizer, total steps) -> schedule, stepped once an optimizer step.
        weight_decay: of matrices; norms, biases and embeddings never decay.
    """

    def __init__(
        self,
        net: nn.Module,
        loss_weights: Mapping[str, float],
        optimizer: Callable[[list[dict[str, Any]]], Optimizer],
        schedule: Callable[[Optimizer, int], LRScheduler],
        weight_decay: float,
    ) -> None:
        super().__init__()
        self.net = net
        self.loss_weights = dict(loss_weights)
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
        weighed = [self.loss_weights[name] * loss for name, loss in losses.items()]
        total = sum(weighed[1:], weighed[0])
        logged = {f"{split}/{name}": loss.detach() for name, loss in losses.items()} | {f"{split}/loss": total.detach()}
        self.log_dict(logged, prog_bar=True, sync_dist=split == "val", batch_size=batch_size)
        return total

    def configure_optimizers(self) -> Any:
        """Optimizer over what is trainable, and its schedule over the steps the trainer will take."""
        optimizer = self.make_optimizer(parameter_groups(self.net, self.weight_decay))
        schedule = self.make_schedule(optimizer, int(self.trainer.estimated_stepping_batches))
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]
