"""Log the learning rate."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import LearningRateMonitor


class LearningRate(LearningRateMonitor):
    """Log the learning rate of each schedule; without a logger do nothing, where Lightning's raises an error."""

    def on_train_start(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """Find the schedules."""
        if trainer.loggers:
            super().on_train_start(trainer, *args, **kwargs)
