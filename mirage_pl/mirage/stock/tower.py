"""A faster stock vision tower: one attention call for all chunks of one length, patches embedded by one product.

A batch's images are concatenated into one row of patches, cut into chunks (windows or whole images) that attend only to
themselves. Stock SDPA attention loops over the chunks in Python, so many small images cost many tiny calls in every
layer. Here chunks of equal length become the batch dimension of one call. The weights are those of the stock modules,
so checkpoints and exports don't change. Flash attention has its own kernel for packed chunks.

Shapes: P patches of the batch, W the tower's width, H heads, E width of a head, C chunks of one length, L that length.
"""

from collections import OrderedDict
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import apply_rotary_pos_emb_vision


class Grouping(NamedTuple):
    """How to bring chunks of equal length together.

    Attributes:
        shapes: ``(C, L)`` for every distinct length.
        order_P: indices of the patches, group after group; ``None`` if they are in this order already.
        back_P: the inverse of ``order_P``.
    """

    shapes: list[tuple[int, int]]
    order_P: Tensor | None = None
    back_P: Tensor | None = None


# Tensors hash by identity: all layers of a pass get the same object and share one grouping (and one device sync), and
# the cache keeps its keys alive, so that no later tensor has the same identity. Four entries: windows and whole images,
# of input and helper images, in case gradient checkpointing needs them again.
@lru_cache(maxsize=4)
def group_chunks(cu_seqlens: Tensor) -> Grouping:
    """Group chunks by length.

    Args:
        cu_seqlens: where each chunk starts, from 0, and P at the end.
    """
    starts_by_length: dict[int, list[int]] = {}
    for start, stop in pairwise(cu_seqlens.tolist()):
        starts_by_length.setdefault(stop - start, []).append(start)
    shapes = [(len(starts), length) for length, starts in starts_by_length.items()]
    in_order = [start for starts in starts_by_length.values() for start in starts]
    if in_order == sorted(in_order):
        return Grouping(shapes)
    pieces_CL = [torch.tensor(s).unsqueeze(1) + torch.arange(length) for length, s in starts_by_length.items()]
    order_P = torch.cat([piece_CL.flatten() for piece_CL in pieces_CL])
    return Grouping(shapes, order_P.to(cu_seqlens.device), order_P.argsort().to(cu_seqlens.device))


class GroupedVisionAttention(nn.Module):
    """The tower's attention, computed for all chunks of one length at once.

    Args:
        stock: the ``Qwen2_5_VLVisionAttention`` whose weights it uses.
    """

    def __init__(self, stock: Any) -> None:
        super().__init__()
        self.qkv, self.proj = stock.qkv, stock.proj
        self.num_heads, self.scaling = stock.num_heads, stock.scaling

    def forward(
        self,
        hidden_states: Tensor,
        cu_seqlens: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        max_seqlen: int | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Every patch attends to its own chunk; the parameters are named as the stock block passes them.

        Args:
            hidden_states: ``[P, W]``.
            cu_seqlens: where each chunk starts, and P at the end.
            position_embeddings: cosine and sine of the rotary angles, ``[P, E]`` each.
            max_seqlen: for flash attention; unused here, as is ``kwargs``.

        Returns:
            ``[P, W]``.
        """
        grouping, tensors = group_chunks(cu_seqlens), [hidden_states, *position_embeddings]
        if grouping.order_P is not None:
            tensors = [tensor.index_select(0, grouping.order_P) for tensor in tensors]
        hidden_PW, cos_PE, sin_PE = tensors
        query_PHE, key_PHE, value_PHE = self.qkv(hidden_PW).unflatten(-1, (3, self.num_heads, -1)).unbind(1)
        query_PHE, key_PHE = apply_rotary_pos_emb_vision(query_PHE, key_PHE, cos_PE, sin_PE)
        sizes = [count * length for count, length in grouping.shapes]
        groups = zip(grouping.shapes, *(each.split(sizes) for each in (query_PHE, key_PHE, value_PHE)), strict=True)
        mixed_PW = torch.cat([self.attend(shape, *group) for shape, *group in groups])
        if grouping.back_P is not None:
            mixed_PW = mixed_PW.index_select(0, grouping.back_P)
        return self.proj(mixed_PW)

    def attend(self, shape: tuple[int, int], *query_key_value: Tensor) -> Tensor:
        """Attend within C consecutive chunks of length L: ``[C * L, H, E]`` -> ``[C * L, W]``."""
        query_CHLE, key_CHLE, value_CHLE = (each.unflatten(0, shape).transpose(1, 2) for each in query_key_value)
        mixed_CHLE = functional.scaled_dot_product_attention(query_CHLE, key_CHLE, value_CHLE, scale=self.scaling)
        return mixed_CHLE.transpose(1, 2).flatten(2).flatten(0, 1)


class PatchProduct(nn.Module):
    """A convolution with non-overlapping patches, computed as a matrix product.

    It is a module of its own because strategies that shard weights gather those of the module that is called.

    Args:
        stock: the ``Conv3d`` whose weight it uses.
    """

    def __init__(self, stock: Any) -> None:
        super().__init__()
        self.weight = stock.weight

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Embed patches, ``[P, pixels of a patch]`` -> ``[P, W]``."""
        weight_WX = self.weight.flatten(1)
        return functional.linear(hidden_states.to(weight_WX.dtype), weight_WX)


def streamline(visual: Any) -> None:
    """Replace the patch embedding of a stock vision tower and, if it runs on SDPA, its attention, in place.

    Args:
        visual: a ``Qwen2_5_VisionTransformerPretrainedModel``.
    """
    visual.patch_embed = nn.Sequential(OrderedDict(proj=PatchProduct(visual.patch_embed.proj)))
    if visual.config._attn_implementation == "sdpa":
        for block in visual.blocks:
            block.attn = GroupedVisionAttention(block.attn)
