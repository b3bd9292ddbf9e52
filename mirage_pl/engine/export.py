"""Write a checkpoint as a folder that others load: ``python -m mirage_pl.export ckpt=RUN out=DIR``."""

import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from safetensors import SafetensorError
from torch import Tensor, nn

from mirage_pl.engine.checkpoints.trained import load_trained
from mirage_pl.engine.checkpoints.weights import read_checkpoint
from mirage_pl.engine.keys import check_keys
from mirage_pl.engine.reports.card import complete_card
from mirage_pl.engine.runs.folder import CONFIG, LAST
from mirage_pl.engine.seams import Exporting

MARK = "config.json"
"""A file that every export has."""


def run(cfg: DictConfig) -> Path:
    """Export a run's module, read it back as others will, and compare every tensor.

    It is written beside its place, and moved there once it is whole and compared.

    Raises:
        ValueError: ``out`` can't be used, the stage can't be exported, or what was written doesn't load back.
    """
    check_keys(cfg, "export")
    out = Path(cfg.out)
    check_place(out, cfg.replace)
    dtype = read_dtype(cfg.dtype)
    if not re.fullmatch(r"\d+[KMG]i?B", cfg.shard_size):
        raise ValueError(f"shard_size={cfg.shard_size} is no size of a file; write it as 5GB or 500MB")
    trained = load_trained(cfg.ckpt, merged=True)
    module: Any = trained.module
    if not isinstance(trained.module, Exporting):
        raise ValueError(f"stage={trained.config.stage.name} can't be exported: its module has no export()")
    if dtype:
        convert(module, dtype)
    sizes = {weight.data_ptr(): weight.nbytes for weight in module.state_dict().values()}  # tied ones are one
    check_room(out, sum(sizes.values()))
    partial = out.with_name(f"{out.name}.partial-{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        check_export(module.state_dict(), module.export(partial, trained, cfg.shard_size), partial)
        step = int(read_checkpoint(trained.checkpoint)["global_step"])
        complete_card(partial, trained.folder, trained.checkpoint, step, cfg.dtype, " ".join(sys.argv))
        let_read(partial)
        put_in_place(partial, out)
    except (SafetensorError, OSError) as error:
        if isinstance(error, OSError) and error.errno is None:  # of a library that couldn't read it back
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"out={out} cannot be written ({reason}), nothing was kept; choose another place") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"exported: {out}")
    return out


def check_place(out: Path, replace: bool) -> None:
    """Refuse a place where something else is, or where a run is kept.

    Raises:
        ValueError: names what is there.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"out={out} is a file; give a folder that doesn't exist yet")
    for folder in out.resolve().parents:
        if (folder / CONFIG).is_file() and (folder / LAST.parent).is_dir():
            raise ValueError(
                f"out={out} lies in the run folder {folder}, which is training's own; choose another place"
            )
    if out.exists() and any(out.iterdir()):
        if not (out / MARK).is_file() or (out / CONFIG).is_file():
            raise ValueError(f"out={out} exists and is no earlier export; choose a new folder")
        if not replace:
            raise ValueError(f"out={out} holds an earlier export; choose a new folder, or replace it with replace=true")


def check_room(out: Path, size: int) -> None:
    """Refuse a disk that has no room for the weights.

    Raises:
        ValueError: says how much there is.
    """
    there = next(folder for folder in out.absolute().parents if folder.is_dir())
    if (free := shutil.disk_usage(there).free) < size:
        raise ValueError(
            f"out={out}: the weights take {size / 1e9:.2f} GB, and {there} has {free / 1e9:.2f} GB left; make room, "
            "choose another place, or write dtype=bfloat16"
        )


def let_read(folder: Path) -> None:
    """Let who may read one file read all: libraries write weights for their owner alone."""
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod((folder / MARK).stat().st_mode)


def put_in_place(partial: Path, out: Path) -> None:
    """Move a whole export to its place; an earlier one goes only then."""
    earlier = out.with_name(f"{partial.name}.earlier")
    if out.exists():
        out.rename(earlier)
    partial.rename(out)
    shutil.rmtree(earlier, ignore_errors=True)


def convert(module: nn.Module, dtype: torch.dtype) -> None:
    """Convert what is saved; buffers that aren't, such as rotary frequencies, lose too much."""
    for weight in module.state_dict(keep_vars=True).values():
        if weight.is_floating_point():
            weight.data = weight.data.to(dtype)


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
