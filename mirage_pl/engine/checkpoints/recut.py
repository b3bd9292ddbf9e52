"""Reshard a DeepSpeed optimizer's state for another number of ranks.

ZeRO-1 and ZeRO-2 concatenate the weights of a group and cut the result into equal parts. ZeRO-3 cuts every weight and
concatenates a rank's parts of the weights of a sub-group; the size of sub-groups depends on the number of ranks. An
optimizer's state per weight is laid out as the float32 weights are. Parts are padded with zeros.

DeepSpeed's universal checkpoint isn't used: for ZeRO-3 it gives every group the weight decay of the first, and leaves
out frozen weights and buffers.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from math import ceil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from mirage_pl.engine.checkpoints.zero3 import FIRST, list_spans, optimizer_part, read_part

WEIGHTS = "weights"
FLAT = "single_partition_of_fp32_groups", "base_optimizer_state"
SPLIT = "fp32_flat_groups", "optimizer_state_dict"
"""Keys of weights and states, of ZeRO-1 and ZeRO-2, and of ZeRO-3."""
Piece = tuple[list[dict[str, Any]], int]
"""The old ranks' parts of a piece, by the optimizer's names, and the length of a new rank's part."""


def count_ranks(checkpoint: Path) -> int:
    """Number of ranks that wrote a checkpoint."""
    return len(list(checkpoint.glob("checkpoint/*_optim_states.pt")))


def recut_state(checkpoint: Path, engine: Any, rank: int, num_ranks: int) -> dict[str, Any]:
    """A new rank's part of the optimizer's state, in DeepSpeed's format.

    Args:
        checkpoint: DeepSpeed's folder.
        engine: DeepSpeed's, with the new number of ranks.
        rank: this rank.
        num_ranks: the new number of ranks.
    """
    folder = checkpoint / "checkpoint"
    written = [read_part(optimizer_part(folder, old))["optimizer_state_dict"] for old in range(count_ranks(checkpoint))]
    split = SPLIT[0] in written[0]
    flat_name, state_name = SPLIT if split else FLAT
    state = written[0][state_name]
    old = [
        [{WEIGHTS: flat, **part[state_name]["state"][group]} for group, flat in enumerate(part[flat_name])]
        for part in written
    ]
    if split:
        was, now = read_part(folder / FIRST)["param_shapes"], engine._get_zero_param_shapes()
        groups = list(list_split_pieces(old, was, now, num_ranks))
        owners = [engine.optimizer.sub_group_to_group_id[group] for group in range(len(groups))]
    else:
        lengths = [len(flat) for flat in engine.optimizer.single_partition_of_fp32_groups]
        groups, owners = list(list_flat_pieces(old, lengths)), list(range(len(lengths)))
    mine = [join_pieces(pieces, rank) for pieces in groups]
    param_groups = [
        of | {"params": [group for group, owner in enumerate(owners) if owner == number]}
        for number, of in enumerate(state["param_groups"])
    ]
    flats = [of.pop(WEIGHTS) for of in mine]
    state = {**state, "state": dict(enumerate(mine)), "param_groups": param_groups}
    return {**written[0], flat_name: flats, state_name: state}


def list_flat_pieces(old: Sequence[Sequence[Mapping[str, Any]]], lengths: Sequence[int]) -> Iterator[list[Piece]]:
    """The one piece of each group of ZeRO-1 and ZeRO-2; weights are written without padding, states with it.

    Args:
        old: every old rank's part of every group.
        lengths: of a new rank's part of each group.
    """
    for group, length in enumerate(lengths):
        yield [([slice_state(rank[group], slice(len(rank[group][WEIGHTS]))) for rank in old], length)]


def list_split_pieces(
    old: Sequence[Sequence[Mapping[str, Any]]],
    was: Sequence[Mapping[str, torch.Size]],
    now: Sequence[Mapping[str, torch.Size]],
    num_ranks: int,
) -> Iterator[list[Piece]]:
    """The weights of each sub-group of ZeRO-3.

    Args:
        old: every old rank's part of every sub-group.
        was: shapes of the weights, by name, in the checkpoint's sub-groups.
        now: the same for the new number of ranks.
        num_ranks: the new number of ranks.
    """
    pieces: dict[str, Piece] = {}
    for group, name, shape, span in list_spans(was, len(old)):
        pieces[name] = [slice_state(rank[group], span) for rank in old], ceil(shape.numel() / num_ranks)
    for shapes in now:
        yield [pieces[name] for name in shapes]


def slice_state(of: Mapping[str, Any], span: slice) -> dict[str, Any]:
    """A slice of every per-weight tensor; the rest, such as the number of steps, is kept whole."""
    return {name: value[span] if lies_flat(value) else value for name, value in of.items()}


def join_pieces(pieces: Sequence[Piece], rank: int) -> dict[str, Any]:
    """Concatenate a rank's parts of some pieces; the rest is copied, as optimizers change it in place."""
    (first, *_), _ = pieces[0]
    return {
        name: torch.cat([cut_span([of[name] for of in ranks], rank * length, length) for ranks, length in pieces])
        if lies_flat(value)
        else deepcopy(value)
        for name, value in first.items()
    }


def lies_flat(value: Any) -> bool:
    """Whether a value has an entry for every number of the weights."""
    return isinstance(value, Tensor) and value.dim() > 0


def cut_span(parts: Sequence[Tensor], start: int, length: int) -> Tensor:
    """``length`` numbers of the concatenated parts from ``start``, padded with zeros; the rest isn't read."""
    pieces, begin = [], 0
    for flat in parts:
        pieces.append(flat[max(0, start - begin) : max(0, start + length - begin)])
        begin += len(flat)
    span = torch.cat(pieces)
    return pad(span, (0, length - len(span)))
