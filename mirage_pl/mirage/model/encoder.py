"""Latents that are learnt to be read: k queries look at all features of a helper image. Not in the paper.

Shapes: I images, n features of one, D width, k latents, C queries.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, scaled_dot_product_attention
from torch.nn.utils.rnn import pad_sequence

HEADS = 4


class Pool(nn.Module):
    """Queries that attend to features and where these are, and a small network behind them.

    Latent j is ``W4 gelu(W3 a_j)``, with ``a_j`` the multi-head attention of query j over ``x_i + p_i`` for features
    ``x_i`` of length sqrt(D) at places ``p_i``. Weights begin alike in all runs: ZeRO-3 parts weights as they are made,
    and draws other numbers before. They are in float32 or better, and constant unless a stage lets them learn.

    Args:
        width: D.
        count: C.
        like: a weight, on whose device they are.
    """

    def __init__(self, width: int, count: int, like: Tensor) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(0)
        dtype = torch.promote_types(like.dtype, torch.float32)

        def make(rows: int, scale: float) -> nn.Parameter:
            start = scale * torch.randn(rows, width, generator=random)
            return nn.Parameter(start.to(like.device, dtype), requires_grad=False)

        self.queries_CD = make(count, 1.0)
        self.key_DD, self.value_DD, self.inner_DD = (make(width, width**-0.5) for _ in range(3))
        self.outer_DD = make(width, 0.02 * width**-0.5)  # as long as words at first

    def forward(self, placed: Tensor, real_In: Tensor | None = None) -> Tensor:
        """Make all latents of some images.

        Args:
            placed: features with their places, ``[I, n, D]``, or ``[n, D]`` of one image.
            real_In: which of them aren't padding; ``None``: all.

        Returns:
            ``[I, C, D]``.
        """
        x_InD = placed.reshape(-1, *placed.shape[-2:]).to(self.key_DD.dtype)
        queries_ICD = self.queries_CD.expand(len(x_InD), -1, -1)
        parts = queries_ICD, linear(x_InD, self.key_DD), linear(x_InD, self.value_DD)
        query, key, value = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in parts)
        mask = None if real_In is None else real_In[:, None, None]
        seen_ICD = scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2).flatten(2)
        return linear(gelu(linear(seen_ICD, self.inner_DD)), self.outer_DD)


def place(grid_hw: tuple[int, int], width: int) -> Tensor:
    """Sines and cosines of rows and columns in raster order, ``[n, D]``: wavelengths from 2 pi to 200 cells."""
    rate_Q = 32.0 ** -torch.linspace(0, 1, width // 4)
    rows_n, columns_n = torch.meshgrid(torch.arange(grid_hw[0]), torch.arange(grid_hw[1]), indexing="ij")
    angles = [each.flatten()[:, None] * rate_Q for each in (rows_n, columns_n)]
    waves_nD = torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], dim=1)
    return nn.functional.pad(waves_nD, (0, width - waves_nD.shape[1]))


class Encoder(nn.Module):
    """Compress by a learnt :class:`Pool`, in place of averages: what latents should be is learnt by ``stage=target``.

    Args:
        count: most latents of a block.

    Attributes:
        pool: built by the network, which knows D.
    """

    pool: Pool

    def __init__(self, count: Annotated[int, Ge(1)]) -> None:
        super().__init__()
        self.count = count

    def build(self, width: int, like: Tensor) -> None:
        """Make the pool, unless it is there.

        Raises:
            ValueError: the width isn't a multiple of the number of heads.
        """
        if width % HEADS:
            raise ValueError(f"compression=encoder has {HEADS} heads, which don't divide the model's width {width}")
        if "pool" not in self._modules:
            self.pool = Pool(width, self.count, like)

    def forward(self, features_nD: Tensor, grid_hw: tuple[int, int], k: int) -> Tensor:
        """Compress one image; arguments as in :class:`mirage_pl.mirage.model.compression.Average`.

        Raises:
            ValueError: a block has more latents than there are queries.
        """
        return self.together([features_nD], [grid_hw], [k], features_nD)[0]

    def together(
        self, features: Sequence[Tensor], grids: Sequence[tuple[int, int]], sizes: Sequence[int], like: Tensor
    ) -> list[Tensor]:
        """Compress any number of images, none included, in one call: where ranks hold parts of the weights, each call
        is one of all ranks.

        Args:
            features: of each image.
            grids: their rows and columns.
            sizes: latents of each; 0 for none.
            like: ``[..., D]``, of the type and on the device of what is returned.

        Returns:
            The latents of each image; without images a tensor without rows, which gives the weights zero gradients.

        Raises:
            ValueError: as :meth:`forward`.
        """
        if sizes and (k := max(sizes)) > self.count:
            raise ValueError(f"a block has {k} latents, but compression.count={self.count} queries; raise it to {k}")
        placed = [put(each, grid) for each, grid in zip(features, grids, strict=True)]
        placed = placed or [like.new_zeros(1, like.shape[-1])]
        real_In = pad_sequence([each.new_ones(len(each), dtype=torch.bool) for each in placed], batch_first=True)
        made_ICD = self.pool(pad_sequence(placed, batch_first=True), real_In).to(like)
        return [made_kD[:k] for made_kD, k in zip(made_ICD, sizes or [0], strict=True)]


def put(features_nD: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """Features at a length of sqrt(D), with their places, in float32 or better."""
    width = features_nD.shape[1]
    x_nD = features_nD.to(torch.promote_types(features_nD.dtype, torch.float32))
    x_nD = x_nD * (width**0.5 / x_nD.norm(dim=1, keepdim=True).clamp(min=1e-6))
    return x_nD + place(grid_hw, width).to(x_nD)
