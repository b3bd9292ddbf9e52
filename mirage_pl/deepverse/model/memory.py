"""Which unit of the past a window is shown besides its context.

Shapes: N units so far, U that come, poses [4, 4] to the world, H x W pixels of depth.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from mirage_pl.deepverse.model.overlap import look_from, place_views

NEAREST = 5
"""Cameras near the newest one, of which the one that looks most alike is taken."""


@dataclass(frozen=True)
class Past:
    """What there is to be reminded of.

    Attributes:
        poses_N44: cameras of all units, the newest last.
        given: how many of the newest the window has as its context anyway.
        coming_U44: where the cameras of its new units are expected.
        depth_NHW: of the last frame of each unit; 0: not known.
        lenses_N33: in pixels.
    """

    poses_N44: Tensor
    given: int
    coming_U44: Tensor
    depth_NHW: Tensor
    lenses_N33: Tensor


class Memory(Protocol):
    """A way to choose."""

    def __call__(self, past: Past) -> int | None:
        """Return the number of a unit; ``None``: none is shown."""


def choose_none(past: Past) -> int | None:
    """Show none."""
    return None


def choose_released(past: Past) -> int | None:
    """The released rule: of the nearest cameras the one with the most alike axis; it may be context already."""
    return choose_among(past.poses_N44, len(past.poses_N44) - 1)


def choose_outside(past: Past) -> int | None:
    """The same, among units that aren't context."""
    return choose_among(past.poses_N44, len(past.poses_N44) - past.given)


def choose_alike(past: Past, ahead: float = 2.0) -> int | None:
    """Among units that aren't context the one most like the newest: near it, and looking at what is near.

    Of cameras on one spot, where the released rule sees the oldest ones alone, it is the one that looks the same way.

    Args:
        past: the units.
        ahead: how far away what a camera looks at is taken to be.
    """
    poses_N44, given = past.poses_N44, past.given
    if len(poses_N44) <= given:
        return None
    places_N3 = poses_N44[:, :3, 3]
    ends_N3 = places_N3 + ahead * poses_N44[:, :3, 2]
    apart_N = sum((points_N3 - points_N3[-1]).norm(dim=1) for points_N3 in (places_N3, ends_N3))
    return int(torch.as_tensor(apart_N)[: len(poses_N44) - given].argmin())


def choose_visible(past: Past) -> int | None:
    """Among units that aren't context the one that shows most of what will be seen and the context doesn't show.

    What each unit shows, by its depth, is placed before the cameras that come; what something nearer hides isn't seen.
    Of units alike the newest is taken; ``None``: no unit shows any of it.
    """
    outside = len(past.poses_N44) - past.given
    if outside < 1:
        return None
    points = place_views(past.depth_NHW, past.poses_N44, past.lenses_N33)
    size = past.depth_NHW.shape[1], past.depth_NHW.shape[2]
    shows_NK = torch.cat([look_from(points, pose_44, past.lenses_N33[-1], size) for pose_44 in past.coming_U44], 1)
    known_K = shows_NK[outside:].any(0)
    new_N, all_N = (each[:outside].sum(1) for each in (shows_NK & ~known_K, shows_NK))
    score_N = new_N * (1 + shows_NK.shape[1]) + all_N
    best = int(len(score_N) - 1 - score_N.flip(0).argmax())
    return best if all_N[best] else None


def choose_among(poses_N44: Tensor, count: int) -> int | None:
    """Of the first so many units near the newest one, the one whose optical axis is most like its own."""
    if count < 1:
        return None
    near = list_near(poses_N44, count)
    axes_N3 = poses_N44[:, :3, 2]
    alike = axes_N3[near] @ axes_N3[-1]
    return int(near[alike.argmax()])


def list_near(poses_N44: Tensor, count: int) -> Tensor:
    """The nearest cameras to the newest one among the first so many, nearest first."""
    apart_N = (poses_N44[:count, :3, 3] - poses_N44[-1, :3, 3]).norm(dim=1)
    return torch.sort(apart_N, stable=True).indices[:NEAREST]
