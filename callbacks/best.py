"""Keep the best checkpoint by a finite value."""

from math import isfinite

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor


class Best(ModelCheckpoint):
    """Lightning's ``ModelCheckpoint``, but a value that isn't finite is never the best.

    Lightning takes the first value for the best, NaN included.
    """

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the checkpoint if it is the best.

        Raises:
            ValueError: validation doesn't measure what is monitored; lists what it does.
        """
        known = sorted(name for name in trainer.callback_metrics if name.startswith("val/"))
        if not trainer.sanity_checking and self.monitor not in trainer.callback_metrics:
            raise ValueError(
                f"callbacks.best.monitor={self.monitor} isn't measured in validation; choose one of "
                f"{', '.join(known)}, or set callbacks.best=null"
            )
        super().on_validation_end(trainer, pl_module)

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Return whether this value is among the best."""
        return current is not None and isfinite(current) and super().check_monitor_top_k(trainer, current)
