"""Rows of some tokens, trained beside a frozen embedding and head. Reason: decision 2026-11-29-rows-of-new-tokens.

Shapes: N tokens whose rows are trained, V vocabulary, D width, ... any leading dimensions.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear

from mirage_pl.engine.checkpoints.parts import whole


class Rows(nn.Module):
    """What an embedding returns for some tokens, or a head as their logits, or both where the two are tied.

    Args:
        weight_ND: the rows at the start.
        ids: of the tokens.

    Attributes:
        off: leave the output of their owner as it is.
    """

    ids_N: Tensor
    off = False

    def __init__(self, weight_ND: Tensor, ids: Sequence[int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight_ND)
        self.register_buffer("ids_N", torch.tensor(list(ids)), persistent=False)

    def forward(self, given: Tensor) -> Tensor:
        """Compute what stands in the place of a call's output.

        Args:
            given: token ids ``[...]`` of an embedding, or hidden states ``[..., D]`` of a head.

        Returns:
            A row ``[..., D]`` for every id, whichever it is, or the logits ``[..., N]``.
        """
        if given.is_floating_point():
            return linear(given.to(self.weight.dtype), self.weight)
        return embedding((given.unsqueeze(-1) == self.ids_N).int().argmax(-1), self.weight)


def put_rows(module: Any, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """Forward hook of an embedding or a head with rows; logits are changed in place.

    Every call depends on the rows, as ranks must have the same gradients.
    """
    if module.rows.off:
        return output
    ids_N, new = module.rows.ids_N, module.rows(given[0])
    if given[0].is_floating_point():
        return output.index_copy_(-1, ids_N, new.to(output.dtype))
    is_row = (given[0].unsqueeze(-1) == ids_N).any(-1, keepdim=True)
    return torch.where(is_row, (new * getattr(module, "embed_scale", 1.0)).to(output.dtype), output)


def train_rows(words: Any, head: Any, ids: Sequence[int]) -> None:
    """Give an embedding and a head trained rows, in place; one for both if they share their weight.

    Args:
        words: an ``nn.Embedding``.
        head: a linear layer without bias, hidden states -> logits.
        ids: of the tokens.
    """
    for owner in (words, head):
        tied = owner is head and head.weight is words.weight
        owner.rows = words.rows if tied else Rows(read_rows(owner.weight, ids), ids)
        owner.register_forward_hook(put_rows)


def read_rows(weight_VD: Tensor, ids: Sequence[int]) -> Tensor:
    """A copy of some rows, in float32 or better."""
    with whole(weight_VD) as all_VD:
        rows_ND = all_VD.detach()[list(ids)].clone()
    return rows_ND.to(torch.promote_types(rows_ND.dtype, torch.float32))


def copy_rows(owner: Any) -> Tensor:
    """A copy of an embedding's or a head's weight ``[V, D]``, trained rows in place; all ranks enter together."""
    with whole(owner.weight) as weight_VD:
        copy_VD = weight_VD.detach().clone()
    if isinstance(rows := getattr(owner, "rows", None), Rows):
        with whole(rows.weight) as rows_ND:
            copy_VD[rows.ids_N] = rows_ND.detach().to(copy_VD.dtype)
    return copy_VD


@torch.no_grad()
def merge_rows(module: nn.Module) -> None:
    """Write trained rows into the weights they stand for, and take them away."""
    owners: list[Any] = [each for each in module.modules() if isinstance(getattr(each, "rows", None), Rows)]
    for owner in owners:
        rows, weight_VD = owner.rows, owner.weight
        weight_VD[rows.ids_N] = rows.weight.to(weight_VD.dtype)
        del owner.rows
        for key in [key for key, hook in owner._forward_hooks.items() if hook is put_rows]:
            del owner._forward_hooks[key]
