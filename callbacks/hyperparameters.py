"""With what a run was made, for every logger: a row in TensorBoard's HParams tab, config elsewhere."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger
from torch.utils.tensorboard.summary import hparams


class Hyperparameters(pl.Callback):
    """Tell all loggers with what a run was made, when it begins, so that also one that goes on has its row.

    TensorBoard's tab takes a metric's last logged value, and the columns of all runs from one of them, so all runs must
    have the same: a value that a run doesn't have is ``none``.

    Args:
        shown: column -> number, text, or class name, of which the last part is shown.
        metrics: tags of scalars that are logged in training and validation.
    """

    def __init__(self, shown: Mapping[str, Any], metrics: Sequence[str]) -> None:
        values = {name: value.rsplit(".", 1)[-1] if isinstance(value, str) else value for name, value in shown.items()}
        known = {name: "none" if value is None else value for name, value in values.items()}
        self.known = known
        # The first says what columns there are, the second what stands in them, the third that the run has ended.
        self.columns, self.row, self.end = hparams(known, dict.fromkeys(metrics, 0.0))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write columns and values."""
        self._write(trainer, self.columns, self.row)
        for logger in trainer.loggers:
            if not isinstance(logger, TensorBoardLogger):
                logger.log_hyperparams(self.known)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say that the run has ended."""
        self._write(trainer, self.end)

    def _write(self, trainer: pl.Trainer, *summaries: Any) -> None:
        for logger in trainer.loggers if trainer.is_global_zero else ():
            if isinstance(logger, TensorBoardLogger):
                for summary in summaries:
                    logger.experiment.file_writer.add_summary(summary)
