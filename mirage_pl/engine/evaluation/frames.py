"""How alike frames are. Shapes: M frames, C channels, H x W pixels in [0, 1]."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

LEAST = 1e-8
"""Squared error of frames that are the same, so that their PSNR is 80 dB."""
AT_ONCE = 128
"""Frames whose windows exist at a time."""
SIDE, SIGMA = 11, 1.5
"""Window of SSIM: a Gaussian (Wang et al. 2004, IEEE Transactions on Image Processing 13:600-612)."""


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
