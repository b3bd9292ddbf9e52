"""What names episodes: folders, indices and mixtures of them; and what the data verb makes of each."""

import json
import random
from collections import Counter

import h5py
import numpy as np
import pytest

from data_modules.episodes.clips import Episodes
from data_modules.episodes.video import Clip as Video
from mirage_pl.engine.datasets import description
from tests.conftest import SHARED, compose, needs_shared
from tests.data_modules.test_episodes import make_frames, read, write_index
from tests.data_modules.test_hdf5 import write_libero
from tests.data_modules.test_lerobot import EPISODES, write

SAMPLES = SHARED / "data" / "ivideogpt"
FRAMES = {"keys": {"frames": "image"}}


def write_images(folder, lengths, **arrays):
    folder.mkdir()
    for number, total in enumerate(lengths):
        np.savez(folder / f"train_eps_{number:08d}.npz", image=make_frames(total, 20 * number), **arrays)
    return folder


def data(*options, **only):
    files = {"train": None, "val": None, "test": None} | only
    paths = [f"task.{split}_file={'null' if file is None else file}" for split, file in files.items()]
    description.run(compose("data", *options, *paths, "task.window.length=3"))


def test_a_folder_of_files_is_read_and_divided_into_indices_that_name_them(tmp_path, capsys):
    folder = write_images(tmp_path / "fractal", [4, 6, 3, 5])
    rows = Episodes({"length": 3}, FRAMES).read(str(folder))
    assert (len(rows), rows[2].where) == (2 + 4 + 1 + 3, f"{folder}:train_eps_00000001.npz@0")
    data("task=episodes/image", "split={train: 0.5, test: 0.5}", f"out={tmp_path}/made", train=folder)
    assert f"task.train_file={tmp_path}/made/fractal-train.jsonl" in capsys.readouterr().out
    lines = (tmp_path / "made/fractal-train.jsonl").read_text().splitlines()
    assert json.loads(lines[0]).keys() == {"episode", "length", "digest"}
    train, test = (
        Episodes({"length": 3}, FRAMES).read(f"{tmp_path}/made/fractal-{name}.jsonl") for name in ("train", "test")
    )
    assert len(train) + len(test) == len(rows)
    assert train.identities().keys() | test.identities().keys() == rows.identities().keys()
    assert train[0].read().frames_THWC.shape == (3, 8, 8, 3)
    with pytest.raises(ValueError, match="is there already"):
        data("task=episodes/image", "split={train: 0.5, test: 0.5}", f"out={tmp_path}/made", train=folder)


def test_every_kind_of_file_is_described_validated_drawn_and_divided(tmp_path, capsys):
    (tmp_path / "videos").mkdir()
    for number in range(2):
        Video(make_frames(5, 80 * number)).save(tmp_path / f"videos/{number}.mp4")
    kinds = {
        "lerobot": write(tmp_path / "lerobot", "v3.0"),
        "libero": write_libero(tmp_path / "libero.hdf5"),
        "image": write_images(tmp_path / "image", [4, 5]),
    }
    plain = ("task.form.keys.actions=null", "task.form.keys.rewards=null")
    for kind, file in {**kinds, "": tmp_path / "videos"}.items():
        task = (
            (f"task=episodes/{kind}", f"task.action_dim={2 * (kind == 'libero')}")
            if kind
            else ("task=episodes", *plain)
        )
        data(*task, "validate=true", train=file)
        assert "no bad rows" in capsys.readouterr().out
        data(*task, "split={train: 0.5, test: 0.5}", f"out={tmp_path}/{kind or 'video'}-split", train=file)
        files = {
            split: next((tmp_path / f"{kind or 'video'}-split").glob(f"*-{split}.jsonl")) for split in ("train", "test")
        }
        capsys.readouterr()
        data(*task, f"sheet={tmp_path}/sheet-{kind}", **files)
        assert "share no sample" in capsys.readouterr().out
        assert "data:image/gif" in (tmp_path / f"sheet-{kind}/sheet.html").read_text()


def test_copies_of_an_episode_are_dropped_from_train_wherever_they_lie(tmp_path, capsys):
    train, test = write_images(tmp_path / "train", [4, 6, 5]), write_images(tmp_path / "test", [4])
    np.savez_compressed(train / "again.npz", image=make_frames(6, 20).astype(np.int64))
    data("task=episodes/image", "dedupe=true", train=train, test=test)
    assert "is a copy of" in (printed := capsys.readouterr().out)
    assert "copies among 3 different samples" in printed
    rows = [json.loads(line)["episode"] for line in (tmp_path / "train-unique.jsonl").read_text().splitlines()]
    assert rows == ["train/again.npz", "train/train_eps_00000002.npz"]
    with pytest.raises(ValueError, match="are in test too|are in train too"):
        data("task=episodes/image", train=train, test=test)


def test_a_digest_in_an_index_is_believed_when_splits_are_compared_and_checked_when_they_are_validated(tmp_path):
    index = write_index(tmp_path, [4, 5])
    rows = [json.loads(line) | {"digest": "0123456789ab"} for line in index.read_text().splitlines()]
    index.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert list(read(index).identities()) == ["0123456789ab"]
    assert all(
        "has other frames than its digest" in problem for problem in Episodes({"length": 3}, {}).problems(str(index))
    )
    many = Episodes({"length": 3}, {}, check=1)
    assert len(many.read(str(index)).identities()) == 1
    write_index(tmp_path, [4, 5])
    assert many.read(str(index)).identities() == {}


def test_an_index_that_moves_still_names_its_episodes(tmp_path):
    index = write_index(tmp_path, [4, 5])
    Episodes({"length": 3}, {}).copy_rows(index, ["2"], tmp_path / "far" / "away" / "one.jsonl")
    rows = read(tmp_path / "far" / "away" / "one.jsonl")
    assert rows[0].read().frames_THWC[:, 0, 0, 0].tolist() == [60, 61, 62]


def test_indices_are_mixed_by_weight_and_by_share_each_with_its_own_step_and_keys(tmp_path):
    (tmp_path / "a").mkdir()
    one, other = write_index(tmp_path / "a", [12]), write_images(tmp_path / "b", [21])
    parts = [
        {"file": str(one), "share": 0.75},
        {
            "file": str(other),
            "share": 0.25,
            "window": {"step": 2},
            "form": {"keys": {"frames": "image", "actions": None, "rewards": None}},
        },
    ]
    dataset = Episodes({"length": 3}, {})
    rows = dataset.read(parts)
    assert len(rows) == 10 + 17
    clips = [rows[index] for index in range(len(rows))]
    assert Counter(clip.window.step for clip in clips) == {1: 20, 2: 7}
    assert Counter(clip.first for clip in clips[:20]) == dict.fromkeys(range(10), 2)
    random.seed(0)
    assert {rows.draw_sample(index).first for index in range(20, 27) for _ in range(99)} == set(range(17))
    assert rows[26].read().frames_THWC[:, 0, 0, 0].tolist() == [14, 16, 18]
    assert rows.identity(clips[0]) in rows.identities()
    assert len(rows.identities()) == 2
    weighted = dataset.read([str(one), {"file": str(one), "weight": 0.5}, {"file": str(one), "weight": 2}])
    assert len(weighted) == 10 + 5 + 20
    assert list(dataset.problems(parts)) == []


def test_what_a_mixture_cant_be_is_refused(tmp_path):
    index = str(write_index(tmp_path, [9]))
    dataset = Episodes({"length": 3}, {})
    for files, words in (
        ([], r"\[\] names no episodes"),
        ([index, {"file": index, "share": 1}], "has no share, but"),
        ([{"file": index, "share": -1}], "a number above 0"),
        ([{"file": index, "share": 1, "weight": 1}], "give a weight or a share"),
        ([{"file": index, "windows": {}}], "names no episodes"),
        ([{"file": index, "window": {"steps": 2}}], r"window with \['steps'\]"),
        ([{"file": index, "window": {"step": 0}}], "step=0"),
        ([3], "3 names no episodes"),
        (str(tmp_path / "none*"), "no file matches"),
    ):
        with pytest.raises(ValueError, match=words):
            dataset.read(files)


def test_several_data_sets_are_named_by_a_pattern(tmp_path):
    for number in range(2):
        write(tmp_path / f"set{number}", "v2.1", EPISODES[2 * number : 2 * number + 2])
    keys = {"frames": None, "actions": "action", "text": "text"}
    rows = Episodes({"length": 3, "hop": None}, {"keys": keys}).read(f"{tmp_path}/set*")
    assert [rows[index].entry.file.name for index in range(len(rows))] == ["set0", "set0", "set1", "set1"]
    folder = write_images(tmp_path / "images", [4, 5, 6])
    some = Episodes({"length": 3, "hop": None}, FRAMES).read(f"{folder}/*0[12].npz")
    assert [some[index].where for index in range(len(some))] == [
        f"{folder}:train_eps_{number:08d}.npz@0" for number in (1, 2)
    ]


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_episodes_are_converted_for_lerobot_and_read_again(tmp_path, capsys, version):
    index = write_index(tmp_path, [6, 4], frames=make_frames(6, side=32), **{})
    (tmp_path / "index.jsonl").write_text(json.dumps({"episode": "0.npz", "length": 6, "text": "push"}))
    options = (f"convert={tmp_path}/set", f"task.lerobot.version={version}")
    data("task=episodes", *options, train=index)
    assert f"{tmp_path}/set/train: 1 episodes as a LeRobot data set {version}" in capsys.readouterr().out
    data("task=episodes/lerobot", "validate=true", train=tmp_path / "set/train")
    assert "no bad rows" in capsys.readouterr().out
    with pytest.raises(ValueError, match="is there already"):
        data("task=episodes", *options, train=index)


PUBLISHED = {
    "image": {"image": make_frames(20), "action": np.ones((20, 13))},
    "bair": {"aux1_image": make_frames(20).astype(np.int64), "image": make_frames(20, 9), "action": np.ones((20, 4))},
    "robonet": {"image": make_frames(20), "action": np.ones((19, 4), np.float32)},
    "replay": {
        "observation": make_frames(20).transpose(0, 3, 1, 2).repeat(3, 1).reshape(20, 9, 8, 8),
        "action": np.arange(80.0).reshape(20, 4),
        "reward": np.arange(20.0)[:, None],
        "discount": np.ones((20, 1)),
    },
    "vp2_robosuite": {"obs/agentview_shift_2_image": make_frames(20), "actions": np.ones((20, 4))},
    "vp2_robodesk": {"obs/camera_image": make_frames(20), "actions": np.ones((20, 5))},
    "robomimic": {"obs/agentview_image": make_frames(20), "actions": np.ones((20, 7)), "rewards": np.zeros(20)},
    "maniskill": {"obs/sensor_data/base_camera/rgb": make_frames(20), "actions": np.ones((19, 7))},
    "libero": {"obs/agentview_rgb": make_frames(20), "actions": np.ones((20, 7)), "obs/ee_states": np.ones((20, 6))},
}
"""Task -> an episode as it is published; those with a slash are HDF5."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_form_is_read_by_its_task(tmp_path, name):
    arrays = PUBLISHED[name]
    if any("/" in key for key in arrays):
        with h5py.File(tmp_path / "a.hdf5", "w") as content:
            for key, array in arrays.items():
                content[f"data/demo_0/{key}"] = array
    else:
        np.savez(tmp_path / "a.npz", **arrays)
    task = compose("data", f"task=episodes/{name}").task
    (file,) = tmp_path.iterdir()
    dataset = Episodes(task.window, task.form)
    assert list(dataset.problems(str(file))) == []
    clip = dataset.read(str(file))[1].read()
    assert clip.frames_THWC[:, 0, 0, 0].tolist() == list(range(3, 3 + task.window.length))
    assert clip.actions_SA.shape == (task.window.length - 1, task.action_dim or 13)
    assert np.abs(clip.actions_SA).max() == 1


def test_rows_of_questions_have_no_other_form(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"text_input": "Why?", "text_output": "So."}) + "\n")
    only = [f"task.train_file={file}", "task.val_file=null", "task.test_file=null"]
    config = compose("data", "task=jsonl", *only, f"convert={tmp_path}/set")
    with pytest.raises(ValueError, match="convert= is for episodes"):
        description.run(config)


@needs_shared
def test_the_published_samples_are_read_by_their_tasks(capsys):
    data("task=episodes/replay", "validate=true", train=SAMPLES / "mbrl/demonstrations/door-lock")
    assert "no bad rows" in capsys.readouterr().out
    task = compose("data", "task=episodes/replay").task
    clips = Episodes(task.window, task.form).read(str(SAMPLES / "mbrl/demonstrations/door-lock"))
    assert max(np.abs(clips[index].read().actions_SA).max() for index in range(0, len(clips), 20)) == 1
    for name, keys in (("bair", "aux1_image"), ("image", "image")):
        task = compose("data", f"task=episodes/{name}").task
        path = SAMPLES / "inference/samples" / ("bair_sample.npz" if name == "bair" else "fractal_sample.npz")
        clip = Episodes(task.window, task.form).read(str(path))[0].read()
        assert (clip.actions_SA is None) == (name == "image"), keys
