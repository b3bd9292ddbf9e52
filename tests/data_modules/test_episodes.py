"""Episodes out of files in the published forms, and clips out of episodes."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_modules.episodes.clips import Episodes
from data_modules.episodes.form import Form
from data_modules.episodes.recording import read_episode
from data_modules.episodes.video import Clip as Video
from data_modules.episodes.video import read_frames
from mirage_pl.engine.datasets import description
from mirage_pl.engine.datasets.split import split_rows
from tests.conftest import SHARED, compose, needs_shared

SAMPLES = SHARED / "data" / "ivideogpt"
REPLAY = Form({"frames": "observation", "actions": "action", "rewards": "reward"}, rows="before")


def make_frames(total, shade=0, side=8):
    """Frames of which each is one shade lighter than the one before."""
    return (shade + np.arange(total))[:, None, None, None].repeat(side, 1).repeat(side, 2).repeat(3, 3).astype(np.uint8)


def write_index(folder, episodes, name="index.jsonl", **arrays):
    """An index of episodes, given by their lengths; actions and rewards are the number of their step."""
    rows = []
    for number, total in enumerate(episodes):
        steps = np.arange(total - 1, dtype=np.float32)
        content = {"frames": make_frames(total, 60 * number), "actions": np.stack([steps, -steps], 1), "rewards": steps}
        np.savez(folder / f"{number}.npz", **content | arrays)
        rows.append({"episode": f"{number}.npz", "length": total, "group": "ab"[number % 2]})
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / name


def read(file, **options):
    window = {"length": 3, "hop": 2} | options.pop("window", {})
    return Episodes(window, options).read(str(file))


def test_clips_are_windows_with_the_actions_and_rewards_of_their_steps(tmp_path):
    rows = read(write_index(tmp_path, [6, 3]))
    assert [(clip.where.rpartition("/")[2], clip.group) for clip in map(rows.__getitem__, range(len(rows)))] == [
        ("index.jsonl:1@0", "a"),
        ("index.jsonl:1@2", "a"),
        ("index.jsonl:2@0", "b"),
    ]
    clip = rows[1].read()
    assert clip.frames_THWC[:, 0, 0, 0].tolist() == [2, 3, 4]
    assert clip.actions_SA.tolist() == [[2, -2], [3, -3]]
    assert clip.rewards_S.tolist() == [2, 3]


def test_a_strides_action_is_all_actions_on_its_way_and_its_reward_their_sum(tmp_path):
    rows = read(write_index(tmp_path, [6]), window={"step": 2, "hop": 1})
    clip = rows[1].read()
    assert len(rows) == 2
    assert clip.frames_THWC[:, 0, 0, 0].tolist() == [1, 3, 5]
    assert clip.actions_SA.tolist() == [[1, -1, 2, -2], [3, -3, 4, -4]]
    assert clip.rewards_S.tolist() == [3, 7]


def test_still_clips_are_left_out_where_that_is_asked_for(tmp_path):
    frames = make_frames(9)
    frames[5:] += 100
    rows = read(write_index(tmp_path, [9], frames=frames), window={"moving": 0.5, "hop": 1})
    assert [rows[index].first for index in range(len(rows))] == [3, 4]
    with pytest.raises(ValueError, match="every clip is still"):
        read(write_index(tmp_path, [9]), window={"moving": 0.5})


def test_a_row_for_each_frame_belongs_to_the_step_after_it_or_before_it(tmp_path):
    write_index(tmp_path, [4], actions=np.arange(4.0), rewards=np.arange(4.0)[:, None])
    after, before = (read_episode(tmp_path / "0.npz", Form(rows=rows)) for rows in ("after", "before"))
    assert (after.actions_SA[:, 0].tolist(), after.rewards_S.tolist()) == ([0, 1, 2], [0, 1, 2])
    assert (before.actions_SA[:, 0].tolist(), before.rewards_S.tolist()) == ([1, 2, 3], [1, 2, 3])


def test_stacked_frames_give_the_newest_and_whole_numbers_of_any_type_are_pixels(tmp_path):
    frames = make_frames(6).transpose(0, 3, 1, 2)
    stacked = np.concatenate([frames[:4], frames[1:5], frames[2:6]], 1).astype(np.int64)
    np.savez(tmp_path / "a.npz", frames=stacked)
    episode = read_episode(tmp_path / "a.npz", Form({"frames": "frames"}))
    assert episode.frames_THWC.dtype == np.uint8
    assert np.array_equal(episode.frames_THWC, make_frames(6)[2:])
    assert episode.actions_SA is None


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_frames_of_other_channels_arent_taken_for_stacked_ones(tmp_path, channels):
    np.savez(tmp_path / "a.npz", frames=np.zeros((4, 48, 40, channels), np.uint8))
    with pytest.raises(ValueError, match=rf"a.npz: frames of shape .* have {channels} channel\(s\); write them as RGB"):
        read_episode(tmp_path / "a.npz", Form({"frames": "frames"}))


@needs_shared
def test_the_published_files_are_read():
    bair = read_episode(
        SAMPLES / "inference/samples/bair_sample.npz", Form({"frames": "aux1_image", "actions": "action"})
    )
    assert (bair.frames_THWC.shape, bair.actions_SA.shape) == ((30, 64, 64, 3), (29, 4))
    files = sorted(SAMPLES.glob("mbrl/demonstrations/*/*.npz"))
    assert len(files) > 20
    for file in files[::6]:
        demo = read_episode(file, REPLAY)
        assert (demo.frames_THWC.shape, demo.actions_SA.shape, demo.rewards_S.shape) == (
            (101, 64, 64, 3),
            (100, 4),
            (100,),
        )
        assert demo.rewards_S.max() > 0


def test_what_is_wrong_with_an_episode_is_said_in_a_line_and_all_of_it_when_validated(tmp_path):
    steps = np.zeros((3, 2), np.float32)
    bad = {
        "1": ({"actions": np.full((3, 2), np.nan)}, "actions of step 0 aren't finite"),
        "2": ({"actions": np.zeros((7, 2))}, "actions of shape (7, 2), but 4 frames"),
        "3": ({"actions": np.zeros((3, 5))}, "actions of width 5, but 2 in the first"),
        "4": ({"frames": make_frames(4, side=6)}, "frames of size (6, 6), but (8, 8) in the first"),
        "5": ({"frames": make_frames(4)[..., :2]}, "frames of shape (4, 8, 8, 2)"),
        "6": ({"frames": make_frames(4) / 255.0}, "whole numbers 0 to 255; these are float64"),
        "7": ({"frames": make_frames(9)}, "has 9 frames, not 4 as the index says"),
        "8": ({"frames": make_frames(3), "actions": steps[:2]}, "has 3 frames, not 4 as the index says"),
    }
    for name, (arrays, _) in {"0": ({}, ""), **bad}.items():
        np.savez(tmp_path / f"{name}.npz", **{"frames": make_frames(4), "actions": steps} | arrays)
    np.savez(tmp_path / "9.npz", images=make_frames(4))
    (tmp_path / "10.npz").write_bytes((tmp_path / "0.npz").read_bytes()[:-40])
    rows = [{"episode": f"{name}.npz", "length": 4} for name in (*range(11), "gone")]
    rows += [{"episode": "0.npz", "length": 2}, {"file": "0.npz"}, {"episode": "0.npz", "length": "4"}]
    index = tmp_path / "index.jsonl"
    index.write_text("".join(json.dumps(row) + "\n" for row in rows))
    form = {"keys": {"frames": "frames", "actions": "actions"}}
    problems = list(Episodes({"length": 3}, form).problems(str(index)))
    wanted = [*(words for _, words in bad.values()), "has no frames and no actions, but images", "no whole .npz file"]
    wanted += ["does not exist", "has 2 frames, a clip needs 3", "no episode; a row is", 'length is "4"; it must']
    assert len(problems) == len(wanted)
    for number, (problem, words) in enumerate(zip(problems, wanted, strict=True), start=2):
        assert problem.startswith(f"{index}:{number}")
        assert words in problem
        assert "\n" not in problem


ROWS = {
    '{"episode": "0.npz"}': "length isn't there; it must be the episode's number of frames",
    '{"episode": "0.npz", "length": -3}': "length is -3; it must be .* a whole number of 1 or more",
    '{"episode": "0.npz", "length": true}': "length is true; it must",
    '{"episode": "0.npz", "length": 4.5}': "length is 4.5; it must",
    '{"episode": 7, "length": 4}': "episode is 7; it must be a path",
    '{"episode": "0.npz", "length": 4, "at": [1]}': r"at is \[1\]; it must be a text or a whole number",
    '{"length": 4}': "no episode; a row is",
}


@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_an_index_is_refused_by_the_key_that_is_wrong(tmp_path, row):
    (tmp_path / "index.jsonl").write_text(row)
    with pytest.raises(ValueError, match=f"index.jsonl:1: {ROWS[row]}"):
        read(tmp_path / "index.jsonl")


def test_files_of_a_folder_say_what_they_lack(tmp_path):
    np.savez(tmp_path / "none.npz", frames=make_frames(0), actions=np.zeros((0, 2)), rewards=np.zeros(0))
    with pytest.raises(ValueError, match=r"none\.npz has no frames; make the episode again, or leave it out"):
        read(tmp_path)
    objects = np.array([1, "a", None], object)
    np.savez(tmp_path / "none.npz", frames=make_frames(4), actions=objects, rewards=np.zeros(3))
    with pytest.raises(ValueError, match=r"none\.npz: actions is an array of Python objects.*; save numbers"):
        read(tmp_path)[0].read()
    (tmp_path / "none.npz").rename(tmp_path / "notes.md")
    with pytest.raises(ValueError, match=r"without files of rows \(.*put episodes there \(\.npz, \.hdf5.*\.mp4"):
        read(tmp_path)


def test_validation_compares_the_width_of_actions_with_what_the_task_says_they_have(tmp_path):
    index, window = str(write_index(tmp_path, [4])), {"length": 3, "hop": 2}
    without = {"keys": {"frames": "frames"}}
    for action_dim, form, step, words in (
        (0, {}, 1, None),
        (2, {}, 1, None),
        (4, {}, 2, None),
        (2, {}, 2, None),
        (3, {}, 1, "has actions of width 2, but task.action_dim=3; set it to 2"),
        (3, {"width": 3}, 1, None),
        (0, without, 1, None),
        (2, without, 1, "has no actions, but task.action_dim=2; set it to 0"),
    ):
        options = window | {"length": 2, "step": step}
        problems = list(Episodes(options, form, action_dim=action_dim).problems(index))
        assert [words in problem for problem in problems] == ([True] if words else []), (action_dim, form, problems)


def test_options_out_of_their_range_are_refused():
    for window, form, words in (
        ({"length": 1}, {}, "length=1"),
        ({"length": 4, "hop": 0}, {}, "hop=0"),
        ({"length": 4, "moving": 1.5}, {}, "moving=1.5"),
        ({"length": 4}, {"rows": "between"}, "rows=between"),
        ({"length": 4}, {"keys": {"images": "image"}}, "unknown"),
    ):
        with pytest.raises(ValueError, match=words):
            Episodes(window, form)


def test_all_clips_of_an_episode_go_into_one_split_wherever_its_file_lies(tmp_path):
    index = write_index(tmp_path, [9, 7, 5, 6])
    dataset = Episodes({"length": 3, "hop": 1}, {})
    files = split_rows(dataset, str(index), {"train": 0.5, "test": 0.5}, 0, None)
    train, test = (dataset.read(str(files[name][0])) for name in ("train", "test"))
    assert len(train) + len(test) == len(dataset.read(str(index)))
    assert not train.identities().keys() & test.identities().keys()
    (tmp_path / "copy").mkdir()
    content = np.load(tmp_path / "2.npz")
    np.savez_compressed(tmp_path / "copy" / "same.npz", frames=content["frames"].astype(np.int32))
    (tmp_path / "copy" / "index.jsonl").write_text(json.dumps({"episode": "same.npz", "length": 5}))
    copied = Episodes({"length": 3}, {"keys": {"frames": "frames"}}).read(str(tmp_path / "copy" / "index.jsonl"))
    rows = dataset.read(str(index))
    assert copied.identity(copied[0]) in {rows.identity(rows[index]) for index in range(len(rows))}


def test_own_episodes_are_described_drawn_and_checked_by_the_data_verb(tmp_path, capsys):
    index = write_index(tmp_path, [6, 5])
    only = [f"task.train_file={index}", "task.val_file=null", "task.test_file=null", "task.window.length=3"]
    description.run(compose("data", "task=episodes", *only, f"sheet={tmp_path}/sheet"))
    assert "a 2, b 1" in capsys.readouterr().out
    page = (tmp_path / "sheet" / "sheet.html").read_text()
    assert "rewards 0 1" in page
    assert page.count("data:image/gif") == 3
    assert Image.open(tmp_path / "sheet" / "sheet.png").height > 3 * 128
    description.run(compose("data", "task=episodes", *only, "validate=true"))
    assert "no bad rows" in capsys.readouterr().out


def test_a_clip_is_written_as_gif_and_as_mp4_of_any_size(tmp_path):
    import av

    frames = np.random.default_rng(0).integers(0, 255, (5, 9, 7, 3), dtype=np.uint8)
    Video(frames).save(tmp_path / "a.gif")
    Video(frames, rate=10).save(tmp_path / "a.mp4")
    assert Image.open(tmp_path / "a.gif").n_frames == 5
    with av.open(str(tmp_path / "a.mp4")) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(decoded) == 5
    assert decoded[0].shape[0] % 2 == decoded[0].shape[1] % 2 == 0
    assert abs(decoded[0][:255].mean() - frames[0].mean()) < 10
    with pytest.raises(ValueError, match=r"a\.avi"):
        Video(frames).save(Path("a.avi"))


def test_frames_are_read_back_and_a_clip_that_isnt_whole_is_refused_by_its_name(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (5, 260, 260, 3), dtype=np.uint8)
    for name in ("a.gif", "a.mp4"):
        Video(frames).save(tmp_path / name)
        assert read_frames(tmp_path / name, {}).shape == frames.shape
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 3] if name == "a.mp4" else whole[:8])
        with pytest.raises(ValueError, match=name):
            read_frames(tmp_path / name, {})
    np.savez(tmp_path / "a.npz", frames=frames)
    assert np.array_equal(read_frames(tmp_path / "a.npz", {"frames": "frames"}), frames)
