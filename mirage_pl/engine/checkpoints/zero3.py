"""Read the weights of a ZeRO-3 checkpoint, which every rank wrote a part of.

A weight is flattened, padded, and cut into one equal part per rank. Trained weights are in the optimizer's float32
copies, concatenated in the order of ``param_shapes``; frozen ones are stored by name.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

FIRST = "zero_pp_rank_0_mp_rank_00_model_states.pt"
"""Rank 0's part of the model."""


def read_part(file: Path) -> dict[str, Any]:
    """Read one of DeepSpeed's files without running code from it; tensors are memory-mapped."""
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    with torch.serialization.safe_globals([DynamicLossScaler, LossScaler, ZeroStageEnum, fragment_address]):
        part: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    return part


def read_whole_weights(folder: Path) -> dict[str, Tensor]:
    """All weights and buffers by name, without frozen ones if they were left out.

    Args:
        folder: of the ranks' files.

    Raises:
        FileNotFoundError: a rank's part is missing.
    """
    ranks = read_part(folder / FIRST)["dp_world_size"]
    models = [read_part(folder / f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt") for rank in range(ranks)]
    optims = [read_part(optimizer_part(folder, rank)) for rank in range(ranks)]
    first = models[0]
    weights: dict[str, Tensor] = {name: first["module"][name] for name in first["buffer_names"]}
    for name, shape in (first["frozen_param_shapes"] or {}).items():
        weights[name] = join_parts([model["frozen_param_fragments"][name] for model in models], shape)
    flats = [optim["optimizer_state_dict"]["fp32_flat_groups"] for optim in optims]
    for group, name, shape, span in list_spans(first["param_shapes"], ranks):
        weights[name] = join_parts([flat[group][span] for flat in flats], shape)
    return weights | {alias: weights[name] for alias, name in first["shared_params"].items() if name in weights}


def list_spans(groups: Sequence[Mapping[str, torch.Size]], ranks: int) -> Iterator[tuple[int, str, torch.Size, slice]]:
    """Yield sub-group, name, shape and slice of each weight's part in a rank's flat tensor of the sub-group.

    Args:
        groups: shapes of the weights, by name, in each sub-group.
        ranks: number of equal parts of a weight.
    """
    for group, shapes in enumerate(groups):
        start = 0
        for name, shape in shapes.items():
            stop = start + ceil(shape.numel() / ranks)
            yield group, name, shape, slice(start, stop)
            start = stop


def optimizer_part(folder: Path, rank: int) -> Path:
    """A rank's optimizer file, whose name has a prefix in bfloat16 runs."""
    name = f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"
    marked = folder / f"bf16_{name}"
    return marked if marked.is_file() else folder / name


def join_parts(parts: Sequence[Tensor], shape: torch.Size) -> Tensor:
    """A weight from its parts."""
    return torch.cat(list(parts))[: shape.numel()].view(shape)
