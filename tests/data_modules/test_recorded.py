"""Steps out of files of episodes: LeRobot in both versions, with cameras and words; RoboTwin; and what may be wrong."""

import json
import re
import shutil
from dataclasses import replace
from io import BytesIO

import h5py
import numpy as np
import pyarrow.parquet
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

from data_modules.demonstrations.recorded import RecordedDemonstrations
from mirage_pl.engine.datasets import description
from mirage_pl.engine.place import CONF
from mirage_pl.engine.value_types import check_types
from tests.conftest import compose
from tests.data_modules.test_lerobot import EPISODES, LENGTHS, VERSIONS, alike, change_info, write

KEYS = {"frames": ["top", "wrist"], "actions": "action", "states": "observation.state", "text": "text"}
FORM = {"keys": KEYS, "optional": ["states", "text", "plans"]}
NUMBERS = {"state": 3, "action": 2}
OPTIONS = {"form": FORM, "chunk": 3, "hop": 1, "stride": 1, "numbers": NUMBERS, "check": 100, "annotations": {}}
TWO = [replace(episode, others=(255 - episode.frames_THWC[:, :16, :14],)) for episode in EPISODES]


def open_steps(**changes):
    return RecordedDemonstrations(**OPTIONS | changes)


@pytest.fixture(scope="module", params=VERSIONS)
def folder(request, tmp_path_factory):
    return write(tmp_path_factory.mktemp("steps") / "set", request.param, TWO, cameras=["top", "wrist"])


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "set")


def test_a_step_has_words_a_state_a_chunk_and_what_each_camera_sees(folder):
    rows = open_steps().read(str(folder))
    assert len(rows) == sum(LENGTHS) - len(LENGTHS)
    step = rows[LENGTHS[0] - 1 + 1]  # the second step of the second episode
    assert (step.instruction, step.group, step.at) == ("task 1", "task 1", 1)
    assert step.where == f"{folder}:episode 1@1"
    assert step.state_S.tolist() == [1, 101, 201]
    assert step.actions_HA.tolist() == [[1, -1], [2, -2], [2, -2]]
    assert step.real == 2
    top, wrist = step.look()
    assert alike(top, TWO[1].frames_THWC[1])
    assert alike(wrist, TWO[1].others[0][1])
    assert len(rows.identities()) == len(LENGTHS) == len({rows.identity(rows[place]) for place in range(len(rows))})
    assert [each.shape for each in rows.gather()] == [(sum(LENGTHS), 3), (sum(LENGTHS) - len(LENGTHS), 2)]
    assert rows.picture(step).size == (32 + 14, 32)
    assert "task 1" in rows.caption(step)
    assert len(open_steps().read([str(folder), str(folder)])) == 2 * len(rows)
    assert open_steps(check=3).read(str(folder)).identities() == {}


def test_a_data_set_without_cameras_is_read_and_its_numbers_are_drawn(folder):
    (step, *_) = rows = open_steps(form=FORM | {"keys": KEYS | {"frames": []}}).read(str(folder))
    assert step.look() == ()
    assert rows.picture(step).size[0] > 100
    assert len(rows) == sum(LENGTHS) - len(LENGTHS)


@pytest.mark.parametrize("key", ["observation.state", "observation.joints", None])
def test_a_data_set_with_or_without_a_state_is_read_where_none_is_asked_for(folder, key):
    keys = {"keys": KEYS | {"states": key}}
    rows = open_steps(form=FORM | keys, numbers=NUMBERS | {"state": 0}).read(str(folder))
    assert (rows[0].state_S, rows[0].actions_HA.shape) == (None, (3, 2))
    assert [each.shape for each in rows.gather()] == [(sum(LENGTHS), 0), (sum(LENGTHS) - len(LENGTHS), 2)]
    blind = open_steps(form=FORM | {"keys": KEYS | {"states": key, "frames": ["top"]}}, numbers=NUMBERS | {"state": 0})
    assert len(blind.read(str(folder))) == len(rows)


def spoil_actions(folder):
    for file in folder.glob("data/*/*.parquet"):
        table = pyarrow.parquet.read_table(file)
        values = np.array(table["action"].to_pylist(), np.float32)
        values[:] = np.where(np.arange(len(values))[:, None] == 1, np.nan, values)
        column = pyarrow.FixedSizeListArray.from_arrays(values.reshape(-1), 2)
        pyarrow.parquet.write_table(table.set_column(table.column_names.index("action"), "action", column), file)


@pytest.mark.parametrize(
    ("spoil", "options", "words"),
    [
        (
            lambda folder: change_info(folder, lambda info: info.update(codebase_version="v9.9")),
            {},
            "codebase_version=v9.9",
        ),
        (spoil_actions, {}, "actions of step 1 aren't finite numbers"),
        (
            lambda folder: None,
            {"numbers": {"state": 4, "action": 2}},
            "states of 3 numbers, not of 4 as task.numbers.state",
        ),
        (
            lambda folder: None,
            {"numbers": {"state": 3, "action": 7}},
            "actions of 2 numbers, not of 7 as task.numbers.action",
        ),
        (
            lambda folder: None,
            {"form": FORM | {"keys": KEYS | {"states": "observation.joints"}}},
            r"has no states, but .*observation.state.*; set task.form.keys.states, or .* set task.numbers.state=0",
        ),
        (lambda folder: None, {"form": FORM | {"keys": KEYS | {"text": None}}}, "doesn't say what is to be done"),
        (
            lambda folder: None,
            {"form": FORM | {"keys": KEYS | {"frames": ["top", "wrst"]}}},
            "has no wrst, but top, wrist",
        ),
    ],
    ids=["version", "nan", "states", "actions", "no state", "no text", "no camera"],
)
def test_what_a_policy_cant_learn_from_is_refused_in_one_line(copy, spoil, options, words):
    spoil(copy)
    with pytest.raises(ValueError, match=words) as error:
        open_steps(**options).read(str(copy)).gather()
    assert "\n" not in str(error.value)
    problems = [*open_steps(**options).problems(str(copy))]
    assert problems
    assert str(error.value).partition(": ")[2] in problems[0] or str(error.value) == problems[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"numbers": {"state": None, "action": 7}}, r"task.numbers.state=None: say how many"),
        ({"chunk": 0}, "chunk=0"),
        ({"stride": 0}, "stride=0"),
    ],
)
def test_options_that_cant_be_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        open_steps(**change)


def test_plans_may_be_said_by_a_file_beside_the_data_set(folder, tmp_path):
    rows = [
        {
            "episode_id": f"episode_{number:06}",
            "frame_index": step,
            "current_subtask": f"{number}: part {step // 2}",
            "done": [1, 2],
        }
        for number, total in enumerate(LENGTHS)
        for step in range(total)
    ]
    file = tmp_path / "plans.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = {"file": str(file), "episode": "episode_id", "frame": "frame_index", "plan": "{current_subtask} ({done})"}
    steps = open_steps(annotations=options).read(str(folder))
    assert [steps[place].plan for place in (0, 3, LENGTHS[0] + 1)] == [
        "0: part 0 (1, 2)",
        "0: part 1 (1, 2)",
        "1: part 1 (1, 2)",
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows if row["frame_index"] != 2))
    with pytest.raises(ValueError, match="episode 0: .*plans.jsonl says nothing of frame 2 of episode 0"):
        open_steps(annotations=options).read(str(folder)).gather()
    file.write_text(json.dumps(rows[0]) + '\n{"episode_id": "none"}\n')
    with pytest.raises(ValueError, match="plans.jsonl:2: no episode, frame or plan"):
        open_steps(annotations=options)
    with pytest.raises(ValueError, match="file=gone.jsonl does not exist"):
        open_steps(annotations=options | {"file": "gone.jsonl"})


def test_the_data_verb_describes_draws_and_checks_them(folder, tmp_path, capsys):
    files = [f"task.train_file={folder}", "task.val_file=null", "task.test_file=null", "task.reads=steps"]
    keys = ["task.form.keys.frames=[top,wrist]", "task.numbers={state: 3, action: 2}"]
    given = ["task=episodes/lerobot", *files, *keys]
    description.run(compose("data", *given, f"sheet={tmp_path}/sheet", "num_shown=2"))
    assert "task 0" in capsys.readouterr().out
    assert (tmp_path / "sheet/sheet.png").is_file()
    description.run(compose("data", *given, "validate=true"))
    with pytest.raises(ValueError, match="bad"):
        description.run(compose("data", *given, "validate=true", "task.numbers.state=4"))


def as_jpeg(frame):
    content = BytesIO()
    Image.fromarray(frame).save(content, "JPEG", quality=95)
    return content.getvalue()


def write_robotwin(folder, total=7, **changes):
    """As RoboTwin does: pictures with red first are handed to a coder that takes them for some with blue first."""
    (folder / "clean_data").mkdir(parents=True)
    (folder / "instructions").mkdir()
    for number in range(2):
        with h5py.File(folder / f"clean_data/episode{number}.hdf5", "w") as file:
            for place, camera in enumerate(("head", "left", "right")):
                frames = np.zeros((total, 32, 32, 3), np.uint8)
                frames[..., place] = 200
                coded = np.array([as_jpeg(frame[..., ::-1]) for frame in frames])
                file[f"observation/{camera}_camera/rgb"] = coded
            for side, offset in (("left", 0), ("right", 100)):
                file[f"endpose/{side}_endpose"] = np.arange(total)[:, None] + np.full((1, 7), offset + 10.0 * number)
                file[f"endpose/{side}_gripper"] = np.full(total, 0.5)
            file["joint_action/vector"] = np.zeros((total, 14))
            if "plans" not in changes:
                file["subtask_text"] = np.array([f"part {step // 3}".encode() for step in range(total)])
        if "words" not in changes:
            words = {"seen": [f"lift pot {number}", "lift"], "unseen": ["raise"]}
            (folder / f"instructions/episode{number}.json").write_text(json.dumps(words))
    return folder / "clean_data"


@pytest.fixture(scope="module")
def robotwin():
    """Reads a folder as its task says, but for some options."""
    cfg = compose("train", "stage=mmact/action", "task=episodes/robotwin")

    def read(file, **changes):
        own = cfg.copy()
        for key, value in changes.items():
            OmegaConf.update(own.task, key.replace("__", "."), value)
        return instantiate(own.task.dataset).read(str(file))

    return read


def test_robotwin_is_read_with_three_cameras_sub_tasks_and_poses_some_steps_ahead(robotwin, tmp_path):
    file = write_robotwin(tmp_path)
    rows = robotwin(file)
    step = rows[6 + 1]  # the second one of the second episode
    assert (step.instruction, step.plan, step.at) == ("lift pot 1", "part 0", 1)
    assert step.state_S.tolist() == [11] * 7 + [0.5] + [111] * 7 + [0.5]
    assert step.actions_HA[:, 0].tolist() == [12, 13, 14, 15, 16, 16, 16, 16]
    assert step.real == 5
    for place, view in enumerate(step.look()):
        assert np.abs(view.mean((0, 1)) - np.eye(3)[place] * 200).max() < 12
    ahead = robotwin(file, stride=2, chunk=3, form__keys__text="unseen")
    assert (ahead[1].actions_HA[:, 0].tolist(), ahead[1].real, ahead[1].instruction) == ([3, 5, 6], 2, "raise")
    assert len(ahead) == 10
    assert all(each.real for each in map(ahead.__getitem__, range(10)))
    joints = dict.fromkeys(("form__keys__actions", "form__keys__states"), "joint_action/vector")
    assert robotwin(file, **joints, numbers__state=14, numbers__action=14)[0].state_S.shape == (14,)


def test_robotwin_without_words_names_the_file_and_without_sub_tasks_has_no_plans(robotwin, tmp_path):
    file = write_robotwin(tmp_path / "a", words=None)
    with pytest.raises(ValueError, match=r"instructions/episode0.json doesn't say what is to be done under 'seen'"):
        robotwin(file)[0]
    file = write_robotwin(tmp_path / "b", plans=None)
    assert robotwin(file)[0].plan is None
    assert not [*robotwin(write_robotwin(tmp_path / "c", total=2, plans=None)).places[2:]]
    with pytest.raises(ValueError, match=r"clean_data: no episode has 2 frames or more; a step is between two"):
        robotwin(write_robotwin(tmp_path / "d", total=1), stride=1).gather()


def test_joints_are_read_as_the_task_says_that_they_are(tmp_path):
    (line,) = [line for line in (CONF / "task/episodes/robotwin.yaml").read_text().splitlines() if "joints:" in line]
    files = [f"task.train_file={write_robotwin(tmp_path)}", "task.val_file=null", "task.test_file=null"]
    words = re.findall(r"task\.\S+=(?:\{.*\}|\S+)", line)
    cfg = compose("data", "task=episodes/robotwin", "task.reads=steps", *words, *files)
    check_types(cfg, compose("data", "task=episodes/robotwin"), words, lambda *_: False)
    assert instantiate(cfg.task.dataset).read(cfg.task.train_file)[0].state_S.shape == (14,)


@pytest.mark.parametrize("version", VERSIONS)
def test_episodes_of_one_row_without_words_or_of_another_rate_and_empty_sets_are_bad_rows(tmp_path, version):
    def problems(name, episodes, spoil=lambda info: None):
        folder = write(tmp_path / name, version, episodes, cameras=["top", "wrist"])
        change_info(folder, spoil)
        return [*open_steps().problems(str(folder))]

    first, second, *_ = TWO
    alone = replace(
        first,
        frames_THWC=first.frames_THWC[:1],
        others=(first.others[0][:1],),
        actions_SA=first.actions_SA[:0],
        rewards_S=first.rewards_S[:0],
        states_TN=first.states_TN[:1],
    )
    (line,) = problems("one", [second, alone])
    assert line.endswith("has 1 frame; a step is between two, so leave the episode out")
    for number, blank in enumerate(("", "  ", "\t\n")):
        (line,) = problems(f"blank{number}", [second, replace(first, text=blank)])
        assert "episode 1: " in line
        assert "doesn't say what is to be done" in line
    for number, fps in enumerate((30, 5, 12)):
        lines = problems(f"rate{number}", [first, second], lambda info, fps=fps: info.update(fps=fps))
        assert any(f"10 frames a second, but meta/info.json says fps={fps}" in line for line in lines)
    empty = tmp_path / "one"
    for file in (*empty.glob("meta/episodes*"), *empty.glob("meta/episodes*/*/*")):
        if file.suffix == ".jsonl":
            file.write_text("")
        elif file.is_file():
            pyarrow.parquet.write_table(pyarrow.parquet.read_table(file).slice(0, 0), file)
    change_info(empty, lambda info: info.update(total_episodes=0, total_frames=0))
    assert [*open_steps().problems(str(empty))] == [f"{empty} has no episode; give a LeRobot data set that has one"]


@pytest.mark.parametrize("cameras", ["[]", "[top]"])
def test_episodes_are_divided_as_steps_with_and_without_cameras(folder, tmp_path, cameras):
    files = [f"task.train_file={folder}", "task.val_file=null", "task.test_file=null", "task.reads=steps"]
    keys = [f"task.form.keys.frames={cameras}", "task.numbers={state: 3, action: 2}"]
    words = ["task=episodes/lerobot", *files, *keys, "split={train: 0.5, val: 0.5}", f"out={tmp_path}"]
    description.run(compose("data", *words))
    parts = [open_steps(form=FORM | {"keys": KEYS | {"frames": []}}).read(str(file)) for file in tmp_path.glob("*l")]
    assert sum(map(len, parts)) == sum(LENGTHS) - len(LENGTHS)
    assert len({name for part in parts for name in part.identities()}) == len(LENGTHS)
    assert all(("digest" in row) == (cameras != "[]") for part in parts for row in map(part.source.__getitem__, (0, 1)))
