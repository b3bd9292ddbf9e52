"""From window to window: what was imagined, in the unit of the first one, and what the next window is given of it.

Shapes: T frames of H x W pixels, N units, h x w places. A window's own unit is the distance of the nearest point in its
first picture; ``scale`` is how many of the first window's units that is.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mirage_pl.deepverse.model.cameras import invert, relate
from mirage_pl.deepverse.model.codec import StateCodec, find_scale


@dataclass(frozen=True)
class Window:
    """What a window shows, as it was decoded.

    Attributes:
        colours_3THW: pictures, about [-1, 1].
        disparity_3THW: pictures of disparity.
        poses_N44: cameras as that of its first unit sees them, in the window's unit.
        lenses_N33: in pixels.
    """

    colours_3THW: Tensor
    disparity_3THW: Tensor
    poses_N44: Tensor
    lenses_N33: Tensor


@dataclass(frozen=True)
class Walked:
    """All windows so far, in the unit and as the camera of the first one's first unit.

    Attributes:
        colours_3THW: pictures.
        disparity_THW: 1 / depth.
        poses_N44: cameras.
        lenses_N33: in pixels.
    """

    colours_3THW: Tensor
    disparity_THW: Tensor
    poses_N44: Tensor
    lenses_N33: Tensor


@dataclass(frozen=True)
class Given:
    """What the next window begins with.

    Attributes:
        scale: of the window.
        colours_3THW: pictures, cut to whole levels of 255, as a file would have them.
        disparity_THW: pictures of disparity; what has come nearer than the nearest of the first one is above 1.
        rays_N6hw: standardised.
    """

    scale: Tensor
    colours_3THW: Tensor
    disparity_THW: Tensor
    rays_N6hw: Tensor


def join_window(codec: StateCodec, walked: Walked | None, window: Window, scale: Tensor | float, given: int) -> Walked:
    """Append a window; of one that goes on, the units that it was given are left out.

    Args:
        codec: what its pictures mean.
        walked: all windows before; ``None``: it is the first one.
        window: what it shows.
        scale: of the window, 1 for the first one.
        given: units that it was given.
    """
    disparity_THW = codec.decode_disparity(window.disparity_3THW.mean(0), scale)
    poses_N44 = window.poses_N44.clone()
    poses_N44[:, :3, 3] *= scale
    if walked is None:
        return Walked(window.colours_3THW, disparity_THW, poses_N44, window.lenses_N33)
    frames = len(disparity_THW) - count_new(len(disparity_THW), len(poses_N44), given)
    poses_N44 = walked.poses_N44[-given] @ poses_N44
    return Walked(
        torch.cat((walked.colours_3THW, window.colours_3THW[:, frames:]), 1),
        torch.cat((walked.disparity_THW, disparity_THW[frames:])),
        torch.cat((walked.poses_N44, poses_N44[given:])),
        torch.cat((walked.lenses_N33, window.lenses_N33[given:])),
    )


def count_new(frames: int, units: int, given: int) -> int:
    """Frames of a window's units that weren't given."""
    return (frames - 1) // (units - 1) * (units - given)


def give(codec: StateCodec, walked: Walked, given: int, stride: int, depth: bool = True) -> Given:
    """What the next window is given: the newest units.

    Args:
        codec: what pictures mean.
        walked: all windows so far.
        given: how many units.
        stride: frames of a unit.
        depth: ``False``: it is off; as released, the unit stays what it is, and disparity isn't made a picture.
    """
    frames = stride * (given - 1) + 1
    disparity_THW = walked.disparity_THW[-frames:]
    scale = find_scale(disparity_THW[0]) if depth else torch.ones(())
    levels = ((walked.colours_3THW[:, -frames:] + 1) / 2).clamp(0, 1) * 255
    size = disparity_THW.shape[1], disparity_THW.shape[2]
    rays = codec.encode_rays(relate(walked.poses_N44[-given:]), walked.lenses_N33[-given:], size, scale)
    pictures_THW = codec.encode_disparity(disparity_THW, scale) if depth else disparity_THW
    return Given(scale, levels.floor() / 127.5 - 1, pictures_THW, rays)


def draw_memory(codec: StateCodec, walked: Walked, unit: int, given: int, stride: int, scale: Tensor) -> Given:
    """A unit of the past as one more picture of the next window, as the camera of the window's first unit sees it."""
    frame = unit * stride
    place = invert(walked.poses_N44[-given][None]) @ walked.poses_N44[unit][None]
    size = walked.disparity_THW.shape[1], walked.disparity_THW.shape[2]
    rays = codec.encode_rays(place, walked.lenses_N33[[unit]], size, scale)
    picture = codec.encode_disparity(walked.disparity_THW[[frame]], scale).clamp(-1, 1)
    return Given(scale, walked.colours_3THW[:, [frame]], picture, rays)
