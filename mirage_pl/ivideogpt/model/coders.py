"""Encoder and decoder of single frames: pixels -> latents -> pixels, with the features of every stage.

Shapes: M pictures, C channels, H rows, W columns; G x G is the grid of a context frame's codes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import lcm

from torch import Tensor, nn
from torch.nn import functional as F

from mirage_pl.ivideogpt.model.blocks import EPS, DownStage, MidBlock, UpStage

RGB = 3
Attend = Callable[[int, Tensor], Tensor]
"""What a conditional coder does to the feature at a place of the pyramid."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of a tokenizer, by the names of the published ``config.json``.

    Attributes:
        resolution: height and width of a frame in pixels.
        block_out_channels: channels of the stages; all but the last halve the picture.
        layers_per_block: ResNet blocks of an encoder's stage; a decoder's has one more.
        latent_channels: of what is quantized.
        context_length: context frames, T0.
        max_att_resolution: largest side of features that attend to the context.
        mid_block_add_attention: whether the context pair attends to itself; the conditional pair always does.
        norm_num_groups: of group norms.
        patch_size: side of the patch of a dynamics frame's latents that becomes one code.
        context_patch: side of the patch of a context frame's latents that becomes one code; 1 as published.
        fold: each ``fold`` x ``fold`` pixels become channels of one place before the first convolution; 1 as published.
        dropout: of the attention to the context.
    """

    resolution: int
    block_out_channels: Sequence[int]
    layers_per_block: int
    latent_channels: int
    context_length: int
    max_att_resolution: int = 16
    mid_block_add_attention: bool = False
    norm_num_groups: int = 32
    patch_size: int = 4
    context_patch: int = 1
    fold: int = 1
    dropout: float = 0.1

    def __post_init__(self) -> None:
        shrinks = self.fold * 2 ** (len(self.block_out_channels) - 1) * lcm(self.patch_size, self.context_patch)
        if self.resolution % shrinks:
            raise ValueError(
                f"resolution={self.resolution} can't be cut into codes: fold, stages and patches need a multiple of "
                f"{shrinks}"
            )

    @property
    def grid(self) -> int:
        """Side of the last features."""
        return self.resolution // self.fold // 2 ** (len(self.block_out_channels) - 1)

    @property
    def context_grid(self) -> int:
        """Side of the grid of a context frame's codes."""
        return self.grid // self.context_patch

    @property
    def dynamics_grid(self) -> int:
        """Side of the grid of a dynamics frame's codes."""
        return self.grid // self.patch_size


def leave_alone(place: int, hidden_MCHW: Tensor) -> Tensor:
    """What an unconditional coder does at each place."""
    return hidden_MCHW


class Encoder(nn.Module):
    """Frames -> latents.

    Args:
        sizes: of the tokenizer.
        attention: whether the places of the smallest feature attend to each other.
    """

    def __init__(self, sizes: Sizes, attention: bool) -> None:
        super().__init__()
        self.fold = sizes.fold
        widths, groups = list(sizes.block_out_channels), sizes.norm_num_groups
        self.conv_in = nn.Conv2d(RGB * sizes.fold**2, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            DownStage(before, width, sizes.layers_per_block, groups, resized=number < len(widths) - 1)
            for number, (before, width) in enumerate(zip([widths[0], *widths], widths, strict=False))
        )
        self.mid_block = MidBlock(widths[-1], groups, attention)
        self.conv_norm_out = nn.GroupNorm(groups, widths[-1], EPS)
        self.conv_out = nn.Conv2d(widths[-1], sizes.latent_channels, 3, padding=1)

    def forward(
        self, frames_MCHW: Tensor, attend: Attend = leave_alone, added_MCHW: Tensor | float = 0.0
    ) -> tuple[Tensor, list[Tensor]]:
        """Encode frames in [0, 1].

        Args:
            frames_MCHW: at the tokenizer's resolution.
            attend: changes the feature at a place: 1 and on after the stages.
            added_MCHW: added to the first feature.

        Returns:
            Latents, [M, latent_channels, G, G], and the features: after the first convolution, each stage, the middle.
        """
        hidden_MCHW = self.conv_in(F.pixel_unshuffle(frames_MCHW, self.fold)) + added_MCHW
        features = [hidden_MCHW]
        for block in self.down_blocks:
            features.append(attend(len(features), block(features[-1])))
        features.append(self.mid_block(features[-1]))
        return self.conv_out(F.silu(self.conv_norm_out(features[-1]))), features


class Decoder(nn.Module):
    """Latents -> frames.

    Args:
        sizes: of the tokenizer.
        attention: whether the places of the smallest feature attend to each other.
        out_channels: of a frame.
    """

    def __init__(self, sizes: Sizes, attention: bool, out_channels: int = RGB) -> None:
        super().__init__()
        self.fold = sizes.fold
        widths, groups = list(sizes.block_out_channels)[::-1], sizes.norm_num_groups
        self.conv_in = nn.Conv2d(sizes.latent_channels, widths[0], 3, padding=1)
        self.mid_block = MidBlock(widths[0], groups, attention)
        self.up_blocks = nn.ModuleList(
            UpStage(before, width, sizes.layers_per_block + 1, groups, resized=number < len(widths) - 1)
            for number, (before, width) in enumerate(zip([widths[0], *widths], widths, strict=False))
        )
        self.conv_norm_out = nn.GroupNorm(groups, widths[-1], EPS)
        self.conv_out = nn.Conv2d(widths[-1], out_channels * sizes.fold**2, 3, padding=1)

    def forward(
        self, latents_MCGG: Tensor, attend: Attend = leave_alone, added_MCGG: Tensor | float = 0.0
    ) -> tuple[Tensor, list[Tensor]]:
        """Decode latents.

        Args:
            latents_MCGG: of ``latent_channels``.
            attend: changes the feature at a place: 1 after the middle, 2 and on after the stages.
            added_MCGG: added to the first feature.

        Returns:
            Frames, not clamped, and the features: after the first convolution, the middle, each stage.
        """
        hidden_MCHW = self.conv_in(latents_MCGG) + added_MCGG
        features = [hidden_MCHW]
        for block in (self.mid_block, *self.up_blocks):
            features.append(attend(len(features), block(features[-1])))
        return F.pixel_shuffle(self.conv_out(F.silu(self.conv_norm_out(features[-1]))), self.fold), features
