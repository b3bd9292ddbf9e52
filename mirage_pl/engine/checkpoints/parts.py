"""Sharded weights: their whole shape, and access to the whole weight.

DeepSpeed's ZeRO-3 replaces a weight with an empty tensor and gathers it when its module is called; FSDP2 replaces it
with a ``DTensor``. All other code that reads weights or their shapes uses these functions.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from mirage_pl.engine.runs.identity import is_below


@runtime_checkable
class Splits(Protocol):
    """A strategy that has to be told which modules to shard."""

    def split(self, units: Iterable[nn.Module]) -> None:
        """Shard modules, inner before outer."""


@runtime_checkable
class Gathers(Protocol):
    """A strategy that shards weights and can gather them all for a while."""

    def gathered(self) -> AbstractContextManager[None]:
        """A time in which each rank has all weights whole, and calls modules as it likes, without gradients.

        All ranks enter and leave together.
        """


def splits_weights(strategy: Any) -> bool:
    """Whether a Lightning strategy shards weights."""
    return bool(getattr(strategy, "zero_stage_3", False)) or isinstance(strategy, ModelParallelStrategy)


def is_split(weight: Tensor) -> bool:
    """Whether a weight is sharded."""
    return hasattr(weight, "ds_id") or isinstance(weight, DTensor)


def whole_shape(weight: Tensor) -> torch.Size:
    """The shape of the whole weight."""
    return torch.Size(getattr(weight, "ds_shape", weight.shape))


@contextmanager
def whole(weight: Tensor, change: bool = False) -> Iterator[Tensor]:
    """Give access to the whole weight within the context; all ranks must enter together.

    Args:
        weight: a parameter or a buffer.
        change: keep what rank 0 writes to it, on all ranks; not for a ``DTensor``.
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
    """Remove frozen weights that another run holds from a checkpoint; DeepSpeed's ``checkpoint`` has no weights.

    Raises:
        ValueError: one of them is trained and would be lost.
    """
    for name, parameter in module.named_parameters():
        if parameter.requires_grad and is_below(name, prefixes):
            raise ValueError(f"{name} is trained, but kept: false leaves it out of checkpoints; freeze it, or keep it")
    if "state_dict" in checkpoint:
        weights = checkpoint["state_dict"].items()
        checkpoint["state_dict"] = {name: weight for name, weight in weights if not is_below(name, prefixes)}
