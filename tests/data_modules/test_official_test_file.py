"""The official planning test file: 400 rows without answers, read as it is and scored as Mirage's ``test.py`` does."""

import json

import pytest
from PIL import Image

from data_modules.loading.datamodule import check_disjoint
from data_modules.samples import Picture, Text
from data_modules.vsp.maker import Generator
from data_modules.vsp.planning import VSP

PROMPT = "<image>Find the shortest safe path from the start to the goal."
MAPS = [
    [[1, 0, 0], [0, -1, 0], [0, 0, 2]],
    [[0, 0, 2], [0, -1, 0], [1, 0, 0]],
    [[1, 0, 0], [0, -1, 0], [0, 0, 2]],  # twice, as five of the official maps are
    [[1, 0, 0, 0], [-1, -1, 0, -1], [0, 0, 0, 0], [0, -1, 2, 0]],
]
ANSWERS = [
    r"\boxed{RIGHT, RIGHT, DOWN, DOWN}",
    r"\boxed{R,R,D,D}",
    r"\boxed{2R2D}",
    r"\boxed{UP, UP, RIGHT, RIGHT}",
    r"\boxed{RIGHT, RIGHT, DOWN, DOWN, DOWN}",
    r"\boxed{RIGHT, RIGHT, DOWN, DOWN, DOWN, UP}",
    r"\boxed{DOWN} no: \boxed{RIGHT, DOWN, DOWN}",
    r"\boxed{first go RIGHT}",
    r"\boxed{}",
    "I cannot see the maze.",
]


@pytest.fixture
def file(tmp_path):
    """Images lie where the archive unpacks them; rows name them from the folder in which training was run."""
    lines = []
    for number, grid in enumerate(MAPS):
        name = f"images/level_{len(grid)}/{number}.png"
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64 * len(grid), 64 * len(grid)), (number, 0, 0)).save(tmp_path / name)
        path = f"./data/vsp_spatial_planning/{name}"
        lines.append({"text_input": PROMPT, "image_input": path, "map_id": number, "map_desc": grid})
    (tmp_path / "test_direct.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path / "test_direct.jsonl"


def published_score(grid, text):
    """Mirage's scoring said slowly: letters of the last box, moves on the map, a hole fails, the last cell decides."""
    if r"\boxed{" not in text:
        return False
    box = text.split(r"\boxed{")[-1].split("}")[0]
    at = next((r, c) for r, row in enumerate(grid) for c, cell in enumerate(row) if cell == 1)
    for letter in box:
        if letter in "UDLR":
            row = at[0] + {"U": -1, "D": 1}.get(letter, 0)
            column = at[1] + {"L": -1, "R": 1}.get(letter, 0)
            if row in range(len(grid)) and column in range(len(grid)):
                at = row, column
            if grid[at[0]][at[1]] == -1:
                return False
    return grid[at[0]][at[1]] == 2


@pytest.mark.parametrize("thoughts", ["none", "rules"])
def test_rows_are_read_as_they_are(file, thoughts):
    rows = VSP(thoughts=thoughts).read(file)
    assert [row.where for row in rows.samples] == [f"{file}:{line}" for line in (1, 2, 3, 4)]
    for number, row in enumerate(rows.samples):
        picture = Picture(file.parent / f"images/level_{len(MAPS[number])}/{number}.png")
        assert row.question == (picture, Text(PROMPT.removeprefix("<image>")))
        assert row.answer == ()
        assert row.meta == {"map_id": number, "map_desc": MAPS[number]}
    assert list(VSP().problems(file)) == []


def test_each_row_is_scored_as_published(file):
    rows = VSP().read(file)
    scores = [[rows.grade(row, text).values["success"] for text in ANSWERS] for row in rows.samples]
    assert scores == [[published_score(grid, text) for text in ANSWERS] for grid in MAPS]
    assert [sum(row) for row in scores] == [3, 1, 3, 1]
    assert [rows.grade(row, "").group for row in rows.samples] == ["level_3", "level_3", "level_3", "level_4"]


def test_answers_and_the_lack_of_one_can_be_drawn(file):
    rows = VSP().read(file)
    plain, drawn = (rows.draw(rows[0], text) for text in (rows[0].answer_text, ANSWERS[0]))
    assert plain == Image.new("RGB", (192, 192), (0, 0, 0))
    assert drawn != plain


def test_a_map_that_is_there_twice_counts_twice_and_is_one_identity(file):
    rows = VSP().read(file)
    assert len(rows) == 4
    assert rows.identity(rows[0]) == rows.identity(rows[2])
    assert len(rows.identities()) == 3
    check_disjoint({"test": rows})


def test_its_maps_are_in_no_training_data_made_with_exclude(file, tmp_path):
    def made(name, exclude):
        Generator(
            folder=tmp_path / name,
            levels=[3],
            per_level={"train": 60},
            cell_px=8,
            hole_rate=0.05,
            prompt="<image>Plan.",
            seed=0,
            exclude=exclude,
            num_workers=1,
        ).make()
        return VSP().read(tmp_path / name / "train.jsonl")

    free = made("free", [])
    line = json.loads(file.read_text().splitlines()[1]) | {"map_desc": free[7].meta["map_desc"]}
    file.write_text(file.read_text() + json.dumps(line) + "\n")
    tested = VSP().read(file)
    with pytest.raises(ValueError, match=r"test_direct.jsonl:5 is .*train.jsonl:8"):
        check_disjoint({"train": free, "test": tested})
    check_disjoint({"train": made("held", [file]), "test": tested})
