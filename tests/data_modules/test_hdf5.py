"""HDF5 files as they are published: many episodes a file, or one; pixels, videos or pictures; texts in attributes."""

import json
import re
from io import BytesIO

import h5py
import numpy as np
import pytest
from PIL import Image

from data_modules.episodes.clips import Episodes
from data_modules.episodes.form import Form
from data_modules.episodes.recording import read_episode
from data_modules.episodes.video import Clip as Video
from tests.data_modules.test_episodes import make_frames

LIBERO = {
    "frames": ["obs/agentview_rgb", "obs/eye_in_hand_rgb"],
    "actions": "actions",
    "rewards": "rewards",
    "states": ["obs/joint_states", "obs/gripper_states"],
    "text": "problem_info.language_instruction",
}
MANISKILL = {"frames": "obs/sensor_data/base_camera/rgb", "actions": "actions", "rewards": "rewards"}


def write_libero(file, lengths=(5, 7, 4)):
    with h5py.File(file, "w") as content:
        data = content.create_group("data")
        data.attrs["problem_info"] = json.dumps({"language_instruction": "open the drawer", "problem_name": "kitchen"})
        for number, total in enumerate(lengths):
            demo = data.create_group(f"demo_{number}")
            demo["obs/agentview_rgb"] = make_frames(total, 30 * number)
            demo["obs/eye_in_hand_rgb"] = 255 - make_frames(total, 30 * number)
            demo["obs/joint_states"] = np.ones((total, 7))
            demo["obs/gripper_states"] = np.zeros((total, 2))
            demo["actions"] = np.arange(total)[:, None] * [1.0, -1.0]
            demo["rewards"] = (np.arange(total) == total - 1).astype(np.uint8)
            demo["dones"] = np.zeros(total)
    return file


def pack(frame, kind="JPEG"):
    content = BytesIO()
    Image.fromarray(frame).save(content, kind)
    return np.frombuffer(content.getvalue(), np.uint8)


def test_the_episodes_of_a_file_are_its_groups_in_the_order_of_their_numbers(tmp_path):
    file = write_libero(tmp_path / "drawer.hdf5", [4] * 12)
    rows = Episodes({"length": 3, "hop": None}, {"keys": LIBERO, "turn": 180}).read(str(file))
    assert [rows[index].where for index in (0, 1, 10)] == [f"{file}:data/demo_{number}@0" for number in (0, 1, 10)]
    clip = rows[10].read()
    assert clip.frames_THWC[:, 0, 0, 0].tolist() == [44, 45, 46]
    assert clip.others[0][:, 0, 0, 0].tolist() == [211, 210, 209]
    assert (clip.states_TN.shape, clip.text, clip.rewards_S.tolist()) == ((3, 9), "open the drawer", [0, 0])


def test_an_index_names_file_and_group(tmp_path):
    write_libero(tmp_path / "drawer.hdf5")
    index = tmp_path / "index.jsonl"
    row = {"episode": "drawer.hdf5", "at": "data/demo_1", "length": 7, "text": "close it"}
    index.write_text(json.dumps(row) + "\n" + json.dumps(row | {"at": "data/demo_9"}))
    dataset = Episodes({"length": 3, "step": 2, "hop": 2}, {"keys": LIBERO})
    (problem,) = dataset.problems(str(index))
    assert problem == f"{index}:2: {tmp_path}/drawer.hdf5 has no episode data/demo_9; there are demo_0, demo_1, demo_2"
    index.write_text(json.dumps(row))
    clip = dataset.read(str(index))[1].read()
    assert (clip.frames_THWC[:, 0, 0, 0].tolist(), clip.text) == ([32, 34, 36], "close it")
    assert clip.actions_SA.tolist() == [[2, -2, 3, -3], [4, -4, 5, -5]]


def test_more_observations_than_actions_and_dotted_paths(tmp_path):
    with h5py.File(tmp_path / "traj.h5", "w") as content:
        for number in range(2):
            content[f"traj_{number}/obs/sensor_data/base_camera/rgb"] = make_frames(6)
            content[f"traj_{number}/actions"] = np.arange(5)[:, None] * np.ones(7)
            content[f"traj_{number}/rewards"] = np.arange(5.0)
    for keys in (MANISKILL, {kind: key.replace("/", ".") for kind, key in MANISKILL.items()}):
        episode = read_episode(tmp_path / "traj.h5", Form(keys), "traj_1")
        assert (episode.frames_THWC.shape, episode.actions_SA.shape) == ((6, 8, 8, 3), (5, 7))
        assert episode.rewards_S.tolist() == [0, 1, 2, 3, 4]
        assert len(Episodes({"length": 3}, {"keys": keys}).read(str(tmp_path / "traj.h5"))) == 8


def test_an_episode_a_file_with_its_frames_as_a_video_or_as_pictures(tmp_path):
    frames = np.stack([np.full((64, 64, 3), 20 * shade, np.uint8) for shade in range(6)])
    Video(frames.repeat(4, 1).repeat(4, 2)).save(tmp_path / "a.mp4")
    padded = np.zeros((6, 2000), np.uint8)
    for row, frame in zip(padded, frames, strict=True):
        row[: len(pack(frame))] = pack(frame)
    with h5py.File(tmp_path / "robonet.hdf5", "w") as content:
        content["env/cam0_video/frames"] = np.frombuffer((tmp_path / "a.mp4").read_bytes(), np.uint8)
        content["env/cam2_video/frames"] = np.void((tmp_path / "a.mp4").read_bytes())
        for number, frame in enumerate(frames):
            content[f"env/cam1_video/frame{number}"] = pack(frame)
        content["observations/images/cam_high"] = padded
        content.create_dataset("observations/images/cam_low", 6, h5py.vlen_dtype(np.uint8))
        for number, frame in enumerate(frames):
            content["observations/images/cam_low"][number] = pack(frame, "PNG")
        content["policy/actions"] = np.ones((5, 4), np.float32)
    cameras = ["env/cam0_video/frames", "env/cam1_video", "env/cam2_video/frames"]
    cameras += [f"observations/images/cam_{name}" for name in ("high", "low")]
    form = Form({"frames": cameras, "actions": "policy/actions"}, width=5)
    episode = read_episode(tmp_path / "robonet.hdf5", form)
    for camera in episode.cameras:
        assert np.abs(camera[:, 0, 0, 0].astype(int) - 20 * np.arange(6)).max() <= 3
    assert episode.actions_SA.tolist() == [[1, 1, 1, 1, 0]] * 5
    for camera in cameras:
        keys = {"keys": {"frames": camera, "actions": "policy/actions"}}
        clip = Episodes({"length": 3, "hop": 2}, keys).read(str(tmp_path / "robonet.hdf5"))[1].read()
        assert np.abs(clip.frames_THWC[:, 0, 0, 0].astype(int) - [40, 60, 80]).max() <= 3


def test_what_is_wrong_with_a_file_is_said_in_a_line(tmp_path):
    file = write_libero(tmp_path / "drawer.hdf5")
    with h5py.File(file, "a") as content:
        content["data/demo_1/actions"][2] = np.nan
        del content["data/demo_2/actions"]
        content["data/demo_2/frame_text"] = "no picture"
    listed = list(Episodes({"length": 3}, {"keys": LIBERO}).problems(str(file)))
    assert len(listed) == 2
    assert "actions of step 2 aren't finite" in listed[0]
    assert "demo_2 has no actions, but dones, frame_text, obs/agentview_rgb" in listed[1]
    for keys, words in (
        ({"frames": "rgb"}, "has no rgb in any group, but data/demo_0/actions"),
        ({"frames": None}, "must name an array"),
        ({"frames": "obs/agentview_rgb", "actions": "obs"}, "obs is a group, not an array"),
        ({"frames": "obs/agentview_rgb", "actions": "frame_text"}, r"actions of shape \(\)"),
        ({"frames": "dones"}, "frame is no whole picture|frames of shape"),
    ):
        listed = list(Episodes({"length": 3}, {"keys": keys}).problems(str(file)))
        assert any(re.search(words, problem) for problem in listed), (words, listed)
        assert all("\n" not in problem for problem in listed)
    file.write_bytes(file.read_bytes()[:2000])
    (problem,) = Episodes({"length": 3}, {"keys": LIBERO}).problems(str(file))
    assert "is no whole HDF5 file" in problem
    with pytest.raises(ValueError, match="is no whole HDF5 file"):
        read_episode(file, Form(LIBERO), "data/demo_0")
