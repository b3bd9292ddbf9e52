"""Worlds whose frames come with depth: what is seen lies where the scene has it, and episodes are made of it."""

import json
from ctypes.util import find_library

import numpy as np
import pytest
from hydra.utils import instantiate

from data_modules.episodes.normals import derive_normals
from data_modules.worlds import rendering
from data_modules.worlds.pushing import Pushing
from tests.conftest import compose

needs_drawing = pytest.mark.skipif(
    not any(map(find_library, rendering.LIBRARIES.values())), reason="neither EGL nor OSMesa is here"
)


@needs_drawing
def test_what_a_camera_sees_of_a_table_lies_on_it_and_its_normals_are_upright():
    world = Pushing(48)
    world.reset(np.random.default_rng(0))
    view, lens = world.look(), world.intrinsics_33
    assert np.array_equal(view.frame_HWC, world.draw())
    x, y = np.meshgrid((np.arange(48) + 0.5 - lens[0, 2]) / lens[0, 0], (np.arange(48) + 0.5 - lens[1, 2]) / lens[1, 1])
    points = np.stack((x, y, np.ones_like(x)), -1) * view.depth_HW[..., None]
    there = points @ view.pose_44[:3, :3].T + view.pose_44[:3, 3]
    table = (np.abs(view.frame_HWC.astype(int) - view.frame_HWC[30:, :].reshape(-1, 3).max(0)) < 25).all(-1)
    assert table.mean() > 0.3
    assert np.median(np.abs(there[table, 2])) < 1e-3
    normals = derive_normals(view.depth_HW[None], lens[None])[0] @ view.pose_44[:3, :3].T
    assert np.median(normals[table, 2]) > 0.999


@needs_drawing
def test_episodes_have_depth_and_poses_beside_what_is_done(tmp_path):
    given = ["task.episodes={train: 1, val: 1, test: 1}", "task.side=24", "task.length=5", "task.num_workers=1"]
    cfg = compose("data", "task=pushing_depth", *given, "task.window={length: 5}", f"data={tmp_path}")
    instantiate(cfg.task.data.maker).make()
    data = instantiate(cfg.task.dataset)
    assert not list(data.problems(cfg.task.train_file))
    clip = data.read(cfg.task.train_file)[0].read()
    assert clip.geometry.arrays().keys() == {"depth", "poses", "intrinsics"}
    assert clip.geometry.depth_THW.shape == (5, 24, 24)
    assert clip.actions_SA.shape == (4, 2)
    assert json.loads((tmp_path / "pushing_depth-24px/train.jsonl").read_text())["length"] == 5
