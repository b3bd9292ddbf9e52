"""One progress bar for the whole run: steps, losses, samples per second and the time that is left."""

from time import perf_counter
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class RunProgress(ProgressBar):
    """A Rich bar over optimizer steps; where output is no terminal (a SLURM log), a plain line now and then.

    Args:
        every: steps between two refreshes of the figures.
        line_every: steps between two lines where output is no terminal.
    """

    def __init__(self, every: int = 10, line_every: int = 100) -> None:
        super().__init__()
        self.every, self.line_every = every, line_every
        self.console = Console()
        self.bar: Progress | None = None
        self.task: Any = None
        self.total, self.first, self.started = 0, 0, 0.0

    def disable(self) -> None:
        """Lightning calls this on every rank but the first."""
        self.console.quiet = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar at the step the run is at."""
        self.total, self.first = int(trainer.estimated_stepping_batches), trainer.global_step
        self.started = perf_counter()
        if self.console.is_terminal:
            text = TextColumn("[bold]{task.description}")
            columns = [
                text,
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
            ]
            self.bar = Progress(*columns, TextColumn("{task.fields[figures]}"), console=self.console)
            self.task = self.bar.add_task("training", total=self.total, completed=self.first, figures="")
            self.bar.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar."""
        step = trainer.global_step
        if self.bar is not None:
            self.bar.update(self.task, completed=step)
            if step % self.every == 0:
                self.bar.update(self.task, figures=self.figures(trainer, pl_module))
        elif step % self.line_every == 0 and (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            left = (self.total - step) * (perf_counter() - self.started) / max(1, step - self.first)
            self.console.print(
                f"step {step}/{self.total}  {self.figures(trainer, pl_module)}  {left / 60:.1f} min left"
            )

    def figures(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> str:
        """What the module logged for the progress bar."""
        metrics = {name: value for name, value in self.get_metrics(trainer, pl_module).items() if name != "v_num"}
        return "  ".join(f"{name} {value:.3g}" for name, value in metrics.items() if isinstance(value, int | float))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar."""
        if self.bar is not None:
            self.bar.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Close the bar, so that the error stands below it."""
        self.on_train_end(trainer, pl_module)
