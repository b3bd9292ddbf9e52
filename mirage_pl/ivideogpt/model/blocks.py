"""Blocks of a convolutional autoencoder, as Stable Diffusion's; weights have the names that diffusers gives them.

Shapes: M pictures, C channels, H rows, W columns, P = H W places.
"""

from torch import Tensor, nn
from torch.nn import functional as F

EPS = 1e-6


class ResnetBlock(nn.Module):
    """Norm, SiLU and convolution, twice, around a shortcut.

    Args:
        channels: of its input.
        out_channels: of its output.
        groups: of its norms.
    """

    def __init__(self, channels: int, out_channels: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels, EPS)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, out_channels, EPS)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(channels, out_channels, 1) if channels != out_channels else nn.Identity()

    def forward(self, hidden_MCHW: Tensor) -> Tensor:
        """Return features of the same size."""
        inner_MCHW = self.conv1(F.silu(self.norm1(hidden_MCHW)))
        out_MCHW: Tensor = self.conv_shortcut(hidden_MCHW) + self.conv2(F.silu(self.norm2(inner_MCHW)))
        return out_MCHW


class SelfAttention(nn.Module):
    """Attention of one head among the places of a picture, added to its input."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, channels, EPS)
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, hidden_MCHW: Tensor) -> Tensor:
        """Return features of the same size."""
        places_MPC = self.group_norm(hidden_MCHW).flatten(2).mT
        attended_MPC = F.scaled_dot_product_attention(
            self.to_q(places_MPC), self.to_k(places_MPC), self.to_v(places_MPC)
        )
        out_MCHW: Tensor = hidden_MCHW + self.to_out[0](attended_MPC).mT.unflatten(2, hidden_MCHW.shape[2:])
        return out_MCHW


class MidBlock(nn.Module):
    """Two ResNet blocks, with attention between them or without."""

    def __init__(self, channels: int, groups: int, attention: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResnetBlock(channels, channels, groups) for _ in range(2))
        self.attentions = nn.ModuleList([SelfAttention(channels, groups)] if attention else [])

    def forward(self, hidden_MCHW: Tensor) -> Tensor:
        """Return features of the same size."""
        hidden_MCHW = self.resnets[0](hidden_MCHW)
        for attention in self.attentions:
            hidden_MCHW = attention(hidden_MCHW)
        out_MCHW: Tensor = self.resnets[1](hidden_MCHW)
        return out_MCHW


class Downsample(nn.Module):
    """Halve a picture by a convolution; what is padded is one row below and one column on the right."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, hidden_MCHW: Tensor) -> Tensor:
        """Return features of half the height and width."""
        out_MCHW: Tensor = self.conv(F.pad(hidden_MCHW, (0, 1, 0, 1)))
        return out_MCHW


class Upsample(nn.Module):
    """Double a picture by repeating its places, and convolve it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, hidden_MCHW: Tensor) -> Tensor:
        """Return features of twice the height and width."""
        out_MCHW: Tensor = self.conv(F.interpolate(hidden_MCHW, scale_factor=2.0, mode="nearest"))
        return out_MCHW


class DownStage(nn.Module):
    """ResNet blocks of an encoder, and half the size after them.

    Args:
        channels: of its input.
        out_channels: of its output.
        layers: how many blocks.
        groups: of norms.
        resized: ``False`` leaves the size as it is.
    """

    def __init__(self, channels: int, out_channels: int, layers: int, groups: int, resized: bool) -> None:
        super().__init__()
        self.resnets = stack_blocks(channels, out_channels, layers, groups)
        self.downsamplers = nn.ModuleList([Downsample(out_channels)] if resized else [])

    def forward(self, hidden_MCHW: Tensor) -> Tensor:
        """Return the stage's features."""
        for block in (*self.resnets, *self.downsamplers):
            hidden_MCHW = block(hidden_MCHW)
        return hidden_MCHW


class UpStage(nn.Module):
    """ResNet blocks of a decoder, and twice the size after them; arguments as of :class:`DownStage`."""

    def __init__(self, channels: int, out_channels: int, layers: int, groups: int, resized: bool) -> None:
        super().__init__()
        self.resnets = stack_blocks(channels, out_channels, layers, groups)
        self.upsamplers = nn.ModuleList([Upsample(out_channels)] if resized else [])

    def forward(self, hidden_MCHW: Tensor) -> Tensor:
        """Return the stage's features."""
        for block in (*self.resnets, *self.upsamplers):
            hidden_MCHW = block(hidden_MCHW)
        return hidden_MCHW


def stack_blocks(channels: int, out_channels: int, layers: int, groups: int) -> nn.ModuleList:
    """Build the blocks of a stage, the first of which changes the number of channels."""
    widths = [channels, *[out_channels] * (layers - 1)]
    return nn.ModuleList(ResnetBlock(width, out_channels, groups) for width in widths)
