"""Put the weights of a ZeRO-3 checkpoint together, of which every rank has written its part.

A weight lies flat, padded, and cut into as many equal parts as there are ranks. Weights that learn are in the
optimizer's float32 copies, one behind the other in the order of ``param_shapes``; frozen ones are by name.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

FIRST = "zero_pp_rank_0_mp_rank_00_model_states.pt"
"""The part of rank 0, without the optimizer's."""


def read_part(file: Path) -> dict[str, Any]:
    """Read one file of DeepSpeed's without running code from it; its tensors stay on the disk until they are used."""
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    with torch.serialization.safe_globals([DynamicLossScaler, LossScaler, ZeroStageEnum, fragment_address]):
        part: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    return part


def read_whole_weights(folder: Path) -> dict[str, Tensor]:
    """All weights and buffers by name.

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
    for name, shape in first["frozen_param_shapes"].items():
        weights[name] = join_parts([model["frozen_param_fragments"][name] for model in models], shape)
    flats = [optim["optimizer_state_dict"]["fp32_flat_groups"] for optim in optims]
    for group, name, shape, span in list_spans(first["param_shapes"], ranks):
        weights[name] = join_parts([flat[group][span] for flat in flats], shape)
    return weights | {alias: weights[name] for alias, name in first["shared_params"].items()}


def list_spans(groups: Sequence[Mapping[str, torch.Size]], ranks: int) -> Iterator[tuple[int, str, torch.Size, slice]]:
    """Where each weight's part lies in what a rank has of a sub-group: its number, the weight's name and shape, where.

    Args:
        groups: shapes of the weights, by name, in each sub-group.
        ranks: into so many equal parts each weight is cut.
    """
    for group, shapes in enumerate(groups):
        start = 0
        for name, shape in shapes.items():
            stop = start + ceil(shape.numel() / ranks)
            yield group, name, shape, slice(start, stop)
            start = stop


def optimizer_part(folder: Path, rank: int) -> Path:
    """The optimizer's file of a rank; DeepSpeed marks those of runs in bfloat16."""
    name = f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"
    marked = folder / f"bf16_{name}"
    return marked if marked.is_file() else folder / name


def join_parts(parts: Sequence[Tensor], shape: torch.Size) -> Tensor:
    """A weight from its parts."""
    return torch.cat(list(parts))[: shape.numel()].view(shape)
