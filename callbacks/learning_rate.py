"""Log the learning rate, also that of each part of the model that has its own."""

from typing import Any

import pytorch_lightning as pl


class LearningRate(pl.Callback):
    """Log ``lr``, and as ``lr/NAME`` that of parameter groups with another ``name`` than ``rest``, every
    ``trainer.log_every_n_steps``. With several optimizers the second one's is ``lr-2``, and so on.
    """

    def __init__(self) -> None:
        self.logged = -1

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Log the rates of the step that begins, once."""
        step, every = trainer.global_step, max(1, int(getattr(trainer, "log_every_n_steps", 1)))
        if step != self.logged and step % every == 0:
            self.logged = step
            for logger in trainer.loggers:
                logger.log_metrics(read_rates(trainer), step=step)


def read_rates(trainer: pl.Trainer) -> dict[str, float]:
    """Tag -> learning rate of each schedule's groups."""
    rates = {}
    for number, schedule in enumerate(trainer.lr_scheduler_configs, start=1):
        tag = "lr" if number == 1 else f"lr-{number}"
        for group in schedule.scheduler.optimizer.param_groups:
            part = group.get("name", "rest")
            rates[tag if part == "rest" else f"{tag}/{part}"] = float(group["lr"])
    return rates
