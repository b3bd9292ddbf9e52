"""MAGVIT-v2's autoencoder as Show-o and MM-ACT use it, with its names of weights, so that released ones load.

Facts: 4 halvings of 256 x 256 pixels, 13 bits, 95.4 M parameters. Shapes: as in ``coder``, C channels of H x W places.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from mirage_pl.mmact.model.coder import Coder, CoderSizes, convolve

DOWN, DOWN_BLOCKS = (1, 2, 2, 4, 4), (4, 3, 4, 3, 4)
"""From pixels to codes: channels of each level, in parts of the first's, and its blocks."""
UP, UP_BLOCKS = (1, 1, 2, 2, 4), (4, 4, 3, 4, 3)
"""The same of the decoder; pixels are level 0 there, too."""
GROUPS = 32
"""Of a norm."""
MADE = "quantize."
"""Begins the names of weights that follow from the number of bits."""


def norm(width: int) -> nn.GroupNorm:
    """The norm of all parts."""
    return nn.GroupNorm(GROUPS, width, 1e-6)


class Block(nn.Module):
    """Norm, SiLU and convolution, twice, added to what came in; its channels are brought to as many as come out."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(before), convolve(before, after)
        self.norm2, self.conv2 = norm(after), convolve(after, after)
        self.nin_shortcut = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, hidden_MCHW: Tensor) -> Tensor:
        """Features of the same size."""
        inner_MCHW = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(hidden_MCHW))))))
        out_MCHW: Tensor = self.nin_shortcut(hidden_MCHW) + inner_MCHW
        return out_MCHW


class Attention(nn.Module):
    """Each place sees all others, by one head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = norm(width)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(width, width, 1) for _ in range(4))

    def forward(self, hidden_MCHW: Tensor) -> Tensor:
        """Features of the same size."""
        normed_MCHW = self.norm(hidden_MCHW)
        queries, keys, values = (part(normed_MCHW).flatten(2).mT for part in (self.q, self.k, self.v))
        seen_MNC = F.scaled_dot_product_attention(queries, keys, values)
        out_MCHW: Tensor = hidden_MCHW + self.proj_out(seen_MNC.mT.unflatten(2, hidden_MCHW.shape[2:]))
        return out_MCHW


class Halve(nn.Module):
    """Every second place, zeros at the right and below."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, 2)

    def forward(self, hidden_MCHW: Tensor) -> Tensor:
        """Features of half the size."""
        out_MCHW: Tensor = self.conv(F.pad(hidden_MCHW, (0, 1, 0, 1)))
        return out_MCHW


class Double(nn.Module):
    """Each place four times, then a convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = convolve(width, width)

    def forward(self, hidden_MCHW: Tensor) -> Tensor:
        """Features of twice the size."""
        out_MCHW: Tensor = self.conv(F.interpolate(hidden_MCHW, scale_factor=2.0))
        return out_MCHW


def make_middle(width: int) -> nn.ModuleDict:
    """What is between the levels and the codes."""
    return nn.ModuleDict({"block_1": Block(width, width), "attn_1": Attention(width), "block_2": Block(width, width)})


def make_level(before: int, after: int, blocks: int, **change: nn.Module) -> nn.ModuleDict:
    """Blocks, and what changes the size behind them."""
    widths = [before, *[after] * blocks]
    pairs = zip(widths, widths[1:], strict=False)
    return nn.ModuleDict({"block": nn.ModuleList(Block(*pair) for pair in pairs), **change})


def run_level(level: nn.ModuleDict, hidden_MCHW: Tensor) -> Tensor:
    """Features behind a level."""
    for block in level["block"]:  # type: ignore[attr-defined]  # it is a list
        hidden_MCHW = block(hidden_MCHW)
    for name in ("downsample", "upsample"):
        hidden_MCHW = level[name](hidden_MCHW) if name in level else hidden_MCHW
    return hidden_MCHW


def run_middle(middle: nn.ModuleDict, hidden_MCHW: Tensor) -> Tensor:
    """Features behind the middle."""
    for part in middle.values():
        hidden_MCHW = part(hidden_MCHW)
    return hidden_MCHW


class Encoder(nn.Module):
    """Pictures -> vectors whose signs are codes.

    Args:
        sizes: of them.
    """

    def __init__(self, sizes: CoderSizes) -> None:
        super().__init__()
        widths, last = [sizes.channels * part for part in DOWN], len(DOWN) - 1
        self.conv_in = convolve(3, sizes.channels)
        self.down = nn.ModuleList(
            make_level(before, after, blocks, **({"downsample": Halve(after)} if level < last else {}))
            for level, (before, after, blocks) in enumerate(
                zip([sizes.channels, *widths], widths, DOWN_BLOCKS, strict=False)
            )
        )
        self.mid, self.norm_out = make_middle(widths[-1]), norm(widths[-1])
        self.conv_out, self.quant_conv = convolve(widths[-1], sizes.bits), nn.Conv2d(sizes.bits, sizes.bits, 1)

    def forward(self, pictures_MCSS: Tensor) -> Tensor:
        """Vectors, [M, K, G, G]."""
        hidden_MCHW = self.conv_in(pictures_MCSS)
        for level in self.down:
            hidden_MCHW = run_level(level, hidden_MCHW)  # type: ignore[arg-type]  # a list of dicts
        vectors_MKGG: Tensor = self.conv_out(F.silu(self.norm_out(run_middle(self.mid, hidden_MCHW))))
        return torch.as_tensor(self.quant_conv(vectors_MKGG))


class Decoder(nn.Module):
    """Signs -> pictures.

    Args:
        sizes: of them.
    """

    def __init__(self, sizes: CoderSizes) -> None:
        super().__init__()
        widths = [sizes.channels * part for part in UP]
        self.post_quant_conv, self.conv_in = nn.Conv2d(sizes.bits, sizes.bits, 1), convolve(sizes.bits, widths[-1])
        self.mid = make_middle(widths[-1])
        befores = [*widths[1:], widths[-1]]
        self.up = nn.ModuleList(
            make_level(before, after, blocks, **({"upsample": Double(after)} if level else {}))
            for level, (before, after, blocks) in enumerate(zip(befores, widths, UP_BLOCKS, strict=True))
        )
        self.norm_out, self.conv_out = norm(widths[0]), convolve(widths[0], 3)

    def forward(self, signs_MKGG: Tensor) -> Tensor:
        """Pictures, [M, 3, S, S]."""
        hidden_MCHW = run_middle(self.mid, self.conv_in(self.post_quant_conv(signs_MKGG)))
        for level in reversed(self.up):
            hidden_MCHW = run_level(level, hidden_MCHW)  # type: ignore[arg-type]  # a list of dicts
        pictures_MCSS: Tensor = self.conv_out(F.silu(self.norm_out(hidden_MCHW)))
        return pictures_MCSS


class Magvit(Coder):
    """The same as :class:`Coder` by other nets.

    Args:
        sizes: of it; the release has ``side=256 fold=1 halvings=4 channels=128 bits=13``.
        path: folder of released weights; ``None``: random ones.

    Raises:
        ValueError: sizes that these nets can't have, or weights of other names or shapes.
    """

    def __init__(self, sizes: CoderSizes, path: str | None) -> None:
        nn.Module.__init__(self)
        if (sizes.fold, sizes.halvings) != (1, len(DOWN) - 1) or sizes.channels % GROUPS:
            raise ValueError(
                f"MAGVIT-v2 has fold=1, halvings={len(DOWN) - 1} and channels a multiple of {GROUPS}, not "
                f"fold={sizes.fold}, halvings={sizes.halvings} and channels={sizes.channels}; take model=mmact/mmada_8b"
            )
        self.sizes, self.encoder, self.decoder = sizes, Encoder(sizes), Decoder(sizes)  # type: ignore[assignment]
        if path is not None:
            load_magvit(self, Path(path))


def load_magvit(coder: Magvit, folder: Path) -> None:
    """Load released weights.

    Raises:
        ValueError: no such folder, or weights of other names or shapes; names the first.
    """
    weights = read_weights(sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin")))
    if not weights:
        raise ValueError(f"coder.path={folder} must be a folder with MAGVIT-v2's .safetensors or .bin file")
    own = coder.state_dict()
    for name in sorted(own.keys() | weights.keys()):
        there, here = (None if part is None else tuple(part.shape) for part in (weights.get(name), own.get(name)))
        if there != here:
            raise ValueError(f"coder.path={folder}: {name} is {there} there and {here} in MAGVIT-v2 of these sizes")
    coder.load_state_dict(weights)


def read_weights(files: Sequence[Path]) -> Mapping[str, Tensor]:
    """Weights of files by name, without those that are made."""
    read = [load_file(file) if file.suffix == ".safetensors" else torch.load(file, weights_only=True) for file in files]
    return {name: weight for part in read for name, weight in part.items() if not name.startswith(MADE)}
