"""Which frames a clip has: in order, with the goal in front, shuffled; in training drawn anew."""

import random

import numpy as np
import pytest

from data_modules.episodes.form import Form
from data_modules.episodes.recording import read_episode
from data_modules.loading.batches import EpochBatches
from data_modules.loading.datamodule import Kept
from data_modules.loading.loader import ResumableLoader
from tests.data_modules.test_episodes import make_frames, read, write_index


def shades(clip):
    return clip.read().frames_THWC[:, 0, 0, 0].tolist()


def draw(rows, index, times=60):
    random.seed(0)
    return [rows.draw_sample(index) for _ in range(times)]


def test_in_training_a_clip_starts_anywhere_up_to_the_next_and_the_last_start_of_all_is_drawn_too(tmp_path):
    rows = read(write_index(tmp_path, [8]), window={"hop": 4})
    assert [rows[index].first for index in range(len(rows))] == [0, 4]
    assert [{clip.first for clip in draw(rows, index)} for index in range(2)] == [{0, 1, 2, 3}, {4, 5}]
    one = read(write_index(tmp_path, [8, 5]), window={"hop": None})
    assert [one[index].first for index in range(len(one))] == [0, 0]
    assert {clip.first for clip in draw(one, 0)} == set(range(6))
    assert {clip.first for clip in draw(one, 1)} == set(range(3))
    aligned = read(write_index(tmp_path, [12]), window={"hop": 4, "align": 2})
    assert [{clip.first for clip in draw(aligned, index)} for index in range(2)] == [{0, 2}, {4, 6}]
    with pytest.raises(ValueError, match="align=0"):
        read(write_index(tmp_path, [8]), window={"align": 0})


def test_draws_depend_on_seed_epoch_and_row_whatever_the_batch_and_also_where_rows_are_left_out(tmp_path):
    rows = read(write_index(tmp_path, [60, 60]), window={"hop": None})

    def list_epochs(seed, size, dataset):
        loader = ResumableLoader(dataset, EpochBatches(len(dataset), size, seed), collate_fn=list)
        return [{clip.entry.file.name: clip.first for batch in loader for clip in batch} for _ in range(2)]

    first, second = list_epochs(0, 1, rows)
    assert list_epochs(0, 2, rows) == [first, second]
    assert first != second
    assert list_epochs(1, 1, rows)[0] != first
    assert list_epochs(0, 1, Kept(rows, [0])) == [{"0.npz": epoch["0.npz"]} for epoch in (first, second)]


def test_drawn_starts_leave_still_clips_out(tmp_path):
    frames = make_frames(9)
    frames[5:] += 100
    rows = read(write_index(tmp_path, [9], frames=frames), window={"moving": 0.5, "hop": 4})
    assert [(rows[0].first, len(rows)), {clip.first for clip in draw(rows, 0)}] == [(4, 1), {4}]


def test_a_goal_is_the_last_frame_in_front_without_actions(tmp_path):
    rows = read(write_index(tmp_path, [9]), window={"order": "goal", "length": 4, "step": 2, "hop": 2})
    assert len(rows) == 3
    clip = rows[1].read()
    assert clip.frames_THWC[:, 0, 0, 0].tolist() == [6, 2, 4, 6]
    assert (clip.actions_SA, clip.rewards_S) == (None, None)


def test_shuffled_frames_are_distinct_ones_of_the_horizon_drawn_anew_in_training_only(tmp_path):
    rows = read(write_index(tmp_path, [20]), window={"order": "shuffle", "length": 4, "horizon": 8, "hop": 6})
    assert shades(rows[1]) == shades(rows[1])
    assert shades(rows[0]) != [shade - 6 for shade in shades(rows[1])]
    drawn = [shades(clip) for clip in draw(rows, 1)]
    assert all(len(set(each)) == 4 and set(each) <= set(range(6, 19)) for each in drawn)
    assert {max(each) - min(each) < 8 for each in drawn} == {True}
    assert len({tuple(each) for each in drawn}) > 20
    assert rows[1].read().actions_SA is None


def test_short_episodes_are_refused_left_out_or_repeat_their_last_frame_and_action(tmp_path):
    index = write_index(tmp_path, [2, 4])
    with pytest.raises(
        ValueError, match=r"index\.jsonl:1: .*0\.npz has 2 frames, a clip needs 4; .*task\.window\.short"
    ):
        read(index, window={"length": 4})
    left = read(index, window={"length": 4, "short": "leave_out"})
    assert [left[index].entry.file.name for index in range(len(left))] == ["1.npz"]
    with pytest.raises(ValueError, match="no episode has the 9 frames"):
        read(index, window={"length": 9, "short": "leave_out"})
    clip = read(index, window={"length": 4, "short": "repeat"})[0].read()
    assert clip.frames_THWC[:, 0, 0, 0].tolist() == [0, 1, 1, 1]
    assert clip.actions_SA.tolist() == [[0, 0]] * 3
    write_index(tmp_path, [4], rewards=np.array([5.0, 6.0, 7.0]))
    assert read(tmp_path / "index.jsonl", window={"length": 6, "short": "repeat"})[0].read().rewards_S.tolist() == [
        *(5, 6, 7),
        *(0, 0),
    ]


def test_only_the_first_frames_of_a_clip_are_read_where_no_more_are_asked_for_and_all_actions(tmp_path):
    clip = read(write_index(tmp_path, [6]))[1].read(num_frames=1)
    assert clip.frames_THWC[:, 0, 0, 0].tolist() == [2]
    assert clip.actions_SA.tolist() == [[2, -2], [3, -3]]


def test_windows_that_cant_be_are_refused(tmp_path):
    index = write_index(tmp_path, [9])
    for window, words in (
        ({"order": "random"}, "order=random"),
        ({"short": "pad"}, "short=pad"),
        ({"order": "goal", "length": 2}, "length=2 must be 3"),
        ({"order": "shuffle", "horizon": 2}, "horizon=2 must be 3"),
        ({"horizon": 8}, "is for order=shuffle"),
    ):
        with pytest.raises(ValueError, match=words):
            read(index, window=window)


def test_a_form_turns_mirrors_clips_and_widens(tmp_path):
    corner = np.zeros((3, 4, 4, 3), np.uint8)
    corner[:, 0, 1] = 9
    np.savez(tmp_path / "a.npz", frames=corner, actions=np.array([[0.5, -9], [2, 0]]))

    def spots(**options):
        frames = read_episode(tmp_path / "a.npz", Form({"frames": "frames"}, **options)).frames_THWC
        return np.argwhere(frames[0, :, :, 0]).tolist()

    assert [spots(), spots(turn=180), spots(flip="vertical"), spots(flip="horizontal"), spots(turn=90)] == [
        *([[0, 1]], [[3, 2]], [[3, 1]], [[0, 2]], [[2, 0]]),
    ]
    keys = {"frames": "frames", "actions": "actions"}
    assert read_episode(tmp_path / "a.npz", Form(keys, clip=1)).actions_SA.tolist() == [[0.5, -1], [1, 0]]
    assert read_episode(tmp_path / "a.npz", Form(keys, width=3)).actions_SA.tolist() == [[0.5, -9, 0], [2, 0, 0]]
    assert read_episode(tmp_path / "a.npz", Form(keys, width=1)).actions_SA.tolist() == [[0.5], [2]]
    for options in (
        {"turn": 45},
        {"flip": "both"},
        {"clip": 0},
        {"width": 0},
        {"keys": {"frames": 3}},
        {"optional": ["sounds"]},
    ):
        with pytest.raises(ValueError, match=next(iter(options))):
            Form(**{"keys": keys} | options)


def test_cameras_states_and_texts_are_read_and_what_a_file_may_lack_is_left_out(tmp_path):
    frames = make_frames(4)
    np.savez(
        tmp_path / "a.npz",
        top=frames,
        wrist=frames + 100,
        arm=np.ones((3, 2)),
        hand=np.zeros(3),
        joints=np.ones((4, 5)),
        say="push",
    )
    form = Form({"frames": ["top", "wrist"], "actions": ["arm", "hand"], "states": "joints", "text": "say"})
    episode = read_episode(tmp_path / "a.npz", form)
    assert [int(camera[0, 0, 0, 0]) for camera in episode.cameras] == [0, 100]
    assert episode.actions_SA.tolist() == [[1, 1, 0]] * 3
    assert (episode.states_TN.shape, episode.text) == ((4, 5), "push")
    np.savez(tmp_path / "b.npz", top=frames)
    bare = read_episode(
        tmp_path / "b.npz",
        Form(
            {"frames": "top", "actions": "arm", "states": "joints", "text": "say"},
            optional=["actions", "states", "text"],
        ),
    )
    assert (bare.actions_SA, bare.states_TN, bare.text) == (None, None, None)
    np.savez(tmp_path / "c.npz", top=frames, wrist=frames[:3])
    for keys, words in (
        ({"frames": ["top", "wrist"]}, "different numbers of frames"),
        ({"frames": None}, "must name the array of frames"),
        ({"frames": "top", "states": "wrist"}, r"states of shape \(3, 8, 8, 3\)"),
    ):
        with pytest.raises(ValueError, match=words):
            read_episode(tmp_path / "c.npz", Form(keys))
