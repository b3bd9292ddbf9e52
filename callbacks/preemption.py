"""Save and go when the cluster wants the node back, or the job's time is up.

A signal's handler may interrupt anything, a collective operation included, so here it sets a flag and no more. After
the optimizer step that was being taken all ranks learn of it together, save a checkpoint together, and go. Submitit's
own handler, which queues the job again, is called after that, by rank 0. A signal that comes during validation waits
for its end and the next step: ``signal_delay_s`` of the launcher must be longer than that and saving together. That a
checkpoint is whole or not there is the trainer's business.
"""

import logging
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch

log = logging.getLogger(__name__)


class Preemption(pl.Callback):
    """Save the step that a signal came in, then queue again or end.

    Args:
        checkpoint: where the run looks for its last checkpoint.
        requeue_signal: after saving, rank 0 calls the handler that was there before, which is submitit's; without one
            the run ends.
        stop_signal: after saving the run ends with exit code 128 + the signal's number.
        every: optimizer steps between two looks at whether any rank has got a signal. With several ranks a look costs
            an exchange of one number.

    Raises:
        ValueError: a name is no signal's, or ``every`` isn't 1 or more.
    """

    def __init__(
        self, checkpoint: str, requeue_signal: str = "SIGUSR2", stop_signal: str = "SIGTERM", every: int = 1
    ) -> None:
        if every < 1:
            raise ValueError(f"callbacks.preemption.every={every} must be 1 or more")
        self.checkpoint, self.every = Path(checkpoint), every
        self.requeue, self.stop = named("requeue_signal", requeue_signal), named("stop_signal", stop_signal)
        self.asked, self.step, self.process = 0, 0, 0
        self.before: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put our handlers where submitit's and Lightning's were."""
        self.asked, self.step, self.process = 0, trainer.global_step, os.getpid()
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self._note) for number in (self.requeue, self.stop)}

    def _note(self, number: int, frame: FrameType | None) -> None:
        """Remember the signal; loading processes, which inherit this handler, let it pass."""
        if os.getpid() == self.process:
            self.asked = number

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Between two optimizer steps, never among batches that accumulate, see whether to save and go."""
        step = trainer.global_step
        if step == self.step or step % self.every:
            return
        self.step = step
        asked = torch.tensor(self.asked, device=trainer.strategy.root_device)
        if number := int(trainer.strategy.reduce(asked, reduce_op="max")):
            self._save(trainer)
            if trainer.is_global_zero:
                log.info("%s: saved step %d in %s", signal.Signals(number).name, step, self.checkpoint)
            before = self._restore().get(number)
            signal.signal(self.stop, signal.SIG_IGN)  # it comes with queueing again; Lightning would broadcast it
            self._leave(number, before, trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        """Save, and go on when it is on the disk, also where rank 0 writes it in the background.

        A rank that left before would have SLURM end the others in the middle of it.
        """
        trainer.save_checkpoint(self.checkpoint, weights_only=False)
        trainer.strategy.checkpoint_io.teardown()
        trainer.strategy.barrier()

    def _leave(self, number: int, before: Callable[[int, FrameType | None], Any] | Any, trainer: pl.Trainer) -> None:
        """End this process; of a job that is queued again the other ranks end without an error, lest it be killed."""
        if number == self.requeue and callable(before):
            if trainer.is_global_zero:
                before(number, None)
            raise SystemExit(0)
        raise SystemExit(128 + number)

    def _restore(self) -> dict[int, Any]:
        """Put the handlers back that were there before, and return them."""
        handlers, self.before = self.before, {}
        for number, handler in handlers.items():
            signal.signal(number, handler)
        return handlers

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the handlers back."""
        self._restore()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Put the handlers back."""
        self._restore()


def named(option: str, name: str) -> int:
    """Number of a signal.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in signal.Signals.__members__:
        raise ValueError(f"callbacks.preemption.{option}={name} is no signal; give a name like SIGUSR2")
    return int(signal.Signals[name])
