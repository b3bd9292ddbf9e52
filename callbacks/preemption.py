"""Save and go when the cluster wants the node back, the job's time is up, or somebody presses Ctrl-C.

A signal's handler may interrupt anything, a collective operation included, so here it sets a flag. After the optimizer
step that was being taken all ranks learn of it together, save a checkpoint together, and go. Submitit's own handler,
which queues the job again, is called after that, by rank 0. A signal that comes during validation waits for its end and
the next step: ``signal_delay_s`` of the launcher must be longer than that and saving together. Where nothing was
trained since the last checkpoint there is nothing to wait for, and where no step ends, nothing that waiting would help.
That a checkpoint is whole or not there is the trainer's business.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch

from callbacks.signals import Ears

log = logging.getLogger(__name__)

SLOW = 600.0
"""Seconds that a signal waits for the end of a validation or of a save, at least."""
CLEANING = 10.0
"""Seconds that a process has to end by itself before it is ended."""


class Preemption(pl.Callback):
    """Save the step that a signal came in, then queue again or end. A second Ctrl-C ends at once.

    Args:
        checkpoint: where the run looks for its last checkpoint.
        requeue_signal: after saving, rank 0 calls the handler that was there before, which is submitit's; without one
            the run ends.
        stop_signal: after saving the run ends with exit code 128 + the signal's number, as it does after Ctrl-C.
        every: optimizer steps between two looks at whether any rank has got a signal. With several ranks a look costs
            an exchange of one number.
        patience: seconds that a signal waits for the end of a step, or three times the longest step so far if that is
            more; then the run ends without saving.

    Raises:
        ValueError: a name is no signal's, ``every`` isn't 1 or more, or ``patience`` isn't more than 0.
    """

    def __init__(
        self,
        checkpoint: str,
        requeue_signal: str = "SIGUSR2",
        stop_signal: str = "SIGTERM",
        every: int = 1,
        patience: float = 30.0,
    ) -> None:
        if every < 1:
            raise ValueError(f"callbacks.preemption.every={every} must be 1 or more")
        if patience <= 0:
            raise ValueError(f"callbacks.preemption.patience={patience} must be more than 0 seconds; 30 is usual")
        self.checkpoint, self.every, self.patience = Path(checkpoint), every, patience
        self.requeue, self.stop = named("requeue_signal", requeue_signal), named("stop_signal", stop_signal)
        self.ears = Ears([self.requeue, self.stop, signal.SIGINT], self._handle, self._hear)
        self.trainer: pl.Trainer | None = None
        self.waiting: threading.Timer | None = None
        self._begin(0)

    def _begin(self, step: int) -> None:
        self.asked, self.announced, self.presses, self.over = 0, 0, 0, False
        self.step = self.saved = step
        self.saving: tuple[int, int] | None = None
        self.longest, self.ended = 0.0, perf_counter()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put our handlers where submitit's and Lightning's were."""
        self.trainer = trainer
        self._begin(trainer.global_step)
        self.ears.open()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """See whether the step before was saved, which no hook tells."""
        self._confirm()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """As before a batch; a validation may take its time."""
        self._confirm()
        self._wait()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A validation is no part of a step's time."""
        self.ended = perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Between two optimizer steps, never among batches that accumulate, see whether to save and go."""
        step, now = trainer.global_step, perf_counter()
        if step == self.step:
            return
        self.longest, self.ended, self.step = max(self.longest, now - self.ended), now, step
        self._wait()
        if step % self.every:
            return
        asked = torch.tensor(self.asked, device=trainer.strategy.root_device)
        if number := int(trainer.strategy.reduce(asked, reduce_op="max")):
            if self.asked:
                self._announce(self.asked)
            self._save(trainer)
            if trainer.is_global_zero:
                of = f" of {trainer.max_steps}" if trainer.max_steps > 0 else ""
                saved = f"{said(number)}: saved step {step}{of} in {self.checkpoint}"
                log.info("%s; the same command goes on from there", saved)
            before = self._close().get(number)
            signal.signal(self.stop, signal.SIG_IGN)  # it comes with queueing again; Lightning would broadcast it
            self._leave(number, before, trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Remember which step is about to be saved, perhaps in our checkpoint."""
        self.saving = trainer.global_step, written(self.checkpoint)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the handlers back."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Put the handlers back."""
        self._close()

    def _confirm(self) -> None:
        if self.saving is not None and written(self.checkpoint) != self.saving[1]:
            self.saved = self.saving[0]
        self.saving = None

    def _handle(self, number: int) -> None:
        """In the main thread: remember the signal; end at once where nothing would be lost, or if told so again."""
        if self.asked == signal.SIGINT == number:
            self._tell("Ctrl-C again: ending at once; the same command goes on from the last checkpoint")
            raise KeyboardInterrupt
        if self.asked != signal.SIGINT:  # after Ctrl-C a sweep sends SIGTERM, too
            self.asked = number
        nothing = number != self.requeue and self._nothing_to_lose()
        if nothing and not self.over:
            self._tell(f"{said(number)}: ending; nothing was trained since step {self.saved}")
        if self.over or nothing:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            raise SystemExit(128 + number)

    def _nothing_to_lose(self) -> bool:
        """Whether no step was taken since the last checkpoint; of several ranks one can't tell when to go."""
        return self.trainer is not None and self.trainer.world_size == 1 and self.trainer.global_step == self.saved

    def _hear(self, number: int) -> None:
        """In a thread of its own, also if the main thread never handles it: see to it that the run ends."""
        if self.over or self.trainer is None:
            return
        self.presses += number == signal.SIGINT
        if self.presses > 1 or (number != self.requeue and self._nothing_to_lose()):
            self._after(CLEANING, os._exit, 128 + number)
        else:
            self._announce(number)

    def _announce(self, number: int) -> None:
        """Say what will happen, once, and see to it that it does."""
        if self.trainer is not None and not self.announced:
            self.announced = number
            what = "this validation and the next step" if self.trainer.validating else "this step"
            last = "; again: end at once" if number == signal.SIGINT else ""
            self._tell(f"{said(number)}: saving after {what}, then ending{last}")
            self._wait()

    def _wait(self) -> None:
        """Let a step, a validation or a save that is going on take its time, if a signal waits for its end."""
        if self.trainer is not None and self.announced:
            slow = self.trainer.validating or self.saving is not None
            self._after(max(SLOW if slow else self.patience, 3 * self.longest), self._give_up, self.announced)

    def _give_up(self, number: int) -> None:
        """End a run in which no step ends: first by the handler, then by force."""
        self.over = True
        self._tell(f"{said(number)}: no step has ended since then; ending without saving", logging.ERROR)
        self._after(CLEANING, os._exit, 128 + number)
        if main := threading.main_thread().ident:
            signal.pthread_kill(main, number)

    def _after(self, seconds: float, do: Callable[[int], Any], number: int) -> None:
        """Do something later, in place of what was to be done later, unless the run has ended by then."""
        if self.waiting is not None:
            self.waiting.cancel()
        self.waiting = threading.Timer(seconds, do, [number])
        self.waiting.daemon = True
        self.waiting.start()

    def _tell(self, line: str, level: int = logging.WARNING) -> None:
        if self.trainer is not None and self.trainer.is_global_zero:
            log.log(level, line)
            sys.stdout.flush()

    def _save(self, trainer: pl.Trainer) -> None:
        """Save, and go on when it is on the disk, also where rank 0 writes it in the background.

        A rank that left before would have SLURM end the others in the middle of it.
        """
        if self.waiting is not None:
            self.waiting.cancel()
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

    def _close(self) -> dict[int, Any]:
        """Put the handlers back that were there before, and return them."""
        if self.waiting is not None:
            self.waiting.cancel()
        self.trainer = None
        return self.ears.close()


def written(checkpoint: Path) -> int:
    """When a checkpoint was written; 0 if there is none."""
    return checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0


def said(number: int) -> str:
    """A signal's name as people say it."""
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def named(option: str, name: str) -> int:
    """Number of a signal.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in signal.Signals.__members__:
        raise ValueError(f"callbacks.preemption.{option}={name} is no signal; give a name like SIGUSR2")
    return int(signal.Signals[name])
