"""LeRobot data sets: written in both versions, read again, and what is wrong with a damaged one."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet
import pytest

from data_modules.episodes.clips import Episodes
from data_modules.episodes.decoding import decode_frames
from data_modules.episodes.episode import Episode
from data_modules.episodes.form import Form
from data_modules.episodes.lerobot.layout import Layout
from data_modules.episodes.lerobot.writer import write_folder
from data_modules.episodes.recording import read_episode

KEYS = {"frames": None, "actions": "action", "rewards": "next.reward", "states": "observation.state", "text": "text"}
VERSIONS = ("v2.1", "v3.0")
LENGTHS = (7, 4, 6, 5)


def draw_episode(number, total, side=32):
    """Frames that say their number by their shade, so that a frame out of place is seen."""
    shade = (40 * number + 12 * np.arange(total)) % 256
    frames = shade[:, None, None, None].repeat(side, 1).repeat(side, 2).repeat(3, 3).astype(np.uint8)
    steps = np.arange(total - 1, dtype=np.float32)
    states = np.arange(total, dtype=np.float32)[:, None] + [0, 100, 200]
    return Episode(
        frames, np.stack([steps, -steps], 1), steps + number, states.astype(np.float32), f"task {number % 2}"
    )


EPISODES = [draw_episode(number, total) for number, total in enumerate(LENGTHS)]


def write(folder, version, episodes=EPISODES, **options):
    pairs = [(f"episode {number}", episode) for number, episode in enumerate(episodes)]
    write_folder(folder, Layout(version=version, **options), pairs)
    return folder


@pytest.fixture(scope="module", params=VERSIONS)
def folder(request, tmp_path_factory):
    return write(tmp_path_factory.mktemp("lerobot") / "set", request.param)


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "set")


def alike(one, other):
    return np.abs(one.astype(int) - other).max() <= 6


def test_what_is_written_is_read_again(folder):
    for number, episode in enumerate(EPISODES):
        again = read_episode(folder, Form(KEYS), number)
        assert alike(again.frames_THWC, episode.frames_THWC)
        assert np.array_equal(again.actions_SA, episode.actions_SA)
        assert np.array_equal(again.rewards_S, episode.rewards_S)
        assert np.array_equal(again.states_TN, episode.states_TN)
        assert again.text == episode.text


def test_one_number_a_row_is_a_number(tmp_path):
    narrow = [replace(episode, actions_SA=episode.actions_SA[:, :1]) for episode in EPISODES]
    folder = write(tmp_path / "set", "v3.0", narrow)
    (file,) = folder.glob("data/*/*.parquet")
    assert str(pyarrow.parquet.read_schema(file).field("action").type) == "float"
    assert read_episode(folder, Form(KEYS), 1).actions_SA.tolist() == [[0], [1], [2]]


def test_the_folder_itself_is_read_as_an_index_counted_by_what_is_to_be_done(folder):
    rows = Episodes({"length": 3, "hop": 2}, {"keys": KEYS}).read(str(folder))
    clips = [rows[index] for index in range(len(rows))]
    assert [(clip.where.rpartition(":")[2], clip.group) for clip in clips[:4]] == [
        ("episode 0@0", "task 0"),
        ("episode 0@2", "task 0"),
        ("episode 0@4", "task 0"),
        ("episode 1@0", "task 1"),
    ]
    clip = clips[1].read()
    assert alike(clip.frames_THWC, EPISODES[0].frames_THWC[2:5])
    assert clip.actions_SA.tolist() == [[2, -2], [3, -3]]
    assert clip.text == "task 0"
    assert len(rows.identities()) == len(EPISODES)


@pytest.mark.parametrize("version", VERSIONS)
def test_many_files_several_folders_and_cameras_are_written_and_found_again(tmp_path, version):
    cameras = [replace(episode, others=(255 - episode.frames_THWC[:, :16, :14],)) for episode in EPISODES]
    options = {"data_mb": 1e-6, "video_mb": 1e-6, "chunk": 2, "cameras": ["top", "wrist"]}
    folder = write(tmp_path / "set", version, cameras, **options)
    assert len(list(folder.glob("data/chunk-001/*.parquet"))) == 2
    assert len(list(folder.rglob("*.mp4"))) == 8
    for number, episode in enumerate(cameras):
        again = read_episode(folder, Form(KEYS | {"frames": ["wrist", "top"]}), number)
        assert alike(again.frames_THWC, episode.others[0])
        assert alike(again.others[0], episode.frames_THWC)


def test_shared_videos_are_read_from_the_episodes_first_frame_by_number(tmp_path):
    folder = write(tmp_path / "set", "v3.0")
    (video,) = folder.rglob("*.mp4")
    places = np.cumsum([0, *LENGTHS])
    for episode, first in zip(EPISODES, places, strict=False):
        assert alike(decode_frames(video, [first + 2, first]), episode.frames_THWC[[2, 0]])


def test_statistics_are_those_of_all_rows(tmp_path):
    folder = write(tmp_path / "set", "v3.0")
    stats = json.loads((folder / "meta/stats.json").read_text())
    states = np.concatenate([episode.states_TN for episode in EPISODES])
    for name, value in (
        ("min", states.min(0)),
        ("max", states.max(0)),
        ("mean", states.mean(0)),
        ("std", states.std(0)),
    ):
        assert np.allclose(stats["observation.state"][name], value, atol=1e-5)
    assert stats["observation.state"]["count"] == [len(states)]
    pixels = np.concatenate([episode.frames_THWC for episode in EPISODES]) / 255
    assert np.allclose(np.ravel(stats["observation.image"]["mean"]), pixels.mean((0, 1, 2)))
    assert np.shape(stats["observation.image"]["std"]) == (3, 1, 1)
    lines = (write(tmp_path / "old", "v2.1") / "meta/episodes_stats.jsonl").read_text().splitlines()
    assert json.loads(lines[1])["stats"]["action"]["max"] == [2, 0]


def test_pictures_beside_the_numbers_are_read_too(tmp_path):
    from io import BytesIO

    from PIL import Image

    folder = write(tmp_path / "set", "v2.1", EPISODES[:1])
    file = folder / "data/chunk-000/episode_000000.parquet"

    def pack(frame):
        content = BytesIO()
        Image.fromarray(frame).save(content, "PNG")
        return {"bytes": content.getvalue(), "path": None}

    table = pyarrow.parquet.read_table(file)
    cells = pyarrow.array([pack(frame) for frame in EPISODES[0].frames_THWC])
    pyarrow.parquet.write_table(table.append_column("observation.picture", cells), file)
    change_info(folder, lambda info: info["features"].update({"observation.picture": {"dtype": "image"}}))
    shutil.rmtree(folder / "videos")
    again = read_episode(folder, Form(KEYS | {"frames": "observation.picture"}), 0)
    assert np.array_equal(again.frames_THWC, EPISODES[0].frames_THWC)


VIDEO = {"dtype": "video", "shape": [3, 480, 640]}
FEATURES = {
    "observation.image": {"dtype": "video", "shape": [3, 32, 32]},
    "action": {"dtype": "float32", "shape": [2]},
}


def change_info(folder, change):
    info = json.loads((folder / "meta/info.json").read_text())
    change(info)
    (folder / "meta/info.json").write_text(json.dumps(info))


def problems(folder, keys=KEYS, **window):
    return list(Episodes({"length": 3} | window, {"keys": keys}).problems(str(folder)))


def test_a_folder_whose_info_disagrees_with_its_files_is_refused_in_a_line(copy):
    assert problems(copy) == []
    for change, words in (
        ({"codebase_version": "v4.0"}, "codebase_version=v4.0; v2.0, v2.1, v3.0 are read"),
        ({"codebase_version": None}, "codebase_version=None"),
        ({"total_episodes": 7}, "says total_episodes=7, but meta/episodes"),
        ({"total_frames": 70}, "says total_frames=70, but meta/episodes"),
        ({"features": {}}, "has no features"),
        ({"features": FEATURES | {"action": {"dtype": "float32", "shape": [7]}}}, "has action of shape [2], but meta"),
        ({"features": FEATURES | {"observation.image": VIDEO}}, "has observation.image of shape [32, 32, 3], but meta"),
    ):
        whole = (copy / "meta/info.json").read_text()
        change_info(copy, lambda info, change=change: info.update(change))
        problem, *others = problems(copy, {"frames": None, "actions": "action"})
        assert words in problem
        assert len(others) == (len(EPISODES) - 1 if "of shape" in words else 0)
        assert "\n" not in problem
        (copy / "meta/info.json").write_text(whole + " " * len(problem))
    (copy / "meta/info.json").write_text("{")
    assert "info.json is broken JSON" in problems(copy)[0]


@pytest.mark.parametrize("part", ["meta/info.json", "meta"])
def test_a_folder_whose_info_is_missing_is_no_folder_of_videos(copy, part):
    shutil.rmtree(copy / part) if part == "meta" else (copy / part).unlink()
    with pytest.raises(ValueError, match=r"is a LeRobot data set without meta/info\.json; copy the data set anew"):
        Episodes({"length": 3}, {}).read(str(copy))


def test_what_is_wrong_with_some_episodes_is_listed_and_the_others_are_sound(copy):
    old = (copy / "meta/episodes.jsonl").is_file()
    videos = sorted(copy.rglob("*.mp4"))
    assert "has no nothing, but observation.image, " in problems(copy, KEYS | {"actions": "nothing"})[0]
    assert "has no observation.images.top" in problems(copy, KEYS | {"frames": "observation.images.top"})[0]
    change_info(copy, lambda info: info["features"].update({"lost": {"dtype": "float32"}}))
    assert "has no column lost, but meta/info.json names it" in problems(copy, KEYS | {"actions": "lost"})[0]
    whole = videos[-1].read_bytes()
    videos[-1].write_bytes(whole[: len(whole) // 2])
    truncated = problems(copy)
    assert len(truncated) == (1 if old else 4)
    assert all(str(videos[-1]) in problem and "is it whole" in problem for problem in truncated)
    videos[-1].unlink()
    assert all("does not exist" in problem for problem in problems(copy))
    videos[-1].write_bytes(whole)
    if old:
        videos[1].write_bytes(whole)
        assert problems(copy)[0].endswith("has 5 frames, but episode 1 has 4 rows; copy the data set anew")
        rows = pyarrow.parquet.read_table(copy / "data/chunk-000/episode_000002.parquet")
        pyarrow.parquet.write_table(rows[:3], copy / "data/chunk-000/episode_000002.parquet")
        assert "has 3 rows of episode 2, but meta/episodes.jsonl says 6" in problems(copy)[1]
    data = copy / "data/chunk-000" / ("episode_000003.parquet" if old else "file-000.parquet")
    data.write_bytes(data.read_bytes()[:-20])
    assert "is no whole Parquet file" in problems(copy)[-1]
    data.unlink()
    assert "does not exist, but meta/info.json says so" in problems(copy)[-1]


def test_a_shared_video_that_is_too_short_is_no_part_of_its_episode(tmp_path):
    folder, short = write(tmp_path / "set", "v3.0"), write(tmp_path / "short", "v3.0", EPISODES[:3])
    (video,), (other,) = folder.rglob("*.mp4"), short.rglob("*.mp4")
    shutil.copy(other, video)
    (problem,) = problems(folder)
    assert "has 17 frames, but episode 3 has 5 rows from frame 17 on" in problem


def test_episodes_that_cant_be_written_together_are_refused_and_nothing_is_left(tmp_path):
    for other, words in (
        (draw_episode(0, 5, side=16), "odd differs from the first episode in observation.image"),
        (replace(EPISODES[1], actions_SA=None), "odd differs from the first episode in action"),
        (replace(EPISODES[1], others=(EPISODES[1].frames_THWC,)), "odd has 2 cameras"),
    ):
        with pytest.raises(ValueError, match=words):
            write_folder(tmp_path / "set", Layout(), [("even", EPISODES[0]), ("odd", other)])
    assert not list(tmp_path.iterdir())
    (tmp_path / "set").mkdir()
    with pytest.raises(ValueError, match="is there already"):
        write(tmp_path / "set", "v3.0")
    for options in ({"version": "v1"}, {"codec": "mpeg"}, {"rate": 0}, {"cameras": []}, {"cameras": ["a/b"]}):
        with pytest.raises(ValueError, match=f"task.lerobot.{next(iter(options))}"):
            Layout(**options)
