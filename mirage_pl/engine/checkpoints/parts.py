"""Weights that a strategy has split among the ranks: their shape, and all of them for a moment.

DeepSpeed's ZeRO-3 leaves an empty tensor in a weight's place and fetches it when its module is called; FSDP2 leaves a
``DTensor``. Whatever reads weights otherwise, or looks at their shapes, asks here.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from mirage_pl.engine.runs.identity import is_below


def splits_weights(strategy: Any) -> bool:
    """Whether a strategy of Lightning's leaves each rank a part of every weight."""
    return bool(getattr(strategy, "zero_stage_3", False)) or isinstance(strategy, ModelParallelStrategy)


def is_split(weight: Tensor) -> bool:
    """Whether this rank may hold only a part of a weight."""
    return hasattr(weight, "ds_id") or isinstance(weight, DTensor)


def whole_shape(weight: Tensor) -> torch.Size:
    """The shape of a weight, all parts together."""
    return torch.Size(getattr(weight, "ds_shape", weight.shape))


@contextmanager
def whole(weight: Tensor, change: bool = False) -> Iterator[Tensor]:
    """All of a weight, in the context alone; all ranks must enter together.

    Args:
        weight: a parameter or a buffer.
        change: what rank 0 makes of it is kept, on all ranks; not for a ``DTensor``.
    """
    if isinstance(weight, DTensor):
        yield weight.full_tensor()
    elif hasattr(weight, "ds_id"):
        import deepspeed

        gathered: Any = deepspeed.zero.GatheredParameters([weight], modifier_rank=0 if change else None)
        with gathered:
            yield weight.data
    else:
        yield weight.data


def leave_out(checkpoint: dict[str, Any], module: nn.Module, prefixes: Sequence[str]) -> None:
    """Take frozen weights that are fetched from another run out of a checkpoint; DeepSpeed's has none to take out.

    Raises:
        ValueError: one of them is trained, so that what it has learnt would be lost.
    """
    for name, parameter in module.named_parameters():
        if parameter.requires_grad and is_below(name, prefixes):
            raise ValueError(f"{name} is trained, but kept: false leaves it out of checkpoints; freeze it, or keep it")
    if "state_dict" in checkpoint:
        weights = checkpoint["state_dict"].items()
        checkpoint["state_dict"] = {name: weight for name, weight in weights if not is_below(name, prefixes)}
