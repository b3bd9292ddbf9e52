"""FVD: how far a set of clips lies from a set of real ones, to a network that knows what happens in clips.

Fréchet Video Distance (arXiv 1812.01717): the 400 logits of I3D, trained on Kinetics-400, of a set as one Gaussian, and
the distance of two Gaussians. A number depends on how many clips there are, on their frames and on their size, so that
it is always written with these, and beside what real clips have to real ones.

Shapes: B clips, F frames, C channels, H x W pixels in [0, 1]; N clips of a set, D features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mirage_pl.ivideogpt.evaluations.i3d import I3D, LEAST_FRAMES, SIDE, find_weights, load_i3d

FEATURES = "400 logits of I3D (Kinetics-400)"
AT_ONCE = 8
"""Clips whose frames exist at 224 x 224 at a time."""

Features = NDArray[np.float64]


@dataclass(frozen=True)
class Fvd:
    """When there is an FVD, and of what.

    Attributes:
        scored: conditions that have one; none: I3D isn't needed.
        least: fewer clips are refused: the fewer, the larger it is, whatever they show.
        weights: path of I3D's weights; ``None``: those of the installed package.

    Raises:
        ValueError: fewer than 2 clips would do.
    """

    scored: Sequence[str]
    least: int
    weights: str | None

    def __post_init__(self) -> None:
        if self.least < 2:
            raise ValueError(f"fvd.least={self.least} must be 2 or more: one clip has no covariance")

    def check(self, num_clips: int, num_frames: int) -> None:
        """Refuse clips that no FVD should be computed of, and weights that aren't there.

        Raises:
            ValueError: too few clips, too few frames, or no weights.
        """
        if not self.scored:
            return
        if num_frames < LEAST_FRAMES:
            raise ValueError(
                f"FVD needs clips of {LEAST_FRAMES} frames or more, these have {num_frames}; fvd.scored=[] goes without"
            )
        if num_clips < self.least:
            raise ValueError(
                f"FVD of {num_clips} clips says little: fvd.least={self.least}; score more clips, or lower fvd.least"
            )
        find_weights(self.weights)

    @cached_property
    def network(self) -> I3D:
        """What sees clips."""
        return load_i3d(self.weights).to(memory_format=torch.channels_last_3d)

    def see(self, clips_BFCHW: Tensor) -> Tensor:
        """Return the features of clips, [B, D] in float32."""
        network = self.network.to(clips_BFCHW.device)
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return torch.cat([network(enlarge(part)) for part in clips_BFCHW.float().split(AT_ONCE)])


def enlarge(clips_BFCHW: Tensor) -> Tensor:
    """Clips as I3D takes them: 224 x 224, bilinear, in [-1, 1], [B, C, F, H, W]."""
    frames_MCHW = F.interpolate(clips_BFCHW.flatten(0, 1), (SIDE, SIDE), mode="bilinear", align_corners=False)
    clips_BCFHW = (2 * frames_MCHW - 1).unflatten(0, clips_BFCHW.shape[:2]).transpose(1, 2)
    return clips_BCFHW.contiguous(memory_format=torch.channels_last_3d)


def frechet_distance(ours_ND: Features, truth_ND: Features) -> float:
    """Squared distance of the means, and of what the covariances have not in common, in float64.

    The covariances divide by N, as the published evaluation's. The root of their product has the trace of the root of
    a symmetric matrix, whose eigenvalues are real where the covariances are singular, too.
    """
    (mean, covariance), (mean_truth, covariance_truth) = fit_gaussian(ours_ND), fit_gaussian(truth_ND)
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    common = np.sqrt(np.linalg.eigvalsh(root @ covariance_truth @ root).clip(0)).sum()
    apart = np.square(mean - mean_truth).sum() + np.trace(covariance) + np.trace(covariance_truth) - 2 * common
    return max(0.0, float(apart))


def fit_gaussian(features_ND: Features) -> tuple[Features, Features]:
    """Return mean and covariance."""
    features_ND = np.asarray(features_ND, np.float64)
    return features_ND.mean(0), np.cov(features_ND, rowvar=False, bias=True).reshape([features_ND.shape[1]] * 2)


def compare_halves(ours_ND: Features | None, truth_ND: Features, units: Sequence[str]) -> dict[str, float]:
    """What clips of other episodes are apart: both numbers are of half as many clips, so that they compare.

    Args:
        ours_ND: features of the clips that are scored; ``None``: only real ones are compared.
        truth_ND: of the real ones, in the same order.
        units: the episode of each.

    Returns:
        ``fvd_real``, of real clips and others that are real; ``fvd_halves``, of ours and real ones of other episodes.
        Nothing if there is one episode.
    """
    order = {unit: place for place, unit in enumerate(sorted(set(units)))}
    even_N = np.array([order[unit] % 2 == 0 for unit in units])
    if min(even_N.sum(), (~even_N).sum()) < 2:
        return {}
    numbers = {"fvd_real": frechet_distance(truth_ND[even_N], truth_ND[~even_N])}
    if ours_ND is not None:
        halves = [frechet_distance(ours_ND[half], truth_ND[~half]) for half in (even_N, ~even_N)]
        numbers["fvd_halves"] = sum(halves) / 2
    return numbers
