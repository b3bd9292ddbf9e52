"""The best checkpoint by a number that is one."""

from math import isfinite

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor


class Best(ModelCheckpoint):
    """Lightning's, but where what is monitored isn't a number there is no best checkpoint.

    Lightning takes the first value for the best, whatever it is.
    """

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Say whether this value is among the best."""
        return current is not None and isfinite(current) and super().check_monitor_top_k(trainer, current)
