"""Samples per second, in the progress bar and in TensorBoard."""

from time import perf_counter
from typing import Any

import pytorch_lightning as pl


class Throughput(pl.Callback):
    """Log ``samples/s`` over the last ``window`` training batches, and the share of time spent waiting for data.

    Validation and checkpoints between two batches don't count.

    Args:
        window: batches between two figures.
    """

    def __init__(self, window: int = 10) -> None:
        self.window = window
        self.ended: float | None = None
        self.waited = self.worked = self.started = 0.0
        self.samples = self.batches = 0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note how long the batch took to come."""
        self.started = perf_counter()
        self.waited += self.started - self.ended if self.ended is not None else 0.0

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validation is not waiting for data."""
        self.ended = None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log every ``window`` batches."""
        self.ended = perf_counter()
        self.worked += self.ended - self.started
        self.samples += len(batch) * trainer.world_size
        self.batches += 1
        if self.batches % self.window == 0:
            total = self.worked + self.waited
            pl_module.log("samples/s", self.samples / total, prog_bar=True, batch_size=1)
            pl_module.log("data_wait_share", self.waited / total, batch_size=1)
            self.waited = self.worked = 0.0
            self.samples = 0
