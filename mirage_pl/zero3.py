"""Put the weights of a ZeRO-3 checkpoint together, of which every rank has written its part.

A weight lies flat, padded, and cut into as many equal parts as there are ranks. Weights that learn are in the
optimizer's float32 copies, one behind the other in the order of ``param_shapes``; frozen ones are by name.
"""

from collections.abc import Sequence
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


def whole_weights(folder: Path) -> dict[str, Tensor]:
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
        weights[name] = joined([model["frozen_param_fragments"][name] for model in models], shape)
    flats = [optim["optimizer_state_dict"]["fp32_flat_groups"] for optim in optims]
    group, start = 0, 0
    for name, shape in (item for shapes in first["param_shapes"] for item in shapes.items()):
        if start == len(flats[0][group]):
            group, start = group + 1, 0
        stop = start + ceil(shape.numel() / ranks)
        weights[name] = joined([flat[group][start:stop] for flat in flats], shape)
        start = stop
    return weights | {alias: weights[name] for alias, name in first["shared_params"].items()}


def optimizer_part(folder: Path, rank: int) -> Path:
    """The optimizer's file of a rank; DeepSpeed marks those of runs in bfloat16."""
    name = f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"
    marked = folder / f"bf16_{name}"
    return marked if marked.is_file() else folder / name


def joined(parts: Sequence[Tensor], shape: torch.Size) -> Tensor:
    """A weight from its parts."""
    return torch.cat(list(parts))[: shape.numel()].view(shape)
