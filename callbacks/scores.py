"""Score validation items during training: measures, numbers about the model, and some items to look at."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import Random
from typing import Annotated, Any

import pytorch_lightning as pl
import torch
from annotated_types import Ge
from PIL import Image
from pytorch_lightning.callbacks import ModelCheckpoint

from callbacks.showing import show_picture, show_table

OWN = "own"
HIDDEN = ("id",)
"""Columns of a row that aren't shown."""


class Scores(pl.Callback):
    """At each validation score the same few items, and log ``val/MEASURE`` and numbers about the model.

    Rank 0 scores. Where ranks hold parts of the weights (``module.split``) all of them run the same, and the scores of
    rank 0 count.

    Args:
        evaluation: what evaluates trained runs too, with ``measures``, ``name``, ``numbers_in`` and ``open``; ``None``:
            nothing is scored.
        num_items: items to score, drawn from the validation set once and for all.
        num_shown: items that the loggers show, and for which pictures of the model's inside are drawn after training.
        numbers: first part of the numbers' tags.
    """

    def __init__(
        self, evaluation: Any, num_items: Annotated[int, Ge(0)], num_shown: Annotated[int, Ge(0)], numbers: str
    ) -> None:
        self.evaluation, self.num_items, self.num_shown, self.numbers = evaluation, num_items, num_shown, numbers
        self.scored: tuple[int, Any] | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Set the direction of checkpoints that are chosen by a measure."""
        measures = self.evaluation.measures if self.evaluation is not None else {}
        modes = {f"val/{name}": measure.better for name, measure in measures.items()}
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.monitor in modes:
                higher = modes[callback.monitor] == "higher"
                callback.mode = "max" if higher else "min"
                callback.kth_value = torch.tensor(float("-inf" if higher else "inf"))

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Score, log, show."""
        dataset = self.find_dataset(trainer)
        if dataset is None or trainer.sanity_checking:
            return
        logged: tuple[dict[str, float], dict[str, float]] = ({}, {})
        if self.takes_part(trainer, pl_module):
            trial, rows = self.score(trainer, pl_module)
            self.scored = trainer.global_step, trial
            logged = self.measure(trial, rows), read_numbers(trial.describe())
            if trainer.is_global_zero:
                self.show_items(trainer, trial, rows)
        values, numbers = trainer.strategy.broadcast(logged)
        for place, (name, value) in enumerate(values.items()):
            pl_module.log(f"val/{name}", value, prog_bar=place == 0, sync_dist=True, batch_size=self.num_items)
        for name, value in numbers.items():
            pl_module.log(f"{self.numbers}/{name}", value, sync_dist=True, batch_size=self.num_items)

    @torch.no_grad()
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw pictures of the trained model's inside for some items; nothing in a run without validation."""
        if self.find_dataset(trainer) is None or not trainer.enable_validation:
            return
        if not self.takes_part(trainer, pl_module):
            return
        with evaluating(pl_module):
            if self.scored is None or self.scored[0] != trainer.global_step:
                self.scored = trainer.global_step, self.score(trainer, pl_module)[0]
            for name, drawn in self.scored[1].pictures(range(min(self.num_shown, len(self.pick(trainer))))):
                if trainer.is_global_zero:
                    show_picture(
                        trainer.loggers, f"{self.evaluation.numbers_in}/{name}", as_picture(drawn), trainer.global_step
                    )

    def find_dataset(self, trainer: pl.Trainer) -> Any:
        """The validation set; ``None`` where there is nothing to score."""
        return None if self.evaluation is None else trainer.datamodule.datasets.get("val")  # type: ignore[attr-defined]

    def takes_part(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> bool:
        """Whether this process scores."""
        return trainer.is_global_zero or bool(getattr(pl_module, "split", False))

    def pick(self, trainer: pl.Trainer) -> list[int]:
        """Indices of the items, the same at each validation."""
        count = len(self.find_dataset(trainer))
        return sorted(Random(0).sample(range(count), min(self.num_items, count)))

    def score(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> tuple[Any, list[dict[str, Any]]]:
        """Score the items with the model as it is now."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        trial = self.evaluation.open(pl_module, data, lambda name, make: make(), "val", self.pick(trainer))
        return trial, [row for batch in trial.score(OWN) for row in batch]

    def measure(self, trial: Any, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """The mean of each measure over the items that have a value, without those that say nothing of them."""
        values = dict(trial.over_all(OWN, rows)) if rows else {}
        for name, measure in self.evaluation.measures.items():
            scores = [float(row[name]) for row in rows if measure.kind != "set" and row.get(name) is not None]
            if scores:
                values[name] = sum(scores) / len(scores)
        return {
            name: float(values[name])
            for name in self.evaluation.measures
            if name in values and name not in trial.hidden
        }

    def show_items(self, trainer: pl.Trainer, trial: Any, rows: Sequence[Mapping[str, Any]]) -> None:
        """Show some items: pictures side by side, and a table of what the rows say."""
        shown = rows[: self.num_shown]
        for number, row in enumerate(shown):
            if panels := [as_picture(drawn) for _, drawn in draw_row(trial, row)]:
                show_picture(
                    trainer.loggers, f"{self.evaluation.name}/{number}", side_by_side(panels), trainer.global_step
                )
        columns = [name for name in (shown[0] if shown else ()) if name not in (*HIDDEN, *trial.hidden)]
        cells = [[row.get(name) for name in columns] for row in shown]
        show_table(trainer.loggers, self.evaluation.name, columns, cells, trainer.global_step)


@contextmanager
def evaluating(module: pl.LightningModule) -> Iterator[None]:
    """Switch a module to evaluation mode, and back to its former mode afterwards."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


def draw_row(trial: Any, row: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Pictures of a row; a row that can't be drawn has none and a warning, as training goes on."""
    try:
        return list(trial.draw(row))
    except Exception as error:
        pl.utilities.rank_zero_warn(f"{row['where']} can't be drawn: {type(error).__name__} {error}")
        return []


def read_numbers(described: Mapping[str, Any]) -> dict[str, float]:
    """Numbers about the model; a share comes with its interval, which curves don't show."""
    return {name: float(number["mean"] if isinstance(number, dict) else number) for name, number in described.items()}


def as_picture(drawn: Any) -> Image.Image:
    """A picture; of a clip, its frames side by side."""
    return drawn if isinstance(drawn, Image.Image) else side_by_side(list(drawn))


def side_by_side(images: list[Image.Image], gap: int = 6) -> Image.Image:
    """Paste images in a row, at least 160 pixels high each, on white."""
    scaled = [image.convert("RGB").resize(_enlarged(image.size), Image.Resampling.NEAREST) for image in images]
    width = sum(image.width + gap for image in scaled) - gap
    panel = Image.new("RGB", (width, max(image.height for image in scaled)), "white")
    left = 0
    for image in scaled:
        panel.paste(image, (left, 0))
        left += image.width + gap
    return panel


def _enlarged(size: tuple[int, int]) -> tuple[int, int]:
    times = max(1, -(-160 // size[1]))
    return size[0] * times, size[1] * times
