"""Take the weights of a checkpoint into a module, strictly."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mirage_pl.engine.checkpoints.parts import whole, whole_shape
from mirage_pl.engine.checkpoints.zero3 import FIRST, whole_weights
from mirage_pl.engine.runs.folder import CONFIG, LAST

ZERO, ZERO3 = Path("checkpoint", "mp_rank_00_model_states.pt"), Path("checkpoint", FIRST)
"""Where DeepSpeed's ZeRO-1 and ZeRO-2 keep the whole model, and ZeRO-3 a part, in the folder that is their checkpoint.
"""


def checkpoint_of(run_or_file: str | Path) -> Path:
    """Resolve a run folder to its last checkpoint, and DeepSpeed's folder to a file; a file is returned as it is.

    Raises:
        ValueError: there is no checkpoint.
    """
    path = Path(run_or_file)
    checkpoint = path / LAST if path.is_dir() and not (path / ZERO.parent).is_dir() else path
    files = [checkpoint / ZERO, checkpoint / ZERO3] if checkpoint.is_dir() else [checkpoint]
    file = next((file for file in files if file.is_file()), files[0])
    if not file.is_file():
        hint = "no finished run is there" if path.is_dir() else "the file does not exist"
        raise ValueError(f"ckpt {run_or_file}: {hint} (looked for {file}); give a run folder or a .ckpt file")
    return file


def run_of(checkpoint: Path) -> Path:
    """The run folder a checkpoint lies in.

    Raises:
        ValueError: no folder above it holds a config.
    """
    for folder in checkpoint.resolve().parents:
        if (folder / CONFIG).is_file():
            return folder
    raise ValueError(f"ckpt {checkpoint}: no {CONFIG} in a folder above it; a checkpoint must stay in its run folder")


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Read a checkpoint of Lightning's, or of DeepSpeed's, without running code from it.

    Raises:
        ValueError: not a checkpoint, or a damaged one.
    """
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        if isinstance(checkpoint, dict) and "ds_version" in checkpoint:
            split = file.name == ZERO3.name
            checkpoint["state_dict"] = whole_weights(file.parent) if split else checkpoint["module"]
    except Exception as error:
        raise ValueError(
            f"ckpt {file} cannot be read ({type(error).__name__}); is it a checkpoint, and whole?"
        ) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise ValueError(f"ckpt {file} has no state_dict; expected a checkpoint of mirage_pl.train")
    return checkpoint


def load_weights(module: nn.Module, file: Path) -> None:
    """Copy a checkpoint's weights into ``module``; every name and shape must match.

    Raises:
        ValueError: the checkpoint is of another model.
    """
    given: dict[str, Tensor] = read_checkpoint(file)["state_dict"]
    wanted = module.state_dict(keep_vars=True)
    for name in wanted.keys() | given.keys():
        shapes = [tuple(whole_shape(state[name])) if name in state else "absent" for state in (given, wanted)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"ckpt {file} is of another model: {name} is {shapes[0]} there and {shapes[1]} here; "
                "choose the model= it was trained with"
            )
    for name, weight in wanted.items():
        with torch.no_grad(), whole(weight, change=True) as all_of_it:
            all_of_it.copy_(given[name])
