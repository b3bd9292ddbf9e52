"""A transformer whose places see each other both ways (LLaDA, arXiv 2502.09992), with the names of its checkpoints.

Shapes: B rows, L places, P of them of a prompt and R behind it, D width, H heads, N places that are asked for, V ids of
a span.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mirage_pl.mmact.model.places import Places
from mirage_pl.mmact.model.vocabulary import Span


@dataclass(frozen=True)
class Sizes:
    """Of a transformer.

    Attributes:
        layers: blocks.
        width: of a place.
        heads: of an attention; they share the width.
        mlp: width inside a block.
        rope_theta: base of the rotary frequencies.
        rms_norm_eps: added to mean squares.
    """

    layers: int
    width: int
    heads: int
    mlp: int
    rope_theta: float
    rms_norm_eps: float

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads):
            raise ValueError(f"model.sizes.width={self.width} must be a multiple of twice heads={self.heads}")


Pair = tuple[Tensor, Tensor]
"""Keys and values."""


class RMSNorm(nn.Module):
    """Divide by the root of the mean square, in single precision."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, hidden: Tensor) -> Tensor:
        """Normalise the last axis."""
        single = hidden.float()
        normal = single * torch.rsqrt(single.square().mean(-1, keepdim=True) + self.eps)
        return normal.to(hidden.dtype) * self.weight


class Block(nn.Module):
    """Attention, then a gated layer, each after a norm and added to what came in; no biases."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width, self.heads = sizes.width, sizes.heads
        self.attn_norm, self.ff_norm = (RMSNorm(width, sizes.rms_norm_eps) for _ in range(2))
        self.q_proj, self.k_proj, self.v_proj, self.attn_out = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.ff_proj, self.up_proj = (nn.Linear(width, sizes.mlp, bias=False) for _ in range(2))
        self.ff_out = nn.Linear(sizes.mlp, width, bias=False)

    def forward(
        self, hidden_BLD: Tensor, seen: Tensor | None, angles_LE: Tensor, before: Pair | None = None
    ) -> tuple[Tensor, Pair]:
        """One block.

        Args:
            hidden_BLD: of some places.
            seen: bool [B, 1, 1, K], of all keys; or numbers [B, 1, L, K] that are added to scores; ``None``: all.
            angles_LE: of these places.
            before: keys and values of places before them, [B, H, P, E] each.

        Returns:
            What goes to the next block, and keys and values of these places.
        """
        normal_BLD = self.attn_norm(hidden_BLD)
        split = (*normal_BLD.shape[:2], self.heads, -1)
        query, key, value = (
            project(normal_BLD).view(split).transpose(1, 2) for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        own = rotate(key, angles_LE), value
        key, value = own if before is None else (torch.cat(parts, 2) for parts in zip(before, own, strict=True))
        mixed = F.scaled_dot_product_attention(rotate(query, angles_LE), key, value, attn_mask=seen)
        hidden_BLD = hidden_BLD + self.attn_out(mixed.transpose(1, 2).flatten(2))
        normal_BLD = self.ff_norm(hidden_BLD)
        out_BLD: Tensor = hidden_BLD + self.ff_out(F.silu(self.ff_proj(normal_BLD)) * self.up_proj(normal_BLD))
        return out_BLD, own


def rotate(vectors: Tensor, angles_LE: Tensor) -> Tensor:
    """Rotate [B, H, L, 2 E] by place, the first half against the second, in single precision."""
    first, second = vectors.float().chunk(2, -1)
    cosine, sine = angles_LE.cos(), angles_LE.sin()
    turned = torch.cat((first * cosine - second * sine, second * cosine + first * sine), -1)
    return turned.to(vectors.dtype)


@dataclass
class Kept:
    """Keys and values of a prompt that sees itself alone: they don't depend on what is behind it.

    Attributes:
        begin: the prompt's places are those before it.
        stale: the prompt sees all in the first pass, and later ones take its keys from there: approximate.
        blocks: of each block, [B, H, P, E]; the first pass fills them in.
    """

    begin: int
    stale: bool = False
    blocks: list[Pair] = field(default_factory=list)


@dataclass(frozen=True)
class Ask:
    """What is asked of a forward pass.

    Attributes:
        places_BL: bool: where.
        span: over which ids.
    """

    places_BL: Tensor
    span: Span


class Backbone(nn.Module):
    """The transformer with its embedding and its head, which aren't tied; ``places`` may be added to the embedding.

    Args:
        sizes: of it.
        vocabulary: ids.
        checkpointing: keep each block's input alone, and compute the rest again for the gradient.
    """

    def __init__(self, sizes: Sizes, vocabulary: int, checkpointing: bool) -> None:
        super().__init__()
        self.sizes, self.checkpointing = sizes, checkpointing
        self.places: Places | None = None
        parts: dict[str, nn.Module] = {
            "wte": nn.Embedding(vocabulary, sizes.width),
            "blocks": nn.ModuleList(Block(sizes) for _ in range(sizes.layers)),
            "ln_f": RMSNorm(sizes.width, sizes.rms_norm_eps),
            "ff_out": nn.Linear(sizes.width, vocabulary, bias=False),
        }
        self.model = nn.ModuleDict({"transformer": nn.ModuleDict(parts)})
        self.initialise()

    @property
    def transformer(self) -> Any:
        """Embedding ``wte``, ``blocks``, norm ``ln_f``, head ``ff_out``."""
        return self.model["transformer"]

    @torch.no_grad()
    def initialise(self) -> None:
        """Draw weights: normal, of variance 1 over the inputs; what is added to the stream less with the depth."""
        width = self.sizes.width
        self.transformer.wte.weight.normal_(std=0.02)
        self.transformer.ff_out.weight.normal_(std=width**-0.5)
        for depth, block in enumerate(self.transformer.blocks, start=1):
            for name, weight in block.named_parameters():
                if weight.dim() > 1:
                    added = name.startswith(("attn_out", "ff_out"))
                    weight.normal_(std=weight.shape[1] ** -0.5 / ((2 * depth) ** 0.5 if added else 1))

    def embed(self, ids_BL: Tensor) -> Tensor:
        """Vectors of ids, which depend on no id behind them."""
        vectors_BLD: Tensor = self.transformer.wte(ids_BL)
        return vectors_BLD if self.places is None else vectors_BLD + self.places(ids_BL)

    def encode(self, ids_BL: Tensor, keys_BL: Tensor | None, added: bool = False) -> Tensor:
        """Hidden states after the last norm.

        Args:
            ids_BL: padding included; places are counted over it, too.
            keys_BL: bool: what is no padding; ``None``: all. Padding is seen by no place.
            added: as released by mistake: pairs of real places get 1 more of score, and padding is seen.
        """
        hidden_BLD, seen = self.embed(ids_BL), None if keys_BL is None else keys_BL[:, None, None, :]
        if added and keys_BL is not None:
            seen = (keys_BL[:, None, None, :] & keys_BL[:, None, :, None]).to(hidden_BLD.dtype)
        return self.run_blocks(hidden_BLD, seen, 0, [])[0]

    def encode_behind(self, ids_BL: Tensor, keys_BL: Tensor | None, kept: Kept) -> Tensor:
        """Hidden states behind a prompt, [B, R, D], whose keys are taken from ``kept``, or put there."""
        begin, seen = kept.begin, None if keys_BL is None else keys_BL[:, None, None, :]
        if not kept.blocks and kept.stale:
            hidden_BLD, blocks = self.run_blocks(self.embed(ids_BL), seen, 0, [])
            kept.blocks = [(key[:, :, :begin], value[:, :, :begin]) for key, value in blocks]
            return hidden_BLD[:, begin:]
        if not kept.blocks:
            own = None if seen is None else seen[..., :begin]
            _, kept.blocks = self.run_blocks(self.embed(ids_BL[:, :begin]), own, 0, [])
        return self.run_blocks(self.embed(ids_BL)[:, begin:], seen, begin, kept.blocks)[0]

    def run_blocks(
        self, hidden_BLD: Tensor, seen: Tensor | None, begin: int, before: Sequence[Pair]
    ) -> tuple[Tensor, list[Pair]]:
        """Run places, the first of which is number ``begin``: states after the last norm, keys and values."""
        angles_LE, blocks = self.list_angles(begin + hidden_BLD.shape[1], hidden_BLD.device)[begin:], list[Pair]()
        for number, block in enumerate(self.transformer.blocks):
            given = hidden_BLD, seen, angles_LE, before[number] if before else None
            if self.checkpointing and self.training:
                hidden_BLD, own = checkpoint(block, *given, use_reentrant=False)
            else:
                hidden_BLD, own = block(*given)
            blocks.append(own)
        normal_BLD: Tensor = self.transformer.ln_f(hidden_BLD)
        return normal_BLD, blocks

    def list_angles(self, length: int, device: Any) -> Tensor:
        """Angle of each place and pair of channels, [L, E]."""
        half = self.sizes.width // self.sizes.heads // 2
        frequencies_E = self.sizes.rope_theta ** -(torch.arange(half, device=device).float() / half)
        return torch.arange(length, device=device).float()[:, None] * frequencies_E

    def spare(self, spans: Sequence[Span]) -> None:
        """Stop the gradient of weights that logits over these spans don't need; here all do."""

    def project(self, hidden_BLD: Tensor, places_BL: Tensor, span: Span) -> Tensor:
        """Logits of some places over a span, [N, V], row by row: the head's other rows aren't touched."""
        return F.linear(hidden_BLD[places_BL], self.transformer.ff_out.weight[span.rows])

    def forward(
        self,
        ids_BL: Tensor,
        keys_BL: Tensor | None,
        asks: Sequence[Ask],
        added: bool = False,
        kept: Kept | None = None,
    ) -> list[Tensor]:
        """Logits for each ask, [N, V]; one call, so that it works where weights are in parts.

        Args:
            ids_BL: see :meth:`encode`, as the others.
            keys_BL: there.
            asks: with ``kept``, all of them behind the prompt.
            added: there.
            kept: the prompt sees itself alone, or see :class:`Kept`; ``None``: it sees all.
        """
        if kept is not None:
            hidden_BRD = self.encode_behind(ids_BL, keys_BL, kept)
            return [self.project(hidden_BRD, ask.places_BL[:, kept.begin :], ask.span) for ask in asks]
        hidden_BLD = self.encode(ids_BL, keys_BL, added)
        return [self.project(hidden_BLD, ask.places_BL, ask.span) for ask in asks]
