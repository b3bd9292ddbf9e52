"""Describe latents during training: are they alike, do they carry their image, what do they see?"""

from random import Random
from typing import Any

import pytorch_lightning as pl
import torch

from callbacks.showing import show_picture


class Latents(pl.Callback):
    """At each validation answer the same few samples and log numbers about their latents; draw them after training.

    The module answers and describes. Every process answers all of the samples, since the latents are compared with each
    other. A module without ``interventions``, and a collator that leaves latents out, are left alone.

    Args:
        num_rows: samples to answer, drawn from the validation set once and for all.
        num_shown: of them, how many to draw.
        max_new_tokens: columns decoded at most.
    """

    def __init__(self, num_rows: int, num_shown: int, max_new_tokens: int) -> None:
        self.num_rows, self.num_shown, self.max_new_tokens = num_rows, num_shown, max_new_tokens

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log ``latent/…``; nothing where no answer has latents."""
        probe = self.probe(trainer, pl_module)
        if probe and probe.names:
            for name, number in probe.describe().items():  # a share comes with its interval
                value = float(number["mean"] if isinstance(number, dict) else number)
                pl_module.log(f"latent/{name}", value, sync_dist=True, batch_size=self.num_rows)

    @torch.no_grad()
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw what the trained model's latents see; nothing in a run that doesn't validate."""
        probe = self.probe(trainer, pl_module.eval()) if trainer.enable_validation else None
        if probe is None:
            return
        count = len(trainer.datamodule.datasets["val"])  # type: ignore[attr-defined]
        for name, picture in probe.pictures(range(min(self.num_shown, self.num_rows, count))):
            show_picture(trainer, f"latents/{name}", picture)

    def probe(self, trainer: pl.Trainer, pl_module: Any) -> Any:
        """Answer the samples; the module's tools to look at their latents, or ``None`` where there can't be any."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        dataset = data.datasets.get("val")
        if dataset is None or not hasattr(pl_module, "interventions") or not getattr(data.collate, "latents", True):
            return None
        picks = sorted(Random(0).sample(range(len(dataset)), min(self.num_rows, len(dataset))))
        samples = [dataset[index] for index in picks]
        generations = []
        for first in range(0, len(samples), data.loader.eval_batch_size):
            prompts = data.collate.prompts(samples[first : first + data.loader.eval_batch_size]).to(pl_module.device)
            generations.append(pl_module.generate(prompts, self.max_new_tokens))
        return pl_module.interventions(data.collate, samples, generations, max_new_tokens=self.max_new_tokens)
