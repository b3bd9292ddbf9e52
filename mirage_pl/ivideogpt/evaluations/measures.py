"""How alike frames are. Shapes: B clips, F frames of each, M frames of all, C channels, H x W pixels in [0, 1]."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mirage_pl.engine.evaluation.frames import AT_ONCE, psnr, squared_error, ssim
from mirage_pl.engine.seams import Measure
from mirage_pl.ivideogpt.losses import load_network

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
