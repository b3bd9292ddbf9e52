"""TesserAct's network (arXiv 2504.20995): CogVideoX with depth and normals. Names of weights are the release's.

Shapes: B rows, F frames of codes, C channels of a code, h x w places, L words, V tokens of maps, D numbers of a token.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mirage_pl.deepverse.model.mmdit_blocks import FeedForward
from mirage_pl.deepverse.model.tesseract_head import (
    Reading,
    Surroundings,
    ThreePatches,
    embed_time,
    find_angles,
    gather,
    scatter,
    turn_pairs,
)

NORM, PARTS_NORM = 1e-5, 1e-6
"""Epsilon of norms of tokens, and of those of queries and keys."""


@dataclass(frozen=True)
class TesseractSizes:
    """Sizes; those of the release unless said otherwise.

    Attributes:
        layers: of the trunk.
        heads: of attention.
        head_width: numbers of a head.
        latent_channels: C.
        patch: places of a token, in each direction.
        text_width: numbers of a word.
        time_width: numbers that say how noisy it is.
        base: rows and columns of tokens in training.
    """

    layers: int = 42
    heads: int = 48
    head_width: int = 64
    latent_channels: int = 16
    patch: int = 2
    text_width: int = 4096
    time_width: int = 512
    base: tuple[int, int] = (30, 45)

    @property
    def width(self) -> int:
        """D."""
        return self.heads * self.head_width


class Tesseract(nn.Module):
    """Predicts the velocities of colours, depth and normals.

    Args:
        sizes: of it.
    """

    def __init__(self, sizes: TesseractSizes) -> None:
        super().__init__()
        width, patch, channels = sizes.width, sizes.patch, sizes.latent_channels
        self.sizes = sizes
        self.patch_embed = ThreePatches(width, 2 * channels, sizes.text_width, patch)
        self.time_embedding = nn.ModuleDict(
            {"linear_1": nn.Linear(width, sizes.time_width), "linear_2": nn.Linear(sizes.time_width, sizes.time_width)}
        )
        self.transformer_blocks = nn.ModuleList([SharedBlock(sizes) for _ in range(sizes.layers)])
        self.norm_final = nn.LayerNorm(width, NORM)
        self.norm_out = Modulated(sizes, 2)
        self.proj_out = nn.Linear(width, channels * patch**2)
        around = width // patch**2
        self.dn_out_proj = Surroundings(5 * channels, around)
        self.dn_out = Reading(2 * width, 2 * channels * patch**2)

    def forward(self, maps_BFChw: Tensor, text_BLE: Tensor, time_B: Tensor) -> Tensor:
        """Return velocities, [B, F, 3 C, h, w]: of colours, depth and normals.

        Args:
            maps_BFChw: colours, depth and normals, 6 C channels: of each the noisy codes and then those of the first
                frame, 0 in all others.
            text_BLE: the words.
            time_B: 0 to 999.
        """
        frames, _, height, width = maps_BFChw.shape[1:]
        condition_BT = self.embed_time(time_B).to(maps_BFChw)
        text, video = self.patch_embed(text_BLE, maps_BFChw)
        count = height // self.sizes.patch, width // self.sizes.patch
        angles = find_angles(frames, count, self.sizes.base, self.sizes.head_width).to(video.device)
        for block in self.transformer_blocks:
            text, video = block(text, video, condition_BT, angles)
        shift, scale = self.norm_out.modulate(condition_BT)
        video = self.norm_out.norm(self.norm_final(video)) * (1 + scale) + shift
        return self.read(video, maps_BFChw)

    def embed_time(self, time_B: Tensor) -> Tensor:
        """The condition of a time, [B, time_width]."""
        waves = embed_time(time_B, self.sizes.width).to(self.proj_out.weight)
        return self.time_embedding["linear_2"](F.silu(self.time_embedding["linear_1"](waves)))

    def read(self, video_BVD: Tensor, maps_BFChw: Tensor) -> Tensor:
        """Velocities out of the trunk's tokens; for depth and normals those of colours are seen, and their own maps."""
        frames, channels, height, width = maps_BFChw.shape[1:]
        places, patch = (frames, height, width), self.sizes.patch
        colours = scatter(self.proj_out(video_BVD), places, patch)
        seen = torch.cat((colours, maps_BFChw[:, :, channels // 3 :]), 2)
        around = self.dn_out_proj(seen.transpose(1, 2)).transpose(1, 2)
        others = self.dn_out(torch.cat((video_BVD, gather(around, patch)), 2))
        return torch.cat((colours, scatter(others, places, patch)), 2)


class Modulated(nn.Module):
    """A norm of tokens, and vectors that a condition makes for it.

    Args:
        sizes: of the network.
        vectors: how many.
    """

    def __init__(self, sizes: TesseractSizes, vectors: int) -> None:
        super().__init__()
        self.vectors = vectors
        self.linear = nn.Linear(sizes.time_width, vectors * sizes.width)
        self.norm = nn.LayerNorm(sizes.width, NORM)

    def modulate(self, condition_BT: Tensor) -> tuple[Tensor, ...]:
        """The vectors, [B, 1, D] each."""
        return self.linear(F.silu(condition_BT))[:, None].chunk(self.vectors, 2)

    def forward(
        self, text_BLD: Tensor, video_BVD: Tensor, condition_BT: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return both streams, normed, and their gates."""
        shift, scale, gate, text_shift, text_scale, text_gate = self.modulate(condition_BT)
        text = self.norm(text_BLD) * (1 + text_scale) + text_shift
        return text, self.norm(video_BVD) * (1 + scale) + shift, text_gate, gate


class SharedAttention(nn.Module):
    """Attention among words and maps, by the same projections; only maps have places."""

    def __init__(self, sizes: TesseractSizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(sizes.width, sizes.width) for _ in range(3))
        self.norm_q, self.norm_k = (nn.LayerNorm(sizes.head_width, PARTS_NORM) for _ in range(2))
        self.to_out = nn.ModuleList([nn.Linear(sizes.width, sizes.width)])

    def forward(self, tokens_BLD: Tensor, words: int, angles_VK: Tensor) -> Tensor:
        """What tokens gather; the first ``words`` are words."""

        def divide(layer: nn.Module) -> Tensor:
            return layer(tokens_BLD).unflatten(-1, (self.heads, -1)).transpose(1, 2)

        def turn(numbers_BHLK: Tensor) -> Tensor:
            text, video = numbers_BHLK[:, :, :words], numbers_BHLK[:, :, words:]
            return torch.cat((text, turn_pairs(video, angles_VK)), 2)

        queries, keys = turn(self.norm_q(divide(self.to_q))), turn(self.norm_k(divide(self.to_k)))
        mixed = F.scaled_dot_product_attention(queries, keys, divide(self.to_v))
        return self.to_out[0](mixed.transpose(1, 2).flatten(2))


class SharedBlock(nn.Module):
    """One layer, whose projections words and maps share."""

    def __init__(self, sizes: TesseractSizes) -> None:
        super().__init__()
        self.norm1, self.norm2 = Modulated(sizes, 6), Modulated(sizes, 6)
        self.attn1, self.ff = SharedAttention(sizes), FeedForward(sizes.width)

    def forward(
        self, text_BLD: Tensor, video_BVD: Tensor, condition_BT: Tensor, angles_VK: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Change words and maps."""
        words = text_BLD.shape[1]
        text, video, text_gate, gate = self.norm1(text_BLD, video_BVD, condition_BT)
        mixed = self.attn1(torch.cat((text, video), 1), words, angles_VK)
        text_BLD, video_BVD = text_BLD + text_gate * mixed[:, :words], video_BVD + gate * mixed[:, words:]
        text, video, text_gate, gate = self.norm2(text_BLD, video_BVD, condition_BT)
        fed = self.ff(torch.cat((text, video), 1))
        return text_BLD + text_gate * fed[:, :words], video_BVD + gate * fed[:, words:]
