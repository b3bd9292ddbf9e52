import json

import numpy as np
import pytest

from data_modules.datamodule import check_disjoint
from data_modules.maze_pictures import draw_maze
from data_modules.samples import Picture, open_image
from data_modules.vsp import VSP
from data_modules.vsp_generator import Generator
from tests.conftest import SHARED, needs_shared

OFFICIAL = SHARED / "data" / "mirage_sample" / "sample.jsonl"


def generator(folder, **changes):
    settings = {"levels": [3, 4], "per_level": {"train": 6, "val": 2, "test": 2}, "cell_px": 16, "hole_rate": 0.2}
    return Generator(folder=folder, prompt="<image>Plan.", seed=0, num_workers=1, **(settings | changes))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vsp") / "made"
    generator(folder).make()
    return folder


def test_generated_answers_are_graded_as_optimal_successes(made):
    rows = VSP(made / "train.jsonl", parser="strict")
    grades = [rows.grade(rows[index], rows[index].answer_text) for index in range(len(rows))]
    assert len(rows) == 12
    assert all(grade.success and grade.optimal for grade in grades)
    assert {grade.group for grade in grades} == {"level_3", "level_4"}


def test_rows_carry_the_official_keys(made):
    row = json.loads((made / "train.jsonl").read_text().splitlines()[0])
    assert row.keys() == {"text_input", "text_output", "image_input", "image_output", "map_desc", "map_id"}


def test_splits_share_no_maze_and_overlap_is_found(made):
    splits = {name: VSP(made / f"{name}.jsonl") for name in ("train", "val", "test")}
    check_disjoint(splits)
    with pytest.raises(ValueError, match=r"12 sample\(s\) of test are in train too .*train.jsonl:1"):
        check_disjoint({"train": splits["train"], "test": splits["train"]})


def test_the_same_settings_make_the_same_bytes_and_test_mazes_do_not_depend_on_the_size_of_train(made, tmp_path):
    generator(tmp_path / "again").make()
    generator(tmp_path / "larger", per_level={"train": 9, "val": 2, "test": 2}).make()
    for name in ("train.jsonl", "test.jsonl", "images/level_3_test_0.png"):
        assert (tmp_path / "again" / name).read_bytes() == (made / name).read_bytes()
    mazes = [[json.loads(line)["map_desc"] for line in (f / "test.jsonl").open()] for f in (made, tmp_path / "larger")]
    assert mazes[0] == mazes[1]


def test_data_made_with_other_settings_is_never_taken_for_this(made):
    assert generator(made).made()
    with pytest.raises(ValueError, match=r"made with levels=\[3, 4\]"):
        generator(made, levels=[5]).made()


def test_a_failed_run_leaves_nothing_behind(tmp_path):
    with pytest.raises(ValueError, match="distinct 3x3 mazes exist"):
        generator(tmp_path / "x", levels=[3], hole_rate=0.0, per_level={"train": 90, "val": 0, "test": 0}).make()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("levels", [[], [2], [3, 9]])
def test_impossible_levels_are_refused(tmp_path, levels):
    with pytest.raises(ValueError, match="task.levels"):
        generator(tmp_path, levels=levels)


def test_the_helper_image_differs_from_the_map_only_along_the_path(made):
    row = json.loads((made / "train.jsonl").read_text().splitlines()[8])
    plain, helper = (np.asarray(open_image(made / row[key], "")) for key in ("image_input", "image_output"))
    changed = (plain != helper).any(-1)
    red = (helper[..., 0] > 180) & (helper[..., 1] < 90) & (helper[..., 2] < 90)
    assert red.sum() > 20
    assert changed.mean() < 0.3


def test_a_row_that_cannot_be_graded_is_refused(tmp_path):
    (tmp_path / "x.jsonl").write_text(json.dumps({"text_input": "q", "image_input": "a.png", "text_output": "left"}))
    with pytest.raises(ValueError, match="x.jsonl:1: nothing to grade against"):
        VSP(tmp_path / "x.jsonl")


def test_an_unknown_parser_is_refused(made):
    with pytest.raises(ValueError, match="task.parser=loose is unknown"):
        VSP(made / "test.jsonl", parser="loose")


@needs_shared
def test_the_official_rows_load_as_they_are_and_are_graded_by_their_choice():
    rows = VSP(OFFICIAL)
    assert len(rows) == 10
    for index in range(10):
        sample = rows[index]
        assert all(part.path.is_file() for part in (*sample.question, *sample.answer) if hasattr(part, "path"))
        assert rows.grade(sample, sample.answer_text).success
        wrong = {"A": "B", "B": "C", "C": "A"}[sample.answer_text[-3]]
        assert rows.grade(sample, f"\\boxed{{{wrong}}}").outcome == "wrong"
        assert rows.grade(sample, "no answer").outcome == "invalid"
    assert list(VSP.problems(OFFICIAL)) == []


@needs_shared
def test_our_pictures_are_the_benchmarks_pictures():
    sample = VSP(OFFICIAL)[7]
    official = np.asarray(open_image(next(p.path for p in sample.question if isinstance(p, Picture)), ""))
    ours = draw_maze(((-1, 0, 1), (0, 0, 0), (2, 0, 0)), 64)
    assert np.abs(official.astype(int) - np.asarray(ours)).max() <= 1
