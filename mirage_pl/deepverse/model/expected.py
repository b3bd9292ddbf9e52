"""Where cameras will be if actions take them on as they did before. Shapes: N units so far, U that come.

Cameras are taken to turn about their own vertical, as those of walks do.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from data_modules.worlds.walking import ACTIONS
from mirage_pl.deepverse.model.cameras import relate
from mirage_pl.deepverse.model.prompts import CODES

STILL = (0, 0, 0)
"""What nothing said does."""


def expect_cameras(poses_N44: Tensor, told: Sequence[int], coming: Sequence[int]) -> Tensor:
    """Cameras of the units that come, [U, 4, 4], in the world of the poses.

    How far a move goes and a turn turns is the median of what they did among the units so far; of what was never done
    it is nothing.

    Args:
        poses_N44: of all units so far, the newest last.
        told: what was said of each, by number; 0: nothing.
        coming: the same of each unit that comes.
    """
    relative_N44, actions = relate(poses_N44)[1:], [read_action(number) for number in told[1:]]
    moves = [
        step[:3, 3].norm() for step, (ahead, aside, _) in zip(relative_N44, actions, strict=True) if ahead or aside
    ]
    turns = [
        turn * torch.atan2(step[0, 2], step[2, 2])
        for step, (*_, turn) in zip(relative_N44, actions, strict=True)
        if turn
    ]
    length, angle = (torch.stack(each).median() if each else poses_N44.new_zeros(()) for each in (moves, turns))
    pose_44, poses = poses_N44[-1], list[Tensor]()
    for number in coming:
        pose_44 = pose_44 @ build_step(read_action(number), length, angle)
        poses.append(pose_44)
    return torch.stack(poses)


def read_action(number: int) -> tuple[int, int, int]:
    """Ahead, to the right and clockwise, each -1, 0 or 1; where no action has the number, nothing is done."""
    return ACTIONS[CODES[number]] if 0 < number < len(CODES) else STILL


def build_step(action: tuple[int, int, int], length: Tensor, angle: Tensor) -> Tensor:
    """A camera as the one before sees it, which turns all along its way."""
    ahead, aside, clockwise = action
    turned = clockwise * angle
    step_44 = torch.eye(4, dtype=length.dtype, device=length.device)
    step_44[0, 0] = step_44[2, 2] = turned.cos()
    step_44[0, 2], step_44[2, 0] = turned.sin(), -turned.sin()
    way = length / max(1.0, (ahead**2 + aside**2) ** 0.5)
    half = turned / 2
    step_44[0, 3] = way * (aside * half.cos() + ahead * half.sin())
    step_44[2, 3] = way * (ahead * half.cos() - aside * half.sin())
    return step_44
