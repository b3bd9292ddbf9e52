"""Write a run's state to ``status.json`` in its folder, for ``python -m launch status``."""

import json
import os
import socket
import traceback
from contextlib import suppress
from math import isfinite
from pathlib import Path
from time import time
from typing import Annotated, Any

import pytorch_lightning as pl
from annotated_types import Ge
from pytorch_lightning.utilities.exceptions import SIGTERMException

STOPPED_BY = (KeyboardInterrupt, SystemExit, SIGTERMException)


class Presence(pl.Callback):
    """Write where a run trains, how far it is and how it ended; rank 0 alone writes.

    The file has ``state`` (``running``; ``stopped`` by a signal; ``failed``; ``ended``), ``node``, ``pid``, ``job`` (of
    SLURM), ``step``, ``max_steps`` (-1: not limited), ``loss``, ``seconds_left``, ``updated`` (Unix time) and
    ``error``, the end of the traceback.

    Args:
        folder: the run folder.
        every: seconds between two writes.
        metric: what is written as ``loss``.
    """

    def __init__(self, folder: str, every: Annotated[float, Ge(0)] = 10.0, metric: str = "train/loss") -> None:
        self.file, self.every, self.metric = Path(folder, "status.json"), every, metric
        self.began, self.first, self.written = 0.0, 0, 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the step training starts from."""
        self.began, self.first = time(), trainer.global_step
        self._write(trainer, "running")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write if the last write was long enough ago."""
        if time() - self.written >= self.every:
            self._write(trainer, "running")

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record that training has ended."""
        self._write(trainer, "ended")

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Record that training was stopped, or that it failed and the traceback."""
        if isinstance(exception, STOPPED_BY):
            self._write(trainer, "stopped")
        else:
            self._write(trainer, "failed", "".join(traceback.format_exception(exception, limit=-3)).strip())

    def _write(self, trainer: pl.Trainer, state: str, error: str | None = None) -> None:
        """Write to a second file and rename it, so that readers see either the old file or the new one."""
        if not trainer.is_global_zero:
            return
        self.written, step, most = time(), trainer.global_step, trainer.max_steps
        pace = (self.written - self.began) / (step - self.first) if step > self.first else None
        loss = trainer.callback_metrics.get(self.metric)
        facts = {
            "state": state,
            "node": socket.gethostname(),
            "pid": os.getpid(),
            "job": os.environ.get("SLURM_JOB_ID"),
            "step": step,
            "max_steps": most,
            "loss": float(loss) if loss is not None and isfinite(loss) else None,
            "seconds_left": None if pace is None or most < 0 else pace * max(0, most - step),
            "updated": self.written,
            "error": error,
        }
        partial = self.file.with_suffix(".partial")
        with suppress(OSError):  # a sign of life on a full disk is worth no run
            partial.write_text(json.dumps(facts, indent=2, allow_nan=False) + "\n")
            partial.rename(self.file)
