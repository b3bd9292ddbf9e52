"""Units as they are imagined against those that came. Shapes: B clips, T frames, H x W pixels."""

from collections.abc import Mapping

from torch import Tensor

from mirage_pl.deepverse.evaluations.geometry import measure_normals
from mirage_pl.deepverse.pictures import measure_depth_error
from mirage_pl.engine.evaluation.frames import psnr, squared_error, ssim

LAST = ("psnr", "absrel")
"""Measures of the last unit as well."""
STILL = 8 / 255
"""A unit in which no pixel changes by more than this is at rest, where the camera isn't what moves."""


def find_moves(frames_BTCHW: Tensor) -> list[bool]:
    """Whether something moves in frames in uint8 after the first."""
    change = (frames_BTCHW[:, 1:].float() - frames_BTCHW[:, :1].float()).abs() / 255
    moves: list[bool] = (change.flatten(1).amax(1) > STILL).tolist()
    return moves


def score_frames(ours: Mapping[str, Tensor], truth: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Measures of each frame, [B, T]."""
    shape = ours["colours"].shape[:2]
    pair = [each["colours"].flatten(0, 1) for each in (ours, truth)]
    scores = {"psnr": psnr(squared_error(*pair)).view(shape), "ssim": ssim(*pair).view(shape)}
    if "disparity" in ours:
        scores["absrel"] = measure_depth_error(ours["disparity"], truth["disparity"])
    if "normals" in ours:
        normals = measure_normals(ours["normals"], truth["normals"])
        scores |= {name: score.view(shape) for name, score in normals.items()}
    return scores
