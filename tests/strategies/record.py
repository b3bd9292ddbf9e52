"""What a process of a training run writes down for its test."""

import json
from pathlib import Path

import pytorch_lightning as pl
import torch


class Record(pl.Callback):
    """Write the loss of every optimizer step, of all ranks together, and the trained weights.

    Args:
        folder: gets ``losses.json``, ``terms.json`` (of each batch of the first rank) and ``weights.pt``.
    """

    def __init__(self, folder: str) -> None:
        self.folder, self.losses, self.parts, self.terms = Path(folder), [], [], []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.terms.append(module.terms(batch))
        self.parts.append(trainer.strategy.reduce(outputs["loss"].double(), reduce_op="mean").item())
        if len(self.parts) == trainer.accumulate_grad_batches:
            self.losses.append(sum(self.parts))
            self.parts = []

    def on_train_end(self, trainer, module):
        if trainer.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "losses.json").write_text(json.dumps(self.losses))
            (self.folder / "terms.json").write_text(json.dumps(self.terms))
            torch.save(module.state_dict(), self.folder / "weights.pt")
