"""How alike frames are. Shapes: B clips, F frames of each, M frames of all, C channels, H x W pixels in [0, 1]."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from mirage_pl.engine.seams import Measure
from mirage_pl.ivideogpt.losses import load_network

LEAST = 1e-8
"""Squared error of frames that are the same, so that their PSNR is 80 dB."""
AT_ONCE = 128
"""Frames whose windows exist at a time."""
SIDE, SIGMA = 11, 1.5
"""Window of SSIM: a Gaussian (Wang et al. 2004, IEEE Transactions on Image Processing 13:600-612)."""
MEASURES: Mapping[str, Measure] = {
    "psnr": Measure("mean", "higher", "dB", "PSNR: of each frame after the context, mean over a clip."),
    "ssim": Measure("mean", "higher", meaning="SSIM: structural similarity, 1 is the same."),
    "mse": Measure("mean", "lower", meaning="MSE: squared error of pixels in [0, 1]."),
}
LPIPS = Measure("mean", "lower", meaning="LPIPS: the distance of the network that was given as lpips.")


class FrameScores:
    """Score frames by every measure.

    Args:
        lpips: path of LPIPS as TorchScript, (x, y) in [-1, 1], [M, 3, H, W] -> a number each; ``None``: it isn't
            measured, for its weights are in no package, and another distance hasn't its name.

    Raises:
        ValueError: the path isn't such a file.
    """

    def __init__(self, lpips: str | None) -> None:
        self.network: Any = None if lpips is None else load_network("lpips", lpips)

    @property
    def measures(self) -> dict[str, Measure]:
        """By name, the one that ranks runs first."""
        return {**MEASURES, **({} if self.network is None else {"lpips": LPIPS})}

    def __call__(self, ours_BFCHW: Tensor, truth_BFCHW: Tensor) -> dict[str, Tensor]:
        """Return the score of each frame by each measure, [B, F]."""
        ours_MCHW, truth_MCHW = ours_BFCHW.flatten(0, 1), truth_BFCHW.flatten(0, 1)
        error_M = squared_error(ours_MCHW, truth_MCHW)
        scores = {"psnr": psnr(error_M), "ssim": ssim(ours_MCHW, truth_MCHW), "mse": error_M}
        if self.network is not None:
            network, pairs = self.network.to(ours_MCHW.device), (ours_MCHW.split(AT_ONCE), truth_MCHW.split(AT_ONCE))
            parts = [network(2 * ours - 1, 2 * truth - 1).flatten() for ours, truth in zip(*pairs, strict=True)]
            scores["lpips"] = torch.cat(parts)
        return {name: score_M.view(ours_BFCHW.shape[:2]) for name, score_M in scores.items()}


def squared_error(ours_MCHW: Tensor, truth_MCHW: Tensor) -> Tensor:
    """Mean squared error of each frame, [M]."""
    return (ours_MCHW - truth_MCHW).square().flatten(1).mean(1)


def psnr(error_M: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of squared errors, [M]."""
    return -10 * (error_M + LEAST).log10()


def ssim(ours_MCHW: Tensor, truth_MCHW: Tensor) -> Tensor:
    """Structural similarity of each frame, -1 to 1, by windows of 11 x 11 pixels (Gaussian, sigma 1.5), [M].

    Raises:
        ValueError: frames smaller than the window.
    """
    if min(ours_MCHW.shape[2:]) < SIDE:
        raise ValueError(f"SSIM needs frames of {SIDE} x {SIDE} pixels or more, these have {list(ours_MCHW.shape[2:])}")
    options: dict[str, Any] = {"sigma": SIGMA, "kernel_size": SIDE, "reduction": "none", "data_range": 1.0}
    pairs = zip(ours_MCHW.split(AT_ONCE), truth_MCHW.split(AT_ONCE), strict=True)
    parts: list[Any] = [structural_similarity_index_measure(*pair, **options) for pair in pairs]
    return torch.cat([part.reshape(-1) for part in parts])


def to_pixels(frames_MCHW: Tensor) -> NDArray[np.uint8]:
    """Frames as they are shown: clamped, in uint8, [M, H, W, C]."""
    pixels: NDArray[np.uint8] = (
        (frames_MCHW.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    )
    return pixels
