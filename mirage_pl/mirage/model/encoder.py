"""Latents that are learnt to be read: k queries look at all features of a helper image. Not in the paper.

Shapes: n features, D width, k latents, C queries, H heads, W width of a head.
"""

from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, scaled_dot_product_attention

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

    def forward(self, features_nD: Tensor, grid_hw: tuple[int, int] = (1, 1), k: int = 1) -> Tensor:
        """Return ``[k, D]``, of the type of the features."""
        x_nD = features_nD.to(self.key_DD.dtype)
        x_nD = x_nD * (x_nD.shape[1] ** 0.5 / x_nD.norm(dim=1, keepdim=True).clamp(min=1e-6))
        x_nD = x_nD + place(grid_hw, x_nD.shape[1]).to(x_nD)
        parts = self.queries_CD[:k], linear(x_nD, self.key_DD), linear(x_nD, self.value_DD)
        query_1HkW, key_1HnW, value_1HnW = (part.unflatten(1, (HEADS, -1)).transpose(0, 1)[None] for part in parts)
        seen_kD = scaled_dot_product_attention(query_1HkW, key_1HnW, value_1HnW)[0].transpose(0, 1).flatten(1)
        latents_kD = linear(gelu(linear(seen_kD, self.inner_DD)), self.outer_DD)
        return latents_kD.to(features_nD)


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
        if k > self.count:
            raise ValueError(f"a block has {k} latents, but compression.count={self.count} queries; raise it to {k}")
        latents_kD: Tensor = self.pool(features_nD, grid_hw, k)
        return latents_kD
