"""Folders of pictures as episodes: frames, depth, poses and intrinsics by name, and what users trip over."""

import re
import shutil

import numpy as np
import pytest
from hydra.utils import instantiate
from PIL import Image

from data_modules.episodes.clips import Episodes
from data_modules.worlds.raycast import Raycast
from data_modules.worlds.walks import walk
from tests.conftest import compose

FORM = {"keys": {"frames": "rgb", "depth": "depth", "poses": "poses", "intrinsics": "intrinsics"}}
WINDOW = {"length": 5, "hop": 4}


@pytest.fixture(scope="module")
def episode():
    world, draws = Raycast(24, 32), np.random.default_rng(3)
    world.reset(1, draws)
    return walk(world, "wander", 9, 4, draws)


def write(folder, episode, first=0, step=1, name="rgb/{:06}.png", far="depth/{:06}.png"):
    """A folder as scanners leave them: depth in millimetres, a line of 16 numbers for each pose, intrinsics 4 x 4."""
    space = episode.geometry
    for place, (frame, depth) in enumerate(zip(episode.frames_THWC, space.depth_THW, strict=True)):
        number = first + step * place
        for key, picture in ((name, frame), (far, (depth * 1000).round().astype(np.uint16))):
            file = folder / key.format(number)
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(file)
    np.savetxt(folder / "poses.txt", space.poses_T44.reshape(-1, 16))
    lens = np.eye(4)
    lens[:3, :3] = space.intrinsics_T33[0]
    np.savetxt(folder / "intrinsics.txt", lens)
    return folder


def read(folder, form=FORM, **geometry):
    data = Episodes(WINDOW, form | {"geometry": {"unit": 0.001} | geometry})
    return data, data.read(str(folder))


def test_a_folder_is_an_episode_and_a_folder_of_folders_several(episode, tmp_path):
    folder = write(tmp_path / "scene", episode)
    data, rows = read(folder)
    assert len(rows) == 2
    clip, space = rows[1].read(), episode.geometry
    assert np.array_equal(clip.frames_THWC, episode.frames_THWC[4:])
    np.testing.assert_allclose(clip.geometry.depth_THW, space.depth_THW[4:], atol=6e-4)
    np.testing.assert_allclose(clip.geometry.poses_T44, space.poses_T44[4:], atol=1e-6)
    np.testing.assert_allclose(clip.geometry.intrinsics_T33[0], space.intrinsics_T33[0])
    assert not list(data.problems(str(folder)))
    write(tmp_path / "other", episode, first=100, step=5)
    data, rows = read(tmp_path)
    assert len(rows) == 4
    assert {row.where.rpartition("@")[0] for row in rows} == {f"{tmp_path}:other", f"{tmp_path}:scene"}
    assert rows.identity(rows[0]) == rows.identity(rows[3])


def test_files_beside_each_other_are_told_apart_by_patterns_and_a_pose_may_be_a_file(episode, tmp_path):
    folder = write(tmp_path / "scan", episode, name="frame-{:06}.color.png", far="frame-{:06}.depth.png")
    (folder / "poses.txt").unlink()
    for number, pose in enumerate(episode.geometry.poses_T44):
        np.savetxt(folder / f"frame-{number:06}.pose.txt", pose)
    keys = {"frames": "*.color.png", "depth": "*.depth.png", "poses": "*.pose.txt", "intrinsics": "intrinsics"}
    data, rows = read(folder, {"keys": keys})
    np.testing.assert_allclose(rows[1].read().geometry.poses_T44, episode.geometry.poses_T44[4:], atol=1e-6)
    assert not list(data.problems(str(folder)))


def test_frames_without_depth_or_anything_else_are_an_episode_too(episode, tmp_path):
    folder = write(tmp_path / "scene", episode, far="elsewhere/{:06}.png")
    for name in ("poses", "intrinsics"):
        (folder / f"{name}.txt").unlink()
    assert read(folder)[1][0].read().geometry is None


def test_the_task_reads_such_a_folder(episode, tmp_path):
    write(tmp_path / "scene", episode)
    given = [f"task.train_file={tmp_path}/scene", "task.val_file=null", "task.test_file=null", "task.window.length=5"]
    cfg = compose("data", "task=episodes/pictures", "task.form.geometry.unit=0.001", *given)
    data = instantiate(cfg.task.dataset)
    assert data.read(cfg.task.train_file)[0].read().geometry.depth_THW.shape == (5, 24, 32)


def save(array, file):
    Image.fromarray(array).save(file)


SPOILT = {
    "frames of rgb have a gap: 4 between 000003.png and 000005.png": lambda at: (at / "rgb/000004.png").unlink(),
    "rgb has frame 4, depth hasn't; they need the same frames": lambda at: (at / "depth/000004.png").unlink(),
    "rgb has frame 0, depth hasn't": lambda at: (at / "depth/000000.png").rename(at / "depth/000009.png"),
    "000004.png and 4.png have one number": lambda at: shutil.copy(at / "rgb/000004.png", at / "rgb/4.png"),
    r"000005.png has shape \(8, 8, 3\), but 000000.png \(24, 32, 3\)": lambda at: save(
        np.zeros((8, 8, 3), np.uint8), at / "rgb/000005.png"
    ),
    "000005.png cannot be read": lambda at: (at / "rgb/000005.png").write_bytes(b"no picture"),
    "000005.png is a picture of 3 channels; numbers need one": lambda at: save(
        np.zeros((24, 32, 3), np.uint8), at / "depth/000005.png"
    ),
    "depth of frame 5 is known nowhere: all is 0 or infinite": lambda at: save(
        np.zeros((24, 32), np.uint16), at / "depth/000005.png"
    ),
    r"poses of shape \(8, 4, 4\); expected \[9, 4, 4\]": lambda at: np.savetxt(
        at / "poses.txt", np.loadtxt(at / "poses.txt")[:-1]
    ),
    "poses.txt can't be read as numbers": lambda at: (at / "poses.txt").write_text("here and there"),
}


@pytest.mark.parametrize("words", SPOILT)
def test_what_users_trip_over_is_said_in_one_line_with_its_file(episode, tmp_path, words):
    folder = write(tmp_path / "scene", episode)
    SPOILT[words](folder)
    (problem,) = Episodes(WINDOW, FORM | {"geometry": {"unit": 0.001}}).problems(str(folder))
    assert re.search(words, problem), problem
    assert problem.startswith(str(folder))
    assert "\n" not in problem
