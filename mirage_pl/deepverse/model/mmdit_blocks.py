"""Blocks of the transformer: two streams, context and video, that attend together. Names of weights are the release's.

Shapes: B rows, C context tokens, V video tokens, L = C + V, D numbers of a token, H heads of K numbers.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mirage_pl.deepverse.model.positions import turn

NORM, PARTS_NORM = 1e-6, 1e-5
"""Epsilon of norms of tokens, and of those of queries and keys."""


class Modulation(nn.Module):
    """What the conditioning makes of a stream: so many vectors, as a linear layer has them."""

    def __init__(self, width: int, vectors: int, made: int | None = None) -> None:
        super().__init__()
        self.linear, self.vectors = nn.Linear(width, vectors * (made or width)), vectors

    def forward(self, condition_BD: Tensor) -> tuple[Tensor, ...]:
        """Return the vectors, [B, 1, D] each, or as wide as was said."""
        return self.linear(F.silu(condition_BD))[:, None].chunk(self.vectors, -1)


def modulate(tokens_BLD: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Normalise tokens, then scale and shift them."""
    return F.layer_norm(tokens_BLD, tokens_BLD.shape[-1:], eps=NORM) * (1 + scale) + shift


class JointAttention(nn.Module):
    """Attention among both streams, each with projections and norms of its own.

    Args:
        width: D.
        heads: H.
        last: the context comes out no more.
    """

    def __init__(self, width: int, heads: int, last: bool) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.add_q_proj, self.add_k_proj, self.add_v_proj = (nn.Linear(width, width) for _ in range(3))
        self.norm_q, self.norm_k, self.norm_add_q, self.norm_add_k = (
            nn.RMSNorm(width // heads, eps=PARTS_NORM) for _ in range(4)
        )
        self.to_out = nn.ModuleList([nn.Linear(width, width)])
        self.to_add_out = None if last else nn.Linear(width, width)

    def forward(
        self, video_BVD: Tensor, context_BCD: Tensor, turns: Tensor, mask_BLL: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """What tokens of video and context gather."""

        def divide(tokens: Tensor, projection: nn.Module, norm: nn.RMSNorm | None = None) -> Tensor:
            heads = projection(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            return heads if norm is None else norm(heads.to(norm.weight.dtype))

        queries = torch.cat(
            (divide(context_BCD, self.add_q_proj, self.norm_add_q), divide(video_BVD, self.to_q, self.norm_q)), 2
        )
        keys = torch.cat(
            (divide(context_BCD, self.add_k_proj, self.norm_add_k), divide(video_BVD, self.to_k, self.norm_k)), 2
        )
        values = torch.cat((divide(context_BCD, self.add_v_proj), divide(video_BVD, self.to_v)), 2)
        mixed_BHLK = attend(turn(queries, turns), turn(keys, turns), values, mask_BLL[:, None])
        context, video = mixed_BHLK.transpose(1, 2).flatten(2).split([context_BCD.shape[1], video_BVD.shape[1]], 1)
        return self.to_out[0](video), None if self.to_add_out is None else self.to_add_out(context)


def attend(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Attention; on a CPU as precise as the queries are, since its way back takes twice as long in bfloat16."""
    if queries.device.type != "cpu":
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    with torch.autocast("cpu", enabled=False):
        return F.scaled_dot_product_attention(queries, keys, values.to(queries.dtype), attn_mask=mask)


class Gelu(nn.Module):
    """The first half of a feed-forward layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 4 * width)

    def forward(self, tokens_BLD: Tensor) -> Tensor:
        """Widen."""
        return F.gelu(self.proj(tokens_BLD), approximate="tanh")


class FeedForward(nn.Module):
    """Four times as wide, and back; its second layer has the number 2 in the release."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.ModuleList([Gelu(width), nn.Identity(), nn.Linear(4 * width, width)])

    def forward(self, tokens_BLD: Tensor) -> Tensor:
        """Change each token."""
        return self.net[2](self.net[0](tokens_BLD))


class JointBlock(nn.Module):
    """One layer of both streams.

    Args:
        width: D.
        heads: H.
        last: the context isn't needed behind it.
    """

    def __init__(self, width: int, heads: int, last: bool) -> None:
        super().__init__()
        self.norm1, self.norm1_context = Modulation(width, 6), Modulation(width, 2 if last else 6)
        self.attn = JointAttention(width, heads, last)
        self.ff, self.ff_context = FeedForward(width), None if last else FeedForward(width)

    def forward(
        self, video_BVD: Tensor, context_BCD: Tensor, condition_BD: Tensor, turns: Tensor, mask_BLL: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Change video and context; behind the last block the context is what it was."""
        shift, scale, gate, *feed = self.norm1(condition_BD)
        said = self.norm1_context(condition_BD)
        if self.ff_context is None:
            context_shift, context_scale = said[1], said[0]
        else:
            context_shift, context_scale = said[:2]
        seen, heard = self.attn(
            modulate(video_BVD, shift, scale), modulate(context_BCD, context_shift, context_scale), turns, mask_BLL
        )
        video_BVD = self.feed(video_BVD + gate * seen, self.ff, feed)
        if self.ff_context is None or heard is None:
            return video_BVD, context_BCD
        return video_BVD, self.feed(context_BCD + said[2] * heard, self.ff_context, said[3:])

    def feed(self, tokens_BLD: Tensor, layer: nn.Module, vectors: tuple[Tensor, ...] | list[Tensor]) -> Tensor:
        """The second half of a stream's layer."""
        shift, scale, gate = vectors
        return tokens_BLD + gate * layer(modulate(tokens_BLD, shift, scale))
