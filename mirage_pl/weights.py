"""Take the weights of a checkpoint into a module, strictly."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mirage_pl.runs import CONFIG, LAST

ZERO = Path("checkpoint", "mp_rank_00_model_states.pt")
"""Where DeepSpeed's ZeRO-1 and ZeRO-2 keep the whole model, in the folder that is their checkpoint."""


def checkpoint_of(run_or_file: str | Path) -> Path:
    """Resolve a run folder to its last checkpoint, and DeepSpeed's folder to its file; a file is returned as it is.

    Raises:
        ValueError: there is no checkpoint.
    """
    path = Path(run_or_file)
    checkpoint = path / LAST if path.is_dir() and not (path / ZERO).is_file() else path
    file = checkpoint / ZERO if checkpoint.is_dir() else checkpoint
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
    except Exception as error:
        raise ValueError(
            f"ckpt {file} cannot be read ({type(error).__name__}); is it a checkpoint, and whole?"
        ) from error
    if isinstance(checkpoint, dict) and "ds_version" in checkpoint:
        checkpoint["state_dict"] = checkpoint["module"]
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise ValueError(f"ckpt {file} has no state_dict; expected a checkpoint of mirage_pl.train")
    return checkpoint


def load_weights(module: nn.Module, file: Path) -> None:
    """Copy a checkpoint's weights into ``module``; every name and shape must match.

    Raises:
        ValueError: the checkpoint is of another model.
    """
    given: dict[str, Tensor] = read_checkpoint(file)["state_dict"]
    wanted = module.state_dict()
    for name in wanted.keys() | given.keys():
        shapes = [tuple(state[name].shape) if name in state else "absent" for state in (given, wanted)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"ckpt {file} is of another model: {name} is {shapes[0]} there and {shapes[1]} here; "
                "choose the model= it was trained with"
            )
    module.load_state_dict(given)
