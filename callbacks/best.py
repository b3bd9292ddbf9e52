"""Keep the best checkpoint by a finite value."""

from math import isfinite

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor


class Best(ModelCheckpoint):
    """Lightning's ``ModelCheckpoint``, but a value that isn't finite is never the best.

    Lightning takes the first value for the best, NaN included.
    """

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Return whether this value is among the best."""
        return current is not None and isfinite(current) and super().check_monitor_top_k(trainer, current)
