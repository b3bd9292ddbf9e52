"""A run's hyperparameters, for every logger: a row in TensorBoard's HParams tab, config elsewhere."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger
from torch.utils.tensorboard.summary import hparams


class Hyperparameters(pl.Callback):
    """Log a run's hyperparameters when training starts, so that a resumed run has its row, too.

    TensorBoard's tab shows a metric's last value and takes its columns from one of the runs, so every run must have the
    same columns: a missing value is ``none``.

    Args:
        shown: column -> number, text, or dotted class name, of which the last part is shown.
        metrics: tags of scalars that are logged in training and validation.
    """

    def __init__(self, shown: Mapping[str, Any], metrics: Sequence[str]) -> None:
        values = {name: value.rsplit(".", 1)[-1] if isinstance(value, str) else value for name, value in shown.items()}
        self.values = {name: "none" if value is None else value for name, value in values.items()}
        # Three summaries: which columns there are, their values, and that the run has ended.
        self.columns, self.row, self.end = hparams(self.values, dict.fromkeys(metrics, 0.0))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write columns and values."""
        self._write(trainer, self.columns, self.row)
        for logger in trainer.loggers:
            if not isinstance(logger, TensorBoardLogger):
                logger.log_hyperparams(self.values)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Mark the run as ended."""
        self._write(trainer, self.end)

    def _write(self, trainer: pl.Trainer, *summaries: Any) -> None:
        for logger in trainer.loggers if trainer.is_global_zero else ():
            if isinstance(logger, TensorBoardLogger):
                for summary in summaries:
                    logger.experiment.file_writer.add_summary(summary)
