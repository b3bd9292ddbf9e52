"""Save and exit when the cluster reclaims the node, the job's time is up, or somebody presses Ctrl-C.

A signal handler may interrupt anything, a collective operation included, so ours only sets a flag. After the current
optimizer step all ranks exchange their flags, save a checkpoint together and exit; then rank 0 calls submitit's own
handler, which requeues the job. A signal during validation waits for the end of it and for the next step, so the
launcher's ``signal_delay_s`` must cover both, and the save. A run without an unsaved step exits at once; one in which
no step ends is ended after ``patience``. Writing checkpoints atomically is the trainer's business.
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

from callbacks.signals import SignalListener

log = logging.getLogger(__name__)

SLOW = 600.0
"""Least seconds that a signal waits for the end of a validation or of a save."""
CLEANING = 10.0
"""Seconds that a process has to exit by itself before it is killed."""


class Preemption(pl.Callback):
    """On a signal save after the current step, then requeue the job or exit. A second Ctrl-C exits at once.

    Args:
        checkpoint: where the run looks for its last checkpoint.
        requeue_signal: after saving, rank 0 calls the previous handler, which is submitit's; without one the run ends.
        stop_signal: after saving, the run ends with exit code 128 + the signal's number, as it does after Ctrl-C.
        every: optimizer steps between two checks whether any rank has received a signal; with several ranks each check
            is an all-reduce of one number.
        patience: seconds that a signal waits for the end of a step, or three times the longest step so far if that is
            longer; then the run ends without saving.

    Raises:
        ValueError: a signal's name is unknown, ``every`` isn't 1 or more, or ``patience`` isn't more than 0.
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
        self.requeue, self.stop = (
            signal_number("requeue_signal", requeue_signal),
            signal_number("stop_signal", stop_signal),
        )
        self.signals = SignalListener([self.requeue, self.stop, signal.SIGINT], self._handle, self._hear)
        self.trainer: pl.Trainer | None = None
        self.waiting: threading.Timer | None = None
        self._begin(0)

    def _begin(self, step: int) -> None:
        self.received, self.announced, self.presses, self.over = 0, 0, 0, False
        self.step = self.saved = step
        self.saving: tuple[int, int] | None = None
        self.longest, self.ended = 0.0, perf_counter()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Install our handlers in place of submitit's and Lightning's."""
        self.trainer = trainer
        self._begin(trainer.global_step)
        self.signals.open()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Check whether the previous step was saved; Lightning has no hook after a save."""
        self._confirm()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check as before a batch, and allow for the time of a validation."""
        self._confirm()
        self._wait()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave validation out of the step's time."""
        self.ended = perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Between two optimizer steps, not among accumulated batches, check whether to save and exit."""
        step, now = trainer.global_step, perf_counter()
        if step == self.step:
            return
        self.longest, self.ended, self.step = max(self.longest, now - self.ended), now, step
        self._wait()
        if step % self.every:
            return
        received = torch.tensor(self.received, device=trainer.strategy.root_device)
        if number := int(trainer.strategy.reduce(received, reduce_op="max")):
            if self.received:
                self._announce(self.received)
            self._save(trainer)
            if trainer.is_global_zero:
                of = f" of {trainer.max_steps}" if trainer.max_steps > 0 else ""
                saved = f"{signal_name(number)}: saved step {step}{of} in {self.checkpoint}"
                log.info("%s; the same command goes on from there", saved)
            before = self._close().get(number)
            signal.signal(self.stop, signal.SIG_IGN)  # it comes with requeueing; Lightning would broadcast it
            self._leave(number, before, trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Note which step is about to be saved; our checkpoint may not be the one that is written."""
        self.saving = trainer.global_step, write_time(self.checkpoint)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the handlers."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Restore the handlers."""
        self._close()

    def _confirm(self) -> None:
        if self.saving is not None and write_time(self.checkpoint) != self.saving[1]:
            self.saved = self.saving[0]
        self.saving = None

    def _handle(self, number: int) -> None:
        """In the main thread: note the signal; exit at once if no step would be lost, or on a second Ctrl-C."""
        if self.received == signal.SIGINT == number:
            self._tell("Ctrl-C again: ending at once; the same command goes on from the last checkpoint")
            raise KeyboardInterrupt
        if self.received != signal.SIGINT:  # a sweep sends SIGTERM after Ctrl-C
            self.received = number
        nothing = number != self.requeue and self._nothing_to_lose()
        if nothing and not self.over:
            self._tell(f"{signal_name(number)}: ending; nothing was trained since step {self.saved}")
        if self.over or nothing:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            raise SystemExit(128 + number)

    def _nothing_to_lose(self) -> bool:
        """Whether every step is saved; never with several ranks, of which one alone can't decide to exit."""
        return self.trainer is not None and self.trainer.world_size == 1 and self.trainer.global_step == self.saved

    def _hear(self, number: int) -> None:
        """In the listening thread: make sure that the run ends even if the main thread never handles the signal."""
        if self.over or self.trainer is None:
            return
        self.presses += number == signal.SIGINT
        if self.presses > 1 or (number != self.requeue and self._nothing_to_lose()):
            self._after(CLEANING, os._exit, 128 + number)
        else:
            self._announce(number)

    def _announce(self, number: int) -> None:
        """Say once what will happen, and start the timer that enforces it."""
        if self.trainer is not None and not self.announced:
            self.announced = number
            what = "this validation and the next step" if self.trainer.validating else "this step"
            last = "; again: end at once" if number == signal.SIGINT else ""
            self._tell(f"{signal_name(number)}: saving after {what}, then ending{last}")
            self._wait()

    def _wait(self) -> None:
        """Restart the timer for the step, validation or save that a signal waits for."""
        if self.trainer is not None and self.announced:
            slow = self.trainer.validating or self.saving is not None
            self._after(max(SLOW if slow else self.patience, 3 * self.longest), self._give_up, self.announced)

    def _give_up(self, number: int) -> None:
        """End a run in which no step ends: first through the handler, then by force."""
        self.over = True
        self._tell(f"{signal_name(number)}: no step has ended since then; ending without saving", logging.ERROR)
        self._after(CLEANING, os._exit, 128 + number)
        if main := threading.main_thread().ident:
            signal.pthread_kill(main, number)

    def _after(self, seconds: float, do: Callable[[int], Any], number: int) -> None:
        """Call a function later, in place of the one that was scheduled before."""
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
        """Save, and return when the checkpoint is on disk, even where rank 0 writes it in the background.

        If a rank exited earlier, SLURM would kill the others in mid-save.
        """
        if self.waiting is not None:
            self.waiting.cancel()
        trainer.save_checkpoint(self.checkpoint, weights_only=False)
        trainer.strategy.checkpoint_io.teardown()
        trainer.strategy.barrier()

    def _leave(self, number: int, before: Callable[[int, FrameType | None], Any] | Any, trainer: pl.Trainer) -> None:
        """Exit; when the job is requeued the other ranks exit without an error, which would cancel it."""
        if number == self.requeue and callable(before):
            if trainer.is_global_zero:
                before(number, None)
            raise SystemExit(0)
        raise SystemExit(128 + number)

    def _close(self) -> dict[int, Any]:
        """Restore the previous handlers, and return them."""
        if self.waiting is not None:
            self.waiting.cancel()
        self.trainer = None
        return self.signals.close()


def write_time(checkpoint: Path) -> int:
    """When a checkpoint was written; 0 if there is none."""
    return checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0


def signal_name(number: int) -> str:
    """A signal's name as people know it."""
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def signal_number(option: str, name: str) -> int:
    """The number of a signal.

    Raises:
        ValueError: there is no signal of that name.
    """
    if name not in signal.Signals.__members__:
        raise ValueError(f"callbacks.preemption.{option}={name} is no signal; give a name like SIGUSR2")
    return int(signal.Signals[name])
