"""Write a checkpoint as a folder that others load: ``python -m mirage_pl.export ckpt=RUN out=DIR``."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from mirage_pl.engine.checkpoints.trained import load_trained
from mirage_pl.engine.seams import Exporting

MARK = "config.json"
"""A file that every export has."""


def run(cfg: DictConfig) -> Path:
    """Export a run's module, read it back as others will, and compare every tensor.

    Raises:
        ValueError: ``out`` holds something else, the stage can't be exported, or what was written doesn't load back.
    """
    out = Path(cfg.out)
    if out.exists() and not (out / MARK).is_file():
        raise ValueError(f"out={out} exists and is no earlier export; choose a new folder")
    dtype = read_dtype(cfg.dtype)
    trained = load_trained(cfg.ckpt, merged=True)
    module = trained.module.to(dtype) if dtype else trained.module
    if not isinstance(trained.module, Exporting):
        raise ValueError(f"stage={trained.config.stage.name} can't be exported: its module has no export()")
    partial = out.with_name(f"{out.name}.partial-{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        check_export(module.state_dict(), module.export(partial, trained.collator), partial)
        if out.exists():
            shutil.rmtree(out)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"exported: {out}")
    return out


def read_dtype(name: str | None) -> torch.dtype | None:
    """Return the dtype of a name, ``None`` of ``None``.

    Raises:
        ValueError: no floating-point type has that name.
    """
    dtype: Any = None if name is None else getattr(torch, str(name), None)
    if name is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise ValueError(f"dtype={name} is no type of weights; give float32, float16 or bfloat16, or null as trained")
    return dtype if name is not None else None


def check_export(weights: Mapping[str, Tensor], back: Mapping[str, Tensor], folder: Path) -> None:
    """Compare the tensors that were read back with the module's.

    Raises:
        ValueError: one is missing or differs.
    """
    if not back or not (folder / MARK).is_file():
        raise ValueError(f"{folder}: the module's export() wrote no {MARK}, or read nothing back; nothing was kept")
    for name, tensor in back.items():
        if name not in weights or not torch.equal(weights[name].cpu(), tensor.cpu()):
            raise ValueError(f"{folder}: {name} did not survive the export; nothing was kept")
