"""Which unit of the past a window is shown besides its context. Shapes: N units so far, poses [4, 4] to the world."""

from typing import Protocol

import torch
from torch import Tensor

NEAREST = 5
"""Cameras near the newest one, of which the one that looks most alike is taken."""


class Memory(Protocol):
    """A way to choose."""

    def __call__(self, poses_N44: Tensor, given: int) -> int | None:
        """Return the number of a unit; ``None``: none is shown.

        Args:
            poses_N44: of all units, the newest last.
            given: how many of the newest the window has as its context anyway.
        """


def choose_none(poses_N44: Tensor, given: int) -> int | None:
    """Show none."""
    return None


def choose_released(poses_N44: Tensor, given: int) -> int | None:
    """The released rule: of the nearest cameras the one with the most alike axis; it may be context already."""
    return choose_among(poses_N44, len(poses_N44) - 1)


def choose_outside(poses_N44: Tensor, given: int) -> int | None:
    """The same, among units that aren't context."""
    return choose_among(poses_N44, len(poses_N44) - given)


def choose_alike(poses_N44: Tensor, given: int, ahead: float = 2.0) -> int | None:
    """Among units that aren't context the one most like the newest: near it, and looking at what is near.

    Of cameras on one spot, where the released rule sees the oldest ones alone, it is the one that looks the same way.

    Args:
        poses_N44: of all units, the newest last.
        given: units that are context.
        ahead: how far away what a camera looks at is taken to be.
    """
    if len(poses_N44) <= given:
        return None
    places_N3 = poses_N44[:, :3, 3]
    ends_N3 = places_N3 + ahead * poses_N44[:, :3, 2]
    apart_N = sum((points_N3 - points_N3[-1]).norm(dim=1) for points_N3 in (places_N3, ends_N3))
    return int(torch.as_tensor(apart_N)[: len(poses_N44) - given].argmin())


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
