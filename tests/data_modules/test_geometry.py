"""Depth, poses and intrinsics of episodes: read in all their forms, cut with clips, and what is wrong is said."""

import json
import math

import numpy as np
import pytest

from data_modules.episodes.clips import Episodes
from data_modules.episodes.episode import Episode, write_episode
from data_modules.episodes.form import Form
from data_modules.episodes.geometry import Geometry, measure_rays, shade_depth
from data_modules.episodes.recording import read_episode
from data_modules.worlds.raycast import Raycast
from data_modules.worlds.walks import walk

UPRIGHT = np.diag([1.0, -1, -1, 1])


@pytest.fixture(scope="module")
def episode():
    world, draws = Raycast(24, 32), np.random.default_rng(3)
    world.reset(1, draws)
    return walk(world, "wander", 17, 4, draws)


def write(folder, episode, form=None, **changes):
    """An index of one episode, whose geometry lies as changes say."""
    arrays = {"frames": episode.frames_THWC, **episode.geometry.arrays(), **changes}
    np.savez(folder / "one.npz", **{name: array for name, array in arrays.items() if array is not None})
    row = {"episode": "one.npz", "length": len(arrays["frames"])}
    (folder / "all.jsonl").write_text(json.dumps(row) + "\n")
    return Episodes({"length": 5, "hop": 4}, {"keys": dict.fromkeys(["frames"], "frames") | SPACE, **(form or {})})


SPACE = {"depth": "depth", "poses": "poses", "intrinsics": "intrinsics"}


def test_what_was_written_is_read_and_a_clip_has_its_frames_of_it(episode, tmp_path):
    write_episode(tmp_path / "whole.npz", episode)
    back = read_episode(tmp_path / "whole.npz", Form({"frames": "frames"} | SPACE))
    for name in SPACE:
        assert np.array_equal(back.geometry.arrays()[name], episode.geometry.arrays()[name])
    rows = write(tmp_path, episode).read(str(tmp_path / "all.jsonl"))
    clip = rows[2].read()
    assert np.array_equal(clip.geometry.depth_THW, episode.geometry.depth_THW[8:13])
    assert np.array_equal(clip.geometry.poses_T44, episode.geometry.poses_T44[8:13])
    assert clip.geometry.intrinsics_T33.shape == (5, 3, 3)
    assert len(rows[2].read(2).geometry.depth_THW) == 2
    assert rows.picture(rows[0])[0].width > 2 * 128
    alone = Episodes({"length": 5}, {"keys": {"frames": "frames"}}).read(str(tmp_path / "all.jsonl"))[0].read()
    assert alone.geometry is None


def test_every_form_of_the_same_space_is_read_as_the_same(episode, tmp_path):
    space = episode.geometry
    long = measure_rays(space.intrinsics_T33, 24, 32)
    forms = [
        ({"poses": "world_to_camera"}, {"poses": np.linalg.inv(space.poses_T44)}),
        ({"axes": "opengl"}, {"poses": space.poses_T44 @ UPRIGHT}),
        ({"axes": "opengl", "poses": "world_to_camera"}, {"poses": np.linalg.inv(space.poses_T44 @ UPRIGHT)}),
        ({"depth": "ray"}, {"depth": space.depth_THW * long}),
        ({"unit": 0.001}, {"depth": (space.depth_THW * 1000)[..., None]}),
        ({}, {"intrinsics": space.intrinsics_T33[0], "poses": space.poses_T44[:, :3]}),
    ]
    for options, changes in forms:
        data = write(tmp_path, episode, {"geometry": options}, **changes)
        clip = data.read(str(tmp_path / "all.jsonl"))[1].read()
        for name, array in clip.geometry.arrays().items():
            np.testing.assert_allclose(array, space.arrays()[name][4:9], atol=2e-5, rtol=1e-5)
        assert not list(data.problems(str(tmp_path / "all.jsonl")))


class Doomlike(Raycast):
    """Draws pixels that aren't square."""

    @property
    def intrinsics_33(self):
        return super().intrinsics_33 * np.array([[1], [1.2], [1]], np.float32) + np.array(
            [[0] * 3, [0, 0, -2.4], [0] * 3], np.float32
        )


def test_intrinsics_of_square_pixels_beside_frames_of_others_are_named(tmp_path):
    world, draws = Doomlike(24, 32), np.random.default_rng(3)
    world.reset(1, draws)
    lens = world.intrinsics_33
    lens[0, 0] = lens[1, 1]
    tall = walk(world, "wander", 17, 4, draws)
    assert not list(write(tmp_path, tall).problems(str(tmp_path / "all.jsonl")))
    (problem,) = write(tmp_path, tall, intrinsics=lens).problems(str(tmp_path / "all.jsonl"))
    assert "with focal lengths 16 and 19.2 in the intrinsics, of pixels 1.2 times as wide as high; is that" in problem


def resize(space, width):
    """Intrinsics of frames of another width."""
    sized = space.intrinsics_T33 * np.float32(width / 32)
    sized[:, 2, 2] = 1
    return sized


def test_another_meaning_than_the_one_that_is_said_is_named(episode, tmp_path):
    space = episode.geometry
    long = measure_rays(space.intrinsics_T33, 24, 32)
    for option, changes in {
        "poses=world_to_camera": {"poses": np.linalg.inv(space.poses_T44)},
        "axes=opengl": {"poses": space.poses_T44 @ UPRIGHT},
        "depth=ray": {"depth": space.depth_THW * long},
        "unit=0.001": {"depth": space.depth_THW * 1000},
    }.items():
        (problem,) = write(tmp_path, episode, **changes).problems(str(tmp_path / "all.jsonl"))
        assert f"task.form.geometry.{option}; is that what the file means?" in problem
    both = np.linalg.inv(space.poses_T44 @ UPRIGHT)
    for words, changes in {
        "task.form.geometry.poses=world_to_camera and task.form.geometry.axes=opengl": {"poses": both},
        "task.form.geometry.unit=0.305": {"depth": space.depth_THW / 0.3048},
        "intrinsics of frames of 32 x 24 pixels, not of 40 x 30": {"intrinsics": resize(space, 40)},
    }.items():
        (problem,) = write(tmp_path, episode, **changes).problems(str(tmp_path / "all.jsonl"))
        assert f"{words}; is that what the file means?" in problem
    noise = np.random.default_rng(0).uniform(0.1, 9, space.depth_THW.shape)
    (problem,) = write(tmp_path, episode, depth=noise).problems(str(tmp_path / "all.jsonl"))
    assert "no other reading of them agrees" in problem


def test_what_makes_no_space_is_refused_with_its_place(episode, tmp_path):
    space = episode.geometry
    dark, skewed, wrong = (np.array(array) for array in (space.depth_THW, space.poses_T44, space.intrinsics_T33))
    dark[3] = np.inf
    skewed[4, 0, 0] += 0.1
    wrong[0] *= 3
    wrong[:, 2, 2] = 1
    cases = {
        "depth of frame 3 is known nowhere": {"depth": dark},
        "depth of frame 0 is below 0": {"depth": -space.depth_THW},
        "pose of frame 4 is none": {"poses": skewed},
        "pose of frame 0 is none": {"poses": space.poses_T44 * np.nan},
        "expected \\[17, 4, 4\\]": {"poses": space.poses_T44[:5]},
        "depth of 24 x 16 pixels beside frames of 24 x 32": {"depth": space.depth_THW[:, :, ::2]},
        "they must be in pixels of these frames": {"intrinsics": wrong},
        "focal lengths above 0": {"intrinsics": -space.intrinsics_T33},
        "intrinsics of shape \\(4,\\)": {"intrinsics": np.ones(4)},
    }
    for words, changes in cases.items():
        data = write(tmp_path, episode, **changes)
        with pytest.raises(ValueError, match=f"all.jsonl:1@0: .*{words}"):
            data.read(str(tmp_path / "all.jsonl"))[0].read()
    data = write(tmp_path, episode, {"geometry": {"depth": "ray"}}, intrinsics=None)
    with pytest.raises(ValueError, match="task.form.keys.intrinsics"):
        data.read(str(tmp_path / "all.jsonl"))[0].read()
    data = write(tmp_path, episode, {"turn": 90})
    with pytest.raises(ValueError, match="task.form.turn and flip don't turn"):
        data.read(str(tmp_path / "all.jsonl"))[0].read()


def test_options_that_there_arent_are_refused():
    for options, words in (
        ({"axes": "blender"}, "axes=blender is unknown; choose from opencv, opengl"),
        ({"scale": 2}, "unknown \\['scale'\\]"),
        ({"unit": 0}, "unit=0 must be a number above 0"),
    ):
        with pytest.raises(ValueError, match=words):
            Form(geometry=options)


def test_an_episode_that_knows_less_than_the_first_one_is_a_problem(episode, tmp_path):
    data = write(tmp_path, episode)
    write_episode(tmp_path / "two.npz", Episode(episode.frames_THWC, None, None))
    rows = [{"episode": f"{name}.npz", "length": 17} for name in ("one", "two")]
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (problem,) = data.problems(str(tmp_path / "all.jsonl"))
    assert "known of space: nothing, but depth, poses, intrinsics in the first episode" in problem


def test_depth_is_shaded_near_light_far_dark_unknown_black():
    gray = shade_depth(np.array([[[1.0, 4.0, 0.0]]], np.float32))
    assert gray[0, 0, :, 0].tolist() == [255, 128, 0]
    assert not shade_depth(np.zeros((1, 2, 2), np.float32)).any()


def test_rays_are_as_long_as_their_angle_says():
    lens = np.array([[[2.0, 0, 2], [0, 2, 1], [0, 0, 1]]], np.float32)
    assert measure_rays(lens, 2, 4)[0, 0, 3] == pytest.approx(math.sqrt(0.75**2 + 0.25**2 + 1))
    assert Geometry(intrinsics_T33=lens).arrays().keys() == {"intrinsics"}
