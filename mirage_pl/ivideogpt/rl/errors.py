"""How far imagined frames are from those that came, which is what they are rewarded by.

Shapes: B imagined clips of one context, F frames after it, C channels, H x W pixels in [0, 1].
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from data_modules.episodes.clips import Clip
from data_modules.scores import Scores
from mirage_pl.ivideogpt.losses import load_network


class FrameErrors:
    """Errors of frames, each a mean over a clip: ``l1`` and ``mse`` of pixels, ``lpips`` where there is a network.

    Args:
        lpips: path of a network that says how different pictures look, as ``perceptual`` of
            :class:`mirage_pl.ivideogpt.losses.FrameLosses`; ``None``: none.

    Raises:
        ValueError: the path isn't such a file.
    """

    def __init__(self, lpips: str | None) -> None:
        self.network: Any = None if lpips is None else load_network("errors.lpips", lpips)

    def __call__(self, frames_BFCHW: Tensor, truth_FCHW: Tensor) -> dict[str, Tensor]:
        """Measure each clip, [B]."""
        missed_BFCHW = frames_BFCHW - truth_FCHW
        errors = {"l1": missed_BFCHW.abs().mean((1, 2, 3, 4)), "mse": missed_BFCHW.square().mean((1, 2, 3, 4))}
        if self.network is not None:
            network = self.network.to(frames_BFCHW.device)
            pairs = 2 * frames_BFCHW.flatten(0, 1) - 1, 2 * truth_FCHW.expand_as(frames_BFCHW).flatten(0, 1) - 1
            errors["lpips"] = network(*pairs).flatten().view(frames_BFCHW.shape[:2]).mean(1)
        return errors

    def grade(self, sample: Clip, answer: Mapping[str, float]) -> Scores:
        """A clip's grade is its errors, which were measured where its frames were."""
        return Scores(answer, "imagined", sample.group)
