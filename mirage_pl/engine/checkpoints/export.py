"""Write a checkpoint as a Hugging Face folder: ``python -m mirage_pl.export ckpt=RUN out=DIR``."""

import os
import shutil
from pathlib import Path
from typing import Any

from omegaconf import DictConfig


def run(cfg: DictConfig) -> Path:
    """Save model and processor, load them back with stock transformers and compare every tensor.

    Raises:
        ValueError: ``out`` holds something else, or what was written doesn't load back.
    """
    import torch

    from mirage_pl.engine.checkpoints.trained import load_trained

    out = Path(cfg.out)
    if out.exists() and not (out / "config.json").is_file():
        raise ValueError(f"out={out} exists and is no earlier export; choose a new folder")
    trained = load_trained(cfg.ckpt)
    backbone = trained.module.net.backbone
    if cfg.dtype:
        backbone = backbone.to(getattr(torch, cfg.dtype))
    partial = out.with_name(f"{out.name}.partial-{os.getpid()}")
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        backbone.save_pretrained(partial)
        trained.collator.shown_processor().save_pretrained(partial)
        check_export(backbone, partial)
        if out.exists():
            shutil.rmtree(out)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"exported: {out}")
    return out


def check_export(backbone: Any, folder: Path) -> None:
    """Load an export with stock transformers and compare it tensor by tensor.

    Raises:
        ValueError: something was lost.
    """
    import torch

    back = type(backbone).from_pretrained(folder, dtype=backbone.dtype).state_dict()
    for name, tensor in backbone.state_dict().items():
        if name not in back or not torch.equal(back[name], tensor.cpu()):
            raise ValueError(f"{folder}: {name} did not survive the export; nothing was written")
