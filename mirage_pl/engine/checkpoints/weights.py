"""Load the weights of a checkpoint into a module, strictly: all of them, or a named part."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from zipfile import ZipFile, is_zipfile

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from mirage_pl.engine.checkpoints.parts import whole, whole_shape
from mirage_pl.engine.checkpoints.zero3 import FIRST, read_whole_weights
from mirage_pl.engine.place import CONF
from mirage_pl.engine.runs.config import read_config
from mirage_pl.engine.runs.folder import CONFIG, LAST
from mirage_pl.engine.runs.identity import is_below
from mirage_pl.engine.runs.origins import locate_unkept
from mirage_pl.engine.runs.starts import Start

ZERO, ZERO3 = Path("checkpoint", "mp_rank_00_model_states.pt"), Path("checkpoint", FIRST)
"""In DeepSpeed's checkpoint folder: the whole model of ZeRO-1 and ZeRO-2, and rank 0's part of ZeRO-3."""
CHECKED = 2**31
"""Bytes up to which a checkpoint's checksums are verified, which takes a second or two."""


@runtime_checkable
class Fitting(Protocol):
    """A module of a family that can begin with weights of a model made for more, such as for more frames."""

    def fit_weights(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return weights of another run, by their names here, cut to fit; ``ValueError`` if they can't be."""


def checkpoint_of(run_or_file: str | Path) -> Path:
    """Resolve a run folder to its last checkpoint, and DeepSpeed's folder to a file; a file is returned as it is.

    Raises:
        ValueError: there is no checkpoint.
    """
    path = Path(run_or_file)
    checkpoint = path / LAST if path.is_dir() and not (path / ZERO.parent).is_dir() else path
    files = [checkpoint / ZERO, checkpoint / ZERO3] if checkpoint.is_dir() else [checkpoint]
    file = next((file for file in files if file.is_file()), files[0])
    if not file.is_file() and (path / "config.json").is_file():
        raise ValueError(
            f"ckpt {run_or_file} is a model of a stock library, not a run; python -m mirage_pl.train with "
            f"model.path={run_or_file} and trainer.max_steps=0 makes a run of it"
        )
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
            checkpoint["state_dict"] = read_whole_weights(file.parent) if split else checkpoint["module"]
    except Exception as error:
        raise ValueError(f"ckpt {file} cannot be read: {explain_unreadable(file, error)}") from error
    status = file.stat()
    if part := find_damage(file, status.st_mtime_ns, status.st_size):
        raise ValueError(f"ckpt {file} cannot be read: {part} in it is damaged")
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise ValueError(
            f"ckpt {file} has no state_dict, so it is no checkpoint of mirage_pl.train; weights of stock libraries go "
            "into a model by its own keys, such as model.path"
        )
    return checkpoint


@lru_cache
def find_damage(file: Path, written: int, size: int) -> str | None:
    """The first part of a checkpoint whose checksum is wrong; ``None`` if there is none, or if the file is large.

    Args:
        file: the checkpoint.
        written: when it was, in nanoseconds; it is checked once.
        size: in bytes.
    """
    if size > CHECKED or not is_zipfile(file):
        return None
    with ZipFile(file) as parts:
        return parts.testzip()


def explain_unreadable(file: Path, error: Exception) -> str:
    """Why a file can't be read as a checkpoint."""
    if file.is_dir():
        return "it is a folder"
    if file.suffix == ".safetensors":
        return "it holds weights of a stock library, not a checkpoint of mirage_pl.train"
    if file.stat().st_size == 0:
        return "it is empty"
    if "Weights only load failed" in str(error) and "Unsupported" in str(error):
        return "it holds objects that aren't plain values and tensors, so it isn't a checkpoint of mirage_pl.train"
    return f"it is damaged, or no checkpoint ({type(error).__name__})"


def read_weights(file: Path) -> dict[str, Tensor]:
    """All weights of a checkpoint by name: also those that only its starts hold, and an adapter's merged.

    Raises:
        ValueError: it, or a run that it needs, can't be read.
    """
    weights: dict[str, Tensor] = dict(read_checkpoint(file)["state_dict"])
    try:
        folder = run_of(file)
    except ValueError:  # a file outside a run folder; missing weights are refused by name
        return weights
    if OmegaConf.select(config := read_config(folder / CONFIG), "lora"):
        from mirage_pl.engine.checkpoints.adapted import read_merged  # it loads with what is in this file

        return read_merged(file, config)
    for start, run in locate_unkept(folder).values():
        weights = take_part(read_weights(checkpoint_of(run)), start) | weights
    return weights


def take_part(weights: Mapping[str, Tensor], start: Start) -> dict[str, Tensor]:
    """The weights that a start takes, renamed to their place in this run."""
    ends = {name: name.removeprefix(start.take).removeprefix(".") for name in weights if is_below(name, [start.take])}
    return {".".join(filter(None, (start.into, end))): weights[name] for name, end in ends.items()}


def load_weights(module: nn.Module, file: Path, start: Start | None = None) -> None:
    """Copy a checkpoint's weights into ``module``; names and shapes must match, except below ``fresh``.

    Args:
        module: receives them.
        file: the checkpoint.
        start: the part to take and its place; ``None``: everything, unchanged.

    Raises:
        ValueError: the checkpoint is of another model.
    """
    start = start or Start()
    checkpoint = read_weights(file)
    weights = take_part(checkpoint, start)
    if isinstance(module, Fitting):
        weights = module.fit_weights(weights)
    own = module.state_dict(keep_vars=True)
    check_names(start, checkpoint, own, module)
    copy_weights({name: weight for name, weight in own.items() if is_below(name, [start.into])}, weights, file, start)


def copy_weights(targets: Mapping[str, Tensor], weights: Mapping[str, Tensor], file: Path, start: Start) -> None:
    """Copy weights by name; all must be there in the same shape, except below the start's ``fresh``.

    Args:
        targets: receive them; all ranks give them in the same order.
        weights: those of a checkpoint.
        file: the checkpoint.
        start: says what is fresh.

    Raises:
        ValueError: the checkpoint is of another model.
    """
    differing = [name for name in {**targets, **weights} if shape_of(weights, name) != shape_of(targets, name)]
    fresh = {name for name in differing if name in targets and is_below(name, start.fresh)}
    if mismatches := [name for name in differing if name not in fresh]:
        name = mismatches[0]
        more = f" (and {len(mismatches) - 1} more)" if len(mismatches) > 1 else ""
        raise ValueError(
            f"ckpt {file} is of another model{describe_origin(file)}: {name} is {shape_of(weights, name)} there and "
            f"{shape_of(targets, name)} here{more}; choose {name_choices(name)} it was trained with ({CONFIG} beside "
            "its checkpoints), or name in stage.starts what is taken and what is fresh"
        )
    for name in [name for name in targets if name not in fresh]:
        with torch.no_grad(), whole(targets[name], change=True) as weight:
            weight.copy_(weights[name])


def check_rest(module: nn.Module, file: Path, apart: Iterable[str]) -> None:
    """Refuse a run's own checkpoint if it lacks weights besides those that its starts hold.

    Raises:
        ValueError: names the first weight.
    """
    held = read_checkpoint(file)["state_dict"]
    if lacking := [name for name in module.state_dict() if name not in held and not is_below(name, apart)]:
        raise ValueError(f"ckpt {file} lacks {lacking[0]} (and {len(lacking) - 1} more); it is of another model")


def check_names(start: Start, checkpoint: Mapping[str, Tensor], own: Mapping[str, Tensor], module: nn.Module) -> None:
    """Refuse prefixes that match nothing; a part that a module may have and this one hasn't may be named as fresh.

    Raises:
        ValueError: names the prefix, and what there is.
    """
    for key, prefix, names in (("take", start.take, checkpoint), ("into", start.into, own)):
        if not any(is_below(name, [prefix]) for name in names):
            raise ValueError(f"{key}={prefix} of the start matches no weight; there are {list_prefixes(names)}")
    for prefix in start.fresh:
        if not any(is_below(name, [prefix]) for name in own) and not has_part(module, prefix):
            there = list_prefixes(own)
            raise ValueError(f"fresh={prefix} of the start matches no weight of this model; it has {there}")


def has_part(module: nn.Module, name: str) -> bool:
    """Whether a module has an attribute at a dotted name, if only ``None``: a head that this one does without."""
    *parents, last = name.split(".")
    for parent in parents:
        module = getattr(module, parent, None)  # type: ignore[assignment]
    return hasattr(module, last)


def name_choices(weight: str) -> str:
    """Name the choices that a weight's shape may depend on: first the group of the part it is in, if there is one."""
    groups = [part for part in weight.split(".")[:-1] if (CONF / part).is_dir()]
    return f"the {', '.join(f'{group}=' for group in [*groups, 'stage', 'model'])} and the options of the model"


def describe_origin(file: Path) -> str:
    """Stage and model of a checkpoint in words; empty if its run's config can't be read."""
    try:
        config = read_config(run_of(file) / CONFIG)
    except ValueError:
        return ""
    names = {key: OmegaConf.select(config, f"{key}.name") for key in ("stage", "model")}
    return f" ({' '.join(f'{key}={name}' for key, name in names.items())})"


def shape_of(weights: Mapping[str, Tensor], name: str) -> tuple[int, ...] | str:
    """The shape of a weight, or ``absent``."""
    return tuple(whole_shape(weights[name])) if name in weights else "absent"


def list_prefixes(names: Iterable[str]) -> str:
    """The first two parts of weights' names."""
    return ", ".join(sorted({".".join(name.split(".")[:2]) for name in names})) or "none"
