"""Steps out of files of episodes: LeRobot in both versions, with cameras and words; RoboTwin; and what may be wrong."""

import json
import shutil
from dataclasses import replace
from io import BytesIO

import h5py
import numpy as np
import pyarrow.parquet
import pytest
from hydra.utils import instantiate
from PIL import Image

from data_modules.demonstrations.recorded import RecordedDemonstrations
from tests.conftest import compose
from tests.data_modules.test_lerobot import EPISODES, LENGTHS, VERSIONS, alike, change_info, write

KEYS = {"frames": ["top", "wrist"], "actions": "action", "states": "observation.state", "text": "text"}
FORM = {"keys": KEYS, "optional": ["states", "text", "plans"]}
NUMBERS = {"state": 3, "action": 2}
OPTIONS = {"form": FORM, "chunk": 3, "hop": 1, "stride": 1, "numbers": NUMBERS, "check": 100}
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
            r"has no states, but .*observation.state.*; set task.form.keys.states",
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


def read_robotwin(file, *words):
    cfg = compose("train", "stage=mmact/action", "task=episodes/robotwin", f"task.train_file={file}", *words)
    return instantiate(cfg.task.dataset).read(cfg.task.train_file)


def test_robotwin_is_read_with_three_cameras_sub_tasks_and_poses_some_steps_ahead(tmp_path):
    file = write_robotwin(tmp_path)
    rows = read_robotwin(file)
    step = rows[6 + 1]  # the second one of the second episode
    assert (step.instruction, step.plan, step.at) == ("lift pot 1", "part 0", 1)
    assert step.state_S.tolist() == [11] * 7 + [0.5] + [111] * 7 + [0.5]
    assert step.actions_HA[:, 0].tolist() == [12, 13, 14, 15, 16, 16, 16, 16]
    assert step.real == 5
    for place, view in enumerate(step.look()):
        assert np.abs(view.mean((0, 1)) - np.eye(3)[place] * 200).max() < 12
    ahead = read_robotwin(file, "task.stride=2", "task.chunk=3", "task.form.keys.text=unseen")
    assert (ahead[1].actions_HA[:, 0].tolist(), ahead[1].real, ahead[1].instruction) == ([3, 5, 6], 2, "raise")
    assert len(ahead) == 10
    assert all(each.real for each in map(ahead.__getitem__, range(10)))
    joints = [f"task.form.keys.{kind}=joint_action/vector" for kind in ("actions", "states")]
    assert read_robotwin(file, *joints, "task.numbers={state: 14, action: 14}")[0].state_S.shape == (14,)


def test_robotwin_without_words_names_the_file_and_without_sub_tasks_has_no_plans(tmp_path):
    file = write_robotwin(tmp_path / "a", words=None)
    with pytest.raises(ValueError, match=r"instructions/episode0.json doesn't say what is to be done under 'seen'"):
        read_robotwin(file)[0]
    file = write_robotwin(tmp_path / "b", plans=None)
    with pytest.raises(ValueError, match="has no subtask_text"):
        read_robotwin(file)[0]
    assert read_robotwin(file, "task.form.keys.plans=null")[0].plan is None
