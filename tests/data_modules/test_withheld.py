"""Rows whose answer is withheld, as in every benchmark's hidden split: they can be asked and drawn, not graded."""

import json

import pytest
from PIL import Image

from data_modules.jigsaw.dataset import Jigsaw
from data_modules.rotation.dataset import Rotation
from data_modules.rows.rows import Rows
from data_modules.vsp.planning import VSP
from data_modules.vsp.reading import Reading
from data_modules.vsp.reasoning import VSPReasoning

PICTURES = ["a.png", "b.png", "c.png"]
BOARD = [[1, 0, 0], [1, 1, 0], [0, 0, 0]]
TASKS = {
    "vsp": (VSP(), {"image_input": "a.png"}),
    "vsp_reasoning": (VSPReasoning(), {"image_input": "a.png", "level": 3}),
    "jigsaw": (Jigsaw(), {"image_input": PICTURES}),
    "rotation": (Rotation(), {"image_input": PICTURES, "map_desc": BOARD, "level": "turn_90"}),
    "jsonl": (Rows(), {"image_input": "a.png"}),
    "letters": (Rows(grader="choice"), {"image_input": "a.png"}),
}


def write(folder, *rows):
    for name in PICTURES:
        Image.new("RGB", (84, 84), "gray").save(folder / name)
    (folder / "x.jsonl").write_text(
        "".join(json.dumps({"text_input": "q", "image_input": []} | row) + "\n" for row in rows)
    )
    return folder / "x.jsonl"


@pytest.mark.parametrize("task", TASKS)
def test_withheld_answers_are_read_asked_and_drawn_but_not_graded(tmp_path, task):
    dataset, row = TASKS[task]
    file = write(tmp_path, row, row | {"text_output": r"\boxed{A}"}, row)
    rows = dataset.read(file)
    scores = [rows.grade(rows[index], r"\boxed{A}") for index in range(3)]
    assert [score.values.get("success") for score in scores] == [None, True, None]
    assert [score.outcome for score in scores] == ["ungraded", "success", "ungraded"]
    assert len({score.group for score in scores}) == 1
    for index in range(3):
        assert rows.draw(rows[index], rows[index].answer_text).width > 20
    assert list(dataset.problems(file)) == []


@pytest.mark.parametrize("task", ["vsp", "vsp_reasoning", "jigsaw", "rotation"])
def test_training_demands_every_answer_at_its_start(tmp_path, task):
    dataset, row = TASKS[task]
    rows = dataset.read(write(tmp_path, row | {"text_output": r"\boxed{A}"}, row))
    with pytest.raises(ValueError, match=r"x.jsonl:2: no text_output .*needs an answer; add it"):
        rows.learnable()
    dataset.read(write(tmp_path, row | {"text_output": r"\boxed{A}"})).learnable()


def test_a_maze_is_graded_by_its_map_whether_or_not_its_answer_is_there(tmp_path):
    maze = {"map_desc": [[1, 0], [0, 2]]}
    rows = VSP().read(write(tmp_path, maze, maze | {"image_input": "a.png"}))
    for row in (rows[0], rows[1]):
        assert rows.grade(row, r"\boxed{RIGHT, DOWN}").values == {"success": True, "optimal": True}


@pytest.mark.parametrize("row", [{"map_desc": [[1, 0], [0, 2]]}, {"text_output": r"\boxed{A}"}, {}])
@pytest.mark.parametrize("text", ["", "no plan", r"\boxed{RIGHT, DOWN}"])
def test_a_row_without_a_picture_is_drawn(tmp_path, row, text):
    rows = VSP().read(write(tmp_path, row))
    assert min(rows.draw(rows[0], text).size) > 0


def test_a_map_is_not_read_aloud_without_a_picture(tmp_path):
    row = {"map_desc": [[1, 0], [0, 2]], "image_output": "a.png", "text_output": "x"}
    with pytest.raises(ValueError, match=r"x.jsonl:1: reading aloud needs image_input"):
        Reading({"map": "m", "path": "p"}).read(write(tmp_path, row))
