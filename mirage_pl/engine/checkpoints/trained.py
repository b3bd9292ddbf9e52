"""Load a trained run: config, module with weights, collator."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from mirage_pl.engine.checkpoints.adapted import load_adapted, read_adapter
from mirage_pl.engine.checkpoints.weights import checkpoint_of, load_weights, run_of
from mirage_pl.engine.runs.config import read_config
from mirage_pl.engine.runs.folder import CONFIG
from mirage_pl.engine.runs.origins import list_aside
from mirage_pl.engine.runs.starts import Start


@dataclass(frozen=True)
class Trained:
    """A loaded checkpoint."""

    checkpoint: Path
    folder: Path
    config: DictConfig
    module: Any
    collator: Any
    device: torch.device


def load_trained(ckpt: str, accelerator: str = "cpu", merged: bool = False) -> Trained:
    """Rebuild the module of a run from its config and load its weights.

    Args:
        ckpt: run folder or checkpoint file.
        accelerator: ``auto`` (a GPU where there is one), ``cpu`` or ``gpu``.
        merged: add the run's adapter, if it has one, to the weights that it stands beside.

    Raises:
        ValueError: no checkpoint there, no run around it, or the two don't fit; or no GPU where one is asked for.
    """
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise ValueError("accelerator=gpu, but this machine has no GPU; set it to cpu or auto")
    checkpoint = checkpoint_of(ckpt)
    folder = run_of(checkpoint)
    config = read_config(folder / CONFIG)
    module: Any = instantiate(config.stage.module)
    if (adapter := read_adapter(config)) is not None:
        load_adapted(module, checkpoint, config, adapter, merged)
    else:
        load_weights(module, checkpoint, Start(fresh=list_aside(folder)))
    gpu = accelerator == "gpu" or (accelerator == "auto" and torch.cuda.is_available())
    device = torch.device("cuda" if gpu else "cpu")
    return Trained(checkpoint, folder, config, module.to(device).eval(), instantiate(config.stage.collator), device)
