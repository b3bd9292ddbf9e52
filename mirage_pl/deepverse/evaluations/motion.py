"""How a camera moves from one unit to the next, as imagined and in truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data_modules.worlds.walking import ACTIONS, name_action
from mirage_pl.deepverse.model.prompts import CODES

STILL = 1e-3
"""Radians, and lengths in the unit of the poses, up to which a camera rests."""


@dataclass(frozen=True)
class Motion:
    """One unit's.

    Attributes:
        moves: whether the camera moves in truth.
        measures: values by measure.
        facts: what else a row says.
    """

    moves: bool
    measures: Mapping[str, float | bool | None]
    facts: Mapping[str, Any]


def measure_motion(ours_44: Tensor, truth_44: Tensor, told: int, edge: float, reach: float) -> Motion:
    """Compare two steps of a camera.

    Args:
        ours_44: as imagined.
        truth_44: as it was.
        told: what was said, by number.
        edge: degrees from which a turn is one.
        reach: length from which a step is one, in the unit of the poses.
    """
    step, true_step = ours_44[:3, 3].tolist(), truth_44[:3, 3].tolist()
    moves = measure_angle(truth_44[:3, :3]) > STILL or float(truth_44[:3, 3].norm()) > STILL
    yaw, true_yaw = measure_yaw(ours_44), measure_yaw(truth_44)
    code = CODES[told]
    measures = {
        "yaw": None if not code else (yaw > edge) - (yaw < -edge) == ACTIONS[code][2],
        "action_right": None if not code else read_code(ours_44, edge, reach) == code,
        "turn_error": float(np.degrees(measure_angle(ours_44[:3, :3].mT @ truth_44[:3, :3]))),
        "move_error": float(np.linalg.norm(np.subtract(step, true_step))),
    }
    facts = {"action": code, "step": step, "true_step": true_step, "turn": yaw, "true_turn": true_yaw}
    return Motion(moves, measures, facts)


def read_code(step_44: Tensor, edge: float, reach: float) -> str:
    """The action that takes a camera like this, of all 27: the nearest of eight ways, and the turn."""
    yaw, (right, _, ahead) = measure_yaw(step_44), step_44[:3, 3].tolist()
    turn = (yaw > edge) - (yaw < -edge)
    if np.hypot(right, ahead) < reach:
        return name_action((0, 0, turn))
    way = np.arctan2(right, ahead) - np.radians(yaw) / 2  # who turns all along goes half as far round
    eighth = round(float(way) / (np.pi / 4)) * np.pi / 4
    return name_action((np.sign(round(np.cos(eighth), 6)), np.sign(round(np.sin(eighth), 6)), turn))


def measure_angle(turned_33: Tensor) -> float:
    """Radians that a rotation turns by, small ones as well."""
    off = (turned_33.double() - torch.eye(3, dtype=torch.float64, device=turned_33.device)).norm() / 8**0.5
    return 2 * float(torch.asin(off.clamp(max=1)))


def measure_yaw(pose_44: Tensor) -> float:
    """Degrees, clockwise seen from above, that a camera turns by."""
    return float(torch.atan2(pose_44[0, 2], pose_44[2, 2]).rad2deg())


def correlate(pairs: Sequence[tuple[float, float]]) -> float | None:
    """The correlation of pairs; ``None`` where one side doesn't vary."""
    ours, truth = np.array(pairs, float).reshape(-1, 2).T
    if len(ours) < 2 or min(ours.std(), truth.std()) == 0:
        return None
    return float(np.corrcoef(ours, truth)[0, 1])
