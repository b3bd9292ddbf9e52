"""Losses of reconstructed clips. Shapes: B clips, T context frames, F others, M frames of all, pixels in [0, 1]."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mirage_pl.ivideogpt.model.tokenizer import Reconstruction

MOVED = 0.1
"""A pixel has moved if a channel of it differs by more."""


class FrameLosses:
    """The losses of the tokenizer, by name.

    Args:
        motion: further weight of pixels that differ from the newest context frame.
        squared: further weight of squared errors of the context, by which few pixels of an object count as much as many
            of the ground.
        perceptual: path of a network that says how different pictures look: TorchScript, (x, y) in [-1, 1],
            [M, 3, H, W] -> a number each; ``None``: none. LPIPS is written by
            ``torch.jit.trace(lpips.LPIPS(net="vgg"), (x, y)).save(path)``.

    Raises:
        ValueError: the path isn't such a file.
    """

    def __init__(self, motion: float, squared: float, perceptual: str | None) -> None:
        self.motion, self.squared = motion, squared
        self.network: Any = None if perceptual is None else load_network("perceptual", perceptual)

    def __call__(self, context_BTCHW: Tensor, rest_BFCHW: Tensor, clip: Reconstruction) -> dict[str, Tensor]:
        """Compute the losses.

        ``recon`` and ``context_recon`` are L1 of pixels, the latter with squared errors beside; ``vq`` and
        ``dynamics_vq`` draw vectors and codes together, ``perceptual`` is the mean distance of all frames, 0 without a
        network.
        """
        missed_BTCHW = clip.context_BTCHW - context_BTCHW
        weights_BF1HW = weigh_motion(rest_BFCHW, context_BTCHW[:, -1], self.motion)
        losses = {
            "recon": (weights_BF1HW * (clip.dynamics_BFCHW - rest_BFCHW).abs()).mean(),
            "context_recon": missed_BTCHW.abs().mean() + self.squared * missed_BTCHW.square().mean(),
            "vq": clip.context.loss,
            "dynamics_vq": clip.dynamics.loss,
            "perceptual": torch.zeros((), device=rest_BFCHW.device),
        }
        if self.network is not None:
            truth_MCHW = torch.cat((context_BTCHW, rest_BFCHW), 1).flatten(0, 1)
            network = self.network.to(truth_MCHW.device)
            losses["perceptual"] = network(2 * join_frames(clip) - 1, 2 * truth_MCHW - 1).mean()
        return losses


def weigh_motion(frames_BFCHW: Tensor, newest_BCHW: Tensor, motion: float) -> Tensor:
    """Weight of each pixel: 1, and ``motion`` more where it differs from the newest context frame. [B, F, 1, H, W]."""
    moved_BF1HW = (frames_BFCHW - newest_BCHW[:, None]).abs().amax(2, keepdim=True) > MOVED
    return 1 + motion * moved_BF1HW


def join_frames(clip: Reconstruction) -> Tensor:
    """All frames of reconstructed clips, [B (T + F), C, H, W]."""
    return torch.cat((clip.context_BTCHW, clip.dynamics_BFCHW), 1).flatten(0, 1)


def load_network(key: str, path: str) -> Any:
    """Load the network that a key names, from a TorchScript file; it doesn't learn."""
    if not Path(path).is_file():
        raise ValueError(f"{key}={path} does not exist; give a TorchScript file, or null for none")
    try:
        network = torch.jit.load(path, map_location="cpu").eval()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{key}={path} is no TorchScript file ({reason})") from None
    for weight in network.parameters():
        weight.requires_grad_(False)
    return network
