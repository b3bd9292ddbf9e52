"""The transformer: from what was, what is said and a noisy unit to the direction in which the noise lies.

Shapes: B rows, C channels of a state, t units of an entry, h x w places, n text tokens, D numbers of a token.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mirage_pl.deepverse.model.mmdit_blocks import JointBlock, Modulation, modulate
from mirage_pl.deepverse.model.positions import crop_table, draw_mask, draw_table, draw_turns, list_frames

SLOWEST, RATES = 10_000.0, 128
"""Of the waves that a time is told by."""


@dataclass(frozen=True)
class MmditSizes:
    """How large a transformer is.

    Attributes:
        layers: of it.
        heads: of attention.
        head_dim: numbers of a head.
        channels: of a state.
        patch: places of a token, in each direction.
        text_dim: numbers of a text's token.
        pooled_dim: numbers of a text's summary.
        table: places of the table of positions, in each direction.
        base_grid: places that its coordinates are for.
        straight: the noisy unit goes past all layers, too, weighed by time, so that tokens needn't hold all its noise;
            not in the release.
    """

    layers: int
    heads: int
    head_dim: int
    channels: int
    patch: int
    text_dim: int
    pooled_dim: int
    table: int
    base_grid: int
    straight: bool = False

    @property
    def width(self) -> int:
        """D."""
        return self.heads * self.head_dim


@dataclass(frozen=True)
class Said:
    """What is said of a unit, and what is remembered.

    Attributes:
        tokens_BnE: of the text.
        valid_Bn: which of them are real.
        pooled_BP: the text's summary.
        memory_BC1hw: a state that was seen before, in full size; ``None``: none.
        on_B: rows in which it counts.
    """

    tokens_BnE: Tensor
    valid_Bn: Tensor
    pooled_BP: Tensor
    memory_BC1hw: Tensor | None = None
    on_B: Tensor | None = None


class PatchEmbed(nn.Module):
    """Places to tokens: those of the video, and those of the memory."""

    pos_embed: Tensor

    def __init__(self, sizes: MmditSizes) -> None:
        super().__init__()
        self.patch = sizes.patch
        self.proj, self.proj_history = (
            nn.Conv2d(sizes.channels, sizes.width, sizes.patch, sizes.patch) for _ in range(2)
        )
        table = draw_table(sizes.table, sizes.base_grid, sizes.width)
        self.register_buffer("pos_embed", table, persistent=False)

    def forward(self, state_BCthw: Tensor, whole: tuple[int, int]) -> Tensor:
        """Tokens of an entry, unit after unit; ``whole``: places of a unit in the sequence's finest entry."""
        return self.place(self.proj, state_BCthw, whole)

    def remember(self, state_BC1hw: Tensor) -> Tensor:
        """Tokens of a memory at half its size, as a picture by itself."""
        half = F.interpolate(state_BC1hw[:, :, 0], scale_factor=0.5, mode="bilinear")
        return self.place(self.proj_history, half[:, :, None], (half.shape[2], half.shape[3]))

    def place(self, projection: nn.Module, state_BCthw: Tensor, whole: tuple[int, int]) -> Tensor:
        """Project, and add where tokens are."""
        batch, _, units, height, width = state_BCthw.shape
        tokens = projection(state_BCthw.transpose(1, 2).flatten(0, 1)).flatten(2).transpose(1, 2)
        counts = (height // self.patch, width // self.patch), (whole[0] // self.patch, whole[1] // self.patch)
        tokens = tokens + crop_table(self.pos_embed, *counts).to(tokens.dtype)
        return tokens.unflatten(0, (batch, units)).flatten(1, 2)


class Embedding(nn.Module):
    """Two linear layers."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(inputs, width), nn.Linear(width, width)

    def forward(self, numbers: Tensor) -> Tensor:
        """Embed."""
        return self.linear_2(F.silu(self.linear_1(numbers)))


class Condition(nn.Module):
    """The time of the noise and the text's summary, as one vector."""

    def __init__(self, sizes: MmditSizes) -> None:
        super().__init__()
        self.timestep_embedder = Embedding(2 * RATES, sizes.width)
        self.text_embedder = Embedding(sizes.pooled_dim, sizes.width)

    def forward(self, time_B: Tensor, pooled_BP: Tensor) -> Tensor:
        """Return [B, D]; times are 0 to 1000."""
        rates = torch.exp(-math.log(SLOWEST) * torch.arange(RATES, device=time_B.device) / RATES)
        angles = time_B.float()[:, None] * rates
        waves = torch.cat((angles.cos(), angles.sin()), 1).to(pooled_BP.dtype)
        return self.timestep_embedder(waves) + self.text_embedder(pooled_BP)


class MMDiT(nn.Module):
    """The transformer.

    Args:
        sizes: of it.
    """

    def __init__(self, sizes: MmditSizes) -> None:
        super().__init__()
        self.sizes, width = sizes, sizes.width
        self.pos_embed, self.time_text_embed = PatchEmbed(sizes), Condition(sizes)
        self.context_embedder = nn.Linear(sizes.text_dim, width)
        self.transformer_blocks = nn.ModuleList(
            [JointBlock(width, sizes.heads, layer + 1 == sizes.layers) for layer in range(sizes.layers)]
        )
        self.norm_out = Modulation(width, 2)
        self.proj_out = nn.Linear(width, sizes.patch**2 * sizes.channels)
        self.straight = Modulation(width, 1, sizes.channels) if sizes.straight else None
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """Draw weights as the recipe says; blocks begin without effect, and the answer is 0."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.xavier_uniform_(module.weight.flatten(1))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        embeddings = self.time_text_embed.timestep_embedder, self.time_text_embed.text_embedder
        for linear in (each for embedding in embeddings for each in (embedding.linear_1, embedding.linear_2)):
            nn.init.normal_(linear.weight, std=0.02)
        nn.init.normal_(self.context_embedder.weight, std=0.02)
        for module in (*(each.linear for each in self.modules() if isinstance(each, Modulation)), self.proj_out):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)

    def forward(self, sequence: Sequence[Tensor], time_B: Tensor, said: Said) -> Tensor:
        """Return the direction at the last entry, [B, C, 1, h, w].

        Args:
            sequence: entries [B, C, t, h, w], the oldest first, each as fine as the one before or finer; the last one
                is the noisy unit.
            time_B: of its noise, 0 to 1000.
            said: what is said of it.
        """
        video, context, valid, condition = self.embed(sequence, time_B, said)
        counts = [(entry.shape[2], entry.shape[3] * entry.shape[4] // self.sizes.patch**2) for entry in sequence]
        frames = list_frames(counts, context.shape[1]).to(video.device)
        turns, mask = draw_turns(frames, self.sizes.head_dim), draw_mask(valid, frames)
        for block in self.transformer_blocks:
            video, context = block(video, context, condition, turns, mask)
        return self.read_out(video, condition, sequence[-1])

    def embed(self, sequence: Sequence[Tensor], time_B: Tensor, said: Said) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Tokens of video and context, which of the context are real, and the conditioning."""
        whole = sequence[-1].shape[3], sequence[-1].shape[4]
        video = torch.cat([self.pos_embed(entry, whole) for entry in sequence], 1)
        context, valid = self.context_embedder(said.tokens_BnE), said.valid_Bn.bool()
        if said.memory_BC1hw is not None and said.on_B is not None:
            memory = self.pos_embed.remember(said.memory_BC1hw)
            context = torch.cat((memory, context), 1)
            valid = torch.cat((said.on_B.bool()[:, None].expand(-1, memory.shape[1]), valid), 1)
        return video, context, valid, self.time_text_embed(time_B, said.pooled_BP)

    def read_out(self, video: Tensor, condition: Tensor, unit_BC1hw: Tensor) -> Tensor:
        """What the tokens of the noisy unit say, as a state."""
        patch, (height, width) = self.sizes.patch, unit_BC1hw.shape[3:]
        tokens = video[:, -(height // patch) * (width // patch) :]
        scale, shift = self.norm_out(condition)
        parts = self.proj_out(modulate(tokens, shift, scale)).view(
            -1, height // patch, width // patch, patch, patch, self.sizes.channels
        )
        read_BC1hw = parts.permute(0, 5, 1, 3, 2, 4).reshape(unit_BC1hw.shape)
        if self.straight is None:
            return read_BC1hw
        (share_B1C,) = self.straight(condition)
        return read_BC1hw + share_B1C.mT[..., None, None] * unit_BC1hw
