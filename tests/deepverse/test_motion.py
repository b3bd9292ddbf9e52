"""Actions read from rays, and whether colours, depth and camera of a unit agree."""

import math

import numpy as np
import pytest
import torch

from data_modules.worlds.raycast import Raycast
from data_modules.worlds.walking import ACTIONS
from mirage_pl.deepverse.evaluations.motion import measure_motion, read_code
from mirage_pl.deepverse.evaluations.warping import measure_agreement
from mirage_pl.deepverse.model.expected import build_step
from mirage_pl.deepverse.model.prompts import NUMBERS


def test_each_of_27_actions_is_read_from_its_step_and_from_one_that_is_a_little_off():
    for code, numbers in ACTIONS.items():
        for length, degrees in ((0.48, 18.0), (0.35, 15.0), (0.6, 22.0)):
            step = build_step(numbers, torch.tensor(length), torch.tensor(math.radians(degrees)))
            assert read_code(step, 9.0, 0.24) == code
    step = build_step(ACTIONS["FR"], torch.tensor(0.2), torch.tensor(0.1))
    assert read_code(step, 9.0, 0.24) == "SN"
    assert measure_motion(step, step, NUMBERS["FR"], 9.0, 0.24).measures["action_right"] is False
    assert measure_motion(step, step, NUMBERS["SN"], 9.0, 0.24).measures["action_right"] is True
    assert measure_motion(step, step, 0, 9.0, 0.24).measures["action_right"] is None


def look(action, frames=4, seed=2):
    """A frame of a room, a later one, its depth, its camera as the first one sees it, and the lens."""
    world = Raycast(48, 64)
    world.reset(3, np.random.default_rng(seed))
    first = world.look()
    for _ in range(frames):
        world.step(ACTIONS[action])
    view = world.look()
    step = np.linalg.inv(first.pose_44) @ view.pose_44
    frames = (torch.from_numpy(each.frame_HWC).movedim(-1, 0)[None] / 255 for each in (first, view))
    others = (torch.from_numpy(np.ascontiguousarray(each))[None] for each in (view.depth_HW, step, world.intrinsics_33))
    return *frames, *others


@pytest.mark.parametrize("action", ["FN", "SR", "fRL"])
def test_a_frame_agrees_with_its_own_depth_and_camera_and_not_with_others(action):
    before, after, depth, step, lens = look(action)
    (right,) = measure_agreement(before, after, depth, step, lens)
    assert right > 3
    (mirrored,) = measure_agreement(before, after, depth, torch.linalg.inv(step), lens)
    assert mirrored < right - 3
    together = [torch.cat((each, each)) for each in (before, after, depth, step, lens)]
    assert measure_agreement(*together) == pytest.approx([right, right], abs=1e-4)
    if action != "SR":  # who turns on the spot sees nothing of depth
        (flat,) = measure_agreement(before, after, torch.full_like(depth, 50.0), step, lens)
        assert flat < right


def test_a_camera_that_rests_or_sees_nothing_of_before_has_no_agreement():
    before, after, depth, step, lens = look("SN")
    assert math.isnan(measure_agreement(before, after, depth, step, lens)[0])
    before, after, depth, step, lens = look("SR", 40)
    assert math.isnan(measure_agreement(before, after, depth, step, lens)[0])
