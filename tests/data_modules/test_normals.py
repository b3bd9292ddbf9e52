"""Normals: exact ones of rooms, those that are made of depth, as pictures, and what is wrong with them."""

import json

import numpy as np
import pytest

from data_modules.episodes.clips import Episodes
from data_modules.episodes.geometry import Geometry
from data_modules.episodes.normals import derive_normals, find_normals, shade_normals
from data_modules.worlds.raycast import Raycast
from data_modules.worlds.walks import walk

KEYS = {"keys": {name: name for name in ("frames", "depth", "poses", "intrinsics", "normals")}}


@pytest.fixture(scope="module")
def episode():
    world, draws = Raycast(24, 32), np.random.default_rng(3)
    world.reset(1, draws)
    return walk(world, "wander", 9, 4, draws)


def measure(ours, truth):
    known = (truth != 0).any(-1)
    return np.degrees(np.arccos((ours * truth).sum(-1)[known].clip(-1, 1)))


def test_a_rooms_normals_are_exact_face_the_eye_and_stand_on_its_surfaces(episode):
    space = episode.geometry
    normals = space.normals_THW3
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-6)
    there = np.einsum("tij,thwj->thwi", space.poses_T44[:, :3, :3], normals)
    assert np.abs(there).max(-1) == pytest.approx(1, abs=1e-6)  # walls, floor and ceiling are along the map's axes
    flat = np.abs(there[..., 1]) > 0.5
    assert (
        np.sign(there[..., 1])[flat]
        == np.where(np.arange(24) < 12, 1, -1)[None, :, None].repeat(9, 0).repeat(32, 2)[flat]
    ).all()
    angles = measure(derive_normals(space.depth_THW, space.intrinsics_T33), normals)
    assert np.median(angles) < 0.1
    assert (angles < 1).mean() > 0.97


def test_depth_of_a_plane_gives_its_normal_at_every_pixel_and_at_a_jump_each_sides_own():
    lens = np.array([[[20.0, 0, 8], [0, 24, 6], [0, 0, 1]]], np.float32)
    x, y = np.meshgrid((np.arange(16) + 0.5 - 8) / 20, (np.arange(12) + 0.5 - 6) / 24)
    planes = [np.array([0.3, -0.5, -0.8]), np.array([-0.4, 0.1, -0.9])]
    planes = [plane / np.linalg.norm(plane) for plane in planes]
    near, far = (
        -away / (plane @ np.stack((x, y, np.ones_like(x))).reshape(3, -1)).reshape(12, 16)
        for plane, away in zip(planes, (2, 5), strict=True)
    )
    left = np.arange(16)[None] < 7
    depth = np.where(left, near, far).astype(np.float32)[None]
    truth = np.where(left[..., None], planes[0], planes[1])[None]
    assert measure(derive_normals(depth, lens), truth.repeat(12, 1) if truth.shape[1] == 1 else truth).max() < 0.1
    depth[0, 3, 3] = 0
    normals = derive_normals(depth, lens)
    assert not normals[0, 3, 3].any()
    assert measure(normals[:, :, 9:], np.broadcast_to(planes[1], (1, 12, 7, 3))).max() < 0.1


def test_normals_of_the_file_come_before_those_of_depth_and_without_either_it_is_said(episode):
    space = episode.geometry
    assert find_normals(space) is space.normals_THW3
    made = find_normals(Geometry(space.depth_THW, None, space.intrinsics_T33))
    assert made.shape == space.normals_THW3.shape
    with pytest.raises(ValueError, match="no normals, and no depth with intrinsics"):
        find_normals(Geometry(space.depth_THW))


def test_pictures_of_normals_are_red_to_the_right_green_up_blue_towards_the_viewer():
    normals = np.array([[[[1, 0, 0], [0, -1, 0], [0, 0, -1], [0, 0, 0]]]], np.float32)
    assert shade_normals(normals)[0, 0].tolist() == [[255, 128, 128], [128, 255, 128], [128, 128, 255], [0, 0, 0]]


def write(folder, episode, geometry=None, **changes):
    arrays = {"frames": episode.frames_THWC, **episode.geometry.arrays(), **changes}
    np.savez(folder / "one.npz", **{name: array for name, array in arrays.items() if array is not None})
    (folder / "all.jsonl").write_text(json.dumps({"episode": "one.npz", "length": 9}) + "\n")
    data = Episodes({"length": 5, "hop": 4}, KEYS | {"geometry": geometry or {}})
    return data, data.read(str(folder / "all.jsonl"))[1]


def test_normals_are_read_in_the_axes_that_the_form_says_and_have_length_one(episode, tmp_path):
    truth = episode.geometry.normals_THW3
    turned = {"normals": truth * [1, -1, -1] * 0.9, "poses": episode.geometry.poses_T44 @ np.diag([1.0, -1, -1, 1])}
    turned["normals"][4, 0, 0] = 0
    data, clip = write(tmp_path, episode, {"axes": "opengl"}, **turned)
    read = clip.read().geometry.normals_THW3
    assert not read[0, 0, 0].any()
    np.testing.assert_allclose(read[1:], truth[5:9], atol=1e-6)
    assert not list(data.problems(str(tmp_path / "all.jsonl")))


def test_normals_that_are_none_are_refused_with_the_frame(episode, tmp_path):
    truth = episode.geometry.normals_THW3
    for words, changes in {
        "normals of frame 4 point away from the camera; .*task.form.geometry.axes": {"normals": -truth},
        "normals of shape .*expected \\[9, height, width, 3\\]": {"normals": truth[..., :2]},
        "normals of 24 x 16 pixels beside frames of 24 x 32": {"normals": truth[:, :, ::2], "intrinsics": None},
    }.items():
        _, clip = write(tmp_path, episode, **changes)
        with pytest.raises(ValueError, match=f"all.jsonl:1@4: .*{words}"):
            clip.read()
