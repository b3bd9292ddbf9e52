"""A family of a few weights that draws wherever one can draw, and runs of it in this process."""

import random
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn

from data_modules.loading.datamodule import DataModule
from data_modules.loading.loader import Loading
from mirage_pl.engine.checkpoints.saving import Files
from mirage_pl.engine.training.base import BaseModule
from mirage_pl.engine.training.lightning import name_stop_iterations
from mirage_pl.engine.training.optim import warmup

LAST = "last.ckpt"


class Rows:
    """Noisy rows: what a row holds is drawn when it is read."""

    def __init__(self, size=10):
        self.size = size

    def __len__(self):
        return self.size

    def identities(self):
        return {}

    def __getitem__(self, index):
        drawn = random.random() + np.random.rand() + torch.rand(()).item()
        return SimpleNamespace(where=f"rows:{index + 1}", x=index + 0.1 * drawn)


@dataclass
class Batch:
    samples: list
    x: torch.Tensor

    def __len__(self):
        return len(self.samples)

    def to(self, device, **_):
        return Batch(self.samples, self.x.to(device))


def places_of(batch):
    """Which rows of the data a batch has, as numbers from 1: nothing of them is drawn."""
    return torch.tensor([float(sample.where.split(":")[1]) for sample in batch.samples])


def collate(samples):
    x = torch.tensor([sample.x for sample in samples])
    return Batch(samples, x + 0.1 * torch.rand(len(x)) + 0.1 * random.random())


def widths(sample):
    return (1 + int(sample.x) % 3,)


collate.widths = widths


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(1, 8), nn.Linear(8, 1)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        return self.outer(self.dropout(torch.tanh(self.inner(x[:, None] / 10))))[:, 0]


class Module(BaseModule):
    """Two losses, dropout and noise; ``fault`` is called on the losses of every batch."""

    fault = staticmethod(lambda module, losses, batch: losses)

    def losses(self, batch):
        guess = self.net(batch.x) + 0.1 * torch.randn(len(batch))
        self.observe({"spread": guess.detach().std(correction=0)})
        losses = {"near": (guess - batch.x).square().mean(), "small": guess.abs().mean()}
        return self.fault(self, losses, batch)


def new_module(kind=Module, **options):
    torch.manual_seed(0)
    optimizer = lambda groups: torch.optim.AdamW(groups, lr=1e-2)  # noqa: E731
    schedule = lambda optimizer, steps: warmup(optimizer, steps, 2, "cosine", 0.1)  # noqa: E731
    options = {
        "loss_weights": {"near": 1.0, "small": [0.0, 1.0]},
        "optimizer": optimizer,
        "schedule": schedule,
    } | options
    module = kind(Net(), weight_decay=0.1, **options)
    module.seed = 7
    return module


class Stopped(Exception):
    """The run was killed."""


class Recorder(pl.Callback):
    """The rows and losses of every batch; kills the run after a batch, after saving or not.

    Args:
        stop: batches, counted in this process.
        save: whether to save then.
    """

    def __init__(self, folder, stop=0, save=True):
        self.folder, self.stop, self.save = folder, stop, save
        self.batches, self.seen = [], 0

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        loss = outputs["loss"].item() if outputs and "loss" in outputs else None
        self.batches.append((trainer.global_step, [sample.where for sample in batch.samples], batch.x.tolist(), loss))
        self.seen += 1
        if self.seen == self.stop:
            if self.save:
                trainer.save_checkpoint(self.folder / LAST, weights_only=False)
            raise Stopped


class Kill(pl.Callback):
    """Kill the run in a hook, at the so-manieth call."""

    def __init__(self, hook, call):
        self.calls = call

        def kill(*_):
            self.calls -= 1
            if not self.calls:
                raise Stopped

        setattr(self, hook, kill)


def new_data(size=10, val=4, rows=Rows, **loading):
    files = {"train": size, "val": val, "test": None}
    loading = Loading(**{"batch_size": 3, "eval_batch_size": 3} | loading)
    return DataModule(SimpleNamespace(read=rows), files, collate, loading, 3)


def train(folder, module=None, data=None, callbacks=(), resume=False, **options):
    """Train; returns the trainer."""
    options = {"max_epochs": -1, "check_val_every_n_epoch": None, "num_sanity_val_steps": 0} | options
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    kept = {"enable_checkpointing": any(isinstance(c, pl.callbacks.ModelCheckpoint) for c in callbacks)}
    trainer = pl.Trainer(
        **quiet, **kept, **options, callbacks=list(callbacks), plugins=[Files()], use_distributed_sampler=False,
        default_root_dir=folder,
    )  # fmt: skip
    name_stop_iterations(trainer)
    module, data = module or new_module(), data or new_data()
    last = folder / LAST
    trainer.fit(module.train(), data, ckpt_path=last if resume and last.exists() else None, weights_only=True)
    return trainer


def weights_of(trainer):
    return {name: value.clone() for name, value in trainer.lightning_module.state_dict().items()}


def same(weights, others):
    return weights.keys() == others.keys() and all(torch.equal(weights[name], others[name]) for name in weights)
