"""Answer validation samples during training: sampled success, and example answers as pictures."""

from io import StringIO
from random import Random
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger


class Generations(pl.Callback):
    """At each validation answer the same few samples, log ``val/success``, and draw some of the answers.

    The data set grades and draws; the module generates; the collator makes prompts. A module that is ``split`` has its
    weights in parts on the ranks.

    Args:
        num_scored: samples to answer, drawn from the validation set once and for all.
        num_shown: of them, how many to draw in TensorBoard: question, helper image, answer.
        max_new_tokens: columns decoded at most.
    """

    def __init__(self, num_scored: int, num_shown: int, max_new_tokens: int) -> None:
        self.num_scored, self.num_shown, self.max_new_tokens = num_scored, num_shown, max_new_tokens

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Answer, grade, draw."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        dataset = data.datasets["val"]
        count = min(self.num_scored, len(dataset))
        picks = sorted(Random(0).sample(range(len(dataset)), count))
        together = getattr(pl_module, "split", False)  # ranks with parts of the weights can only answer the same
        samples = [
            dataset[index] for index in (picks if together else picks[trainer.global_rank :: trainer.world_size])
        ]
        texts: list[str] = []
        for first in range(0, len(samples), data.loader.eval_batch_size):
            prompts = data.collate.prompts(samples[first : first + data.loader.eval_batch_size]).to(pl_module.device)
            texts += pl_module.generate(prompts, self.max_new_tokens).texts  # type: ignore[operator]
        grades = [dataset.grade(sample, text) for sample, text in zip(samples, texts, strict=True)]
        success = sum(grade.values["success"] for grade in grades) / len(grades)
        pl_module.log("val/success", success, prog_bar=True, sync_dist=True, batch_size=len(grades))
        if isinstance(trainer.logger, TensorBoardLogger) and trainer.is_global_zero:
            self._show(trainer.logger.experiment, dataset, samples, texts, trainer.global_step)

    def _show(self, board: Any, dataset: Any, samples: list[Any], texts: list[str], step: int) -> None:
        table = StringIO("| row | answer | truth |\n|---|---|---|\n")
        table.seek(0, 2)
        for number, (sample, text) in enumerate(zip(samples[: self.num_shown], texts, strict=False)):
            blocks = [part for part in sample.answer if hasattr(part, "path")]
            helpers = [block.decode(sample.where) for block in blocks if block.path.is_file()]
            panel = side_by_side([dataset.draw(sample, ""), *helpers, dataset.draw(sample, text)])
            board.add_image(f"question, helper image, answer/{number}", np.asarray(panel), step, dataformats="HWC")
            table.write(f"| {sample.where} | `{text}` | `{sample.answer_text}` |\n")
        board.add_text("answers", table.getvalue(), step)


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
