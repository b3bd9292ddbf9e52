"""One progress bar for the whole run: steps, losses, samples per second and remaining time."""

import logging
import sys
from time import perf_counter
from typing import Annotated, Any

import pytorch_lightning as pl
from annotated_types import Ge
from pytorch_lightning.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

UNSEEN = logging.getLogger("console")
"""Writes to the run's log alone."""


class RunProgress(ProgressBar):
    """A Rich bar over optimizer steps; plain lines in the run's log, and where output is no terminal.

    Args:
        every: steps between two refreshes of the figures.
        line_every: steps between two lines.
    """

    def __init__(self, every: Annotated[int, Ge(1)] = 10, line_every: Annotated[int, Ge(1)] = 100) -> None:
        super().__init__()
        self.every, self.line_every = every, line_every
        self.console = Console()
        self.bar: Progress | None = None
        self.task: Any = None
        self.total, self.first, self.started = 0, 0, 0.0
        self.streams: list[Any] = []

    def disable(self) -> None:
        """Lightning calls this on every rank but the first."""
        self.console.quiet = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar at the current step."""
        self.total, self.first = int(trainer.estimated_stepping_batches), trainer.global_step
        self.started = perf_counter()
        if self.console.is_terminal:
            self.bar = lay_out(self.console)
            self.task = self.bar.add_task("training", total=self.total, completed=self.first, figures="")
            self.streams = [sys.stdout]
            self.bar.start()
            self._redirect(sys.stdout)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar, or print a line."""
        step = trainer.global_step
        if self.bar is not None:
            self.bar.update(self.task, completed=step)
            if step % self.every == 0:
                self.bar.update(self.task, figures=self.figures(trainer, pl_module))
        if step % self.line_every == 0 and (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            left = (self.total - step) * (perf_counter() - self.started) / max(1, step - self.first)
            line = f"step {step}/{self.total}  {self.figures(trainer, pl_module)}  {left / 60:.1f} min left"
            if self.bar is None:
                self.console.print(line, soft_wrap=True)  # a file has no width
            if trainer.is_global_zero:
                UNSEEN.info(line)

    def figures(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> str:
        """Values that the module logged for the progress bar."""
        metrics = {name: value for name, value in self.get_metrics(trainer, pl_module).items() if name != "v_num"}
        return "  ".join(
            f"{name} {value + 0.0:.3g}" for name, value in metrics.items() if isinstance(value, int | float)
        )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
            self._redirect(sys.stdout)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Close the bar, so that the error appears below it."""
        self.on_train_end(trainer, pl_module)

    def _redirect(self, stream: Any) -> None:
        """Print log lines above the bar: while it is open, Rich's stream replaces stdout."""
        for handler in logging.getLogger().handlers:
            if type(handler) is logging.StreamHandler and handler.stream in self.streams:
                self.streams.append(stream)
                handler.setStream(stream)


def lay_out(console: Console) -> Progress:
    """A bar with steps and times, whose figures give way where the console is narrow."""
    columns = [
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=max(5, min(40, console.width // 4 - 5))),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
    ]
    return Progress(*columns, console=console, expand=True)
