"""Show what a policy did, and what it was worth, as it learns from it."""

from collections.abc import Sequence
from typing import Annotated, Any

import pytorch_lightning as pl
from annotated_types import Ge

from callbacks.showing import show_table


class Rollouts(pl.Callback):
    """Show some rollouts of a round by the loggers, those to one prompt together: ``rollouts``, a table.

    The stage has them in ``round``, with ``number``, and ``rollouts``, of which each has ``where``, ``answer``,
    ``rewards`` by part, and ``advantage``.

    Args:
        num_shown: rollouts of a table; 0: none is shown.
        every: rounds from one table to the next.
    """

    def __init__(self, num_shown: Annotated[int, Ge(0)], every: Annotated[int, Ge(1)]) -> None:
        self.num_shown, self.every, self.latest = num_shown, every, -1

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Show those of a new round."""
        made: Any = getattr(pl_module, "round", None)
        if made is None or made.number == self.latest or not trainer.is_global_zero:
            return
        self.latest = made.number
        if self.num_shown and made.number % self.every == 0:
            columns, rows = lay_out(made.rollouts[: self.num_shown])
            show_table(trainer.loggers, "rollouts", columns, rows, trainer.global_step)


def lay_out(rollouts: Sequence[Any]) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of a table of rollouts; a part of the reward that one lacks is ``None``."""
    parts = list(dict.fromkeys(name for each in rollouts for name in each.rewards))
    rows = [
        [
            each.where,
            write_answer(each.answer),
            *(each.rewards.get(name) for name in parts),
            sum(each.rewards.values()) if each.rewards else None,
            each.advantage,
        ]
        for each in rollouts
    ]
    return ["where", "answer", *parts, "reward", "advantage"], rows


def write_answer(answer: Any) -> str:
    """An answer as text; of numbers by name, each."""
    if not isinstance(answer, dict):
        return str(answer)
    return ", ".join(f"{name} {value:.4g}" for name, value in answer.items())
