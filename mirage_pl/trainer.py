"""Lightning's Trainer, whose checkpoints are whole or not there, whatever kills it in the middle."""

import shutil
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.plugins import TorchCheckpointIO


class Trainer(pl.Trainer):
    """Writes every checkpoint beside its place; when all ranks have written, rank 0 renames it."""

    def save_checkpoint(self, filepath: Any, weights_only: bool | None = None, storage_options: Any = None) -> None:
        """Save as Lightning does, but leave the checkpoint of before until this one is whole.

        Raises:
            ValueError: it can't be written, because the disk is full, say.
        """
        path = Path(filepath)
        beside = path.with_name(f"{path.name}.partial")
        try:
            super().save_checkpoint(beside, bool(weights_only), storage_options)
        except (OSError, RuntimeError) as error:
            remove(beside)
            raise ValueError(
                f"checkpoint {path} could not be written ({error}); the one before is whole: make room, then the same "
                "command goes on from it"
            ) from error
        if self.is_global_zero:
            replace(beside, path)
        self.strategy.barrier()


class Files(TorchCheckpointIO):
    """Writes a plain checkpoint straight to its file; Lightning builds it in memory and moves it in by way of /tmp."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write, with nothing held in memory twice."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            torch.save(checkpoint, file)


def plugins() -> list[Any]:
    """What our Trainer takes: ``Files``, and under SLURM nothing that queues again: ``callbacks.preemption`` does."""
    slurm = SLURMEnvironment.detect() and not TorchElasticEnvironment.detect()  # in this order Lightning looks, too
    return [Files(), *([SLURMEnvironment(auto_requeue=False)] if slurm else [])]


def replace(new: Path, old: Path) -> None:
    """Put a file or a folder (DeepSpeed's checkpoints are folders) in another's place.

    A folder can't be renamed onto another: the old one stands aside for a moment, where ``runs.last_checkpoint`` looks.
    """
    if new.is_file() and not old.is_dir():
        new.replace(old)
        return
    aside = old.with_name(f"{old.name}.old")
    remove(aside)
    if old.exists():
        old.rename(aside)
    new.rename(old)
    remove(aside)


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
