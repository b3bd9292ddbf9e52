import json
from hashlib import sha256

import numpy as np
import pytest

from data_modules.images import open_image
from data_modules.loading.datamodule import check_disjoint
from data_modules.samples import Picture
from data_modules.vsp.maker import Generator
from data_modules.vsp.maze import parse_plan
from data_modules.vsp.pictures import draw_maze
from data_modules.vsp.planning import VSP
from data_modules.vsp.reading import Reading
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
    rows = VSP(parser="strict").read(made / "train.jsonl")
    grades = [rows.grade(rows[index], rows[index].answer_text) for index in range(len(rows))]
    assert len(rows) == 12
    assert all(grade.values["success"] and grade.values["optimal"] for grade in grades)
    assert {grade.group for grade in grades} == {"level_3", "level_4"}


def test_rows_carry_the_official_keys(made):
    row = json.loads((made / "train.jsonl").read_text().splitlines()[0])
    assert row.keys() == {"text_input", "text_output", "image_input", "image_output", "map_desc", "map_id"}


def test_splits_share_no_maze_and_overlap_is_found(made):
    splits = {name: VSP().read(made / f"{name}.jsonl") for name in ("train", "val", "test")}
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
    assert generator(made).is_made()
    with pytest.raises(ValueError, match=r"made with task.levels=\[3,4\], and task.levels=\[5\] is wanted"):
        generator(made, levels=[5]).is_made()


def test_a_failed_run_leaves_nothing_behind(tmp_path):
    with pytest.raises(ValueError, match="distinct 3x3 mazes exist"):
        generator(tmp_path / "x", levels=[3], hole_rate=0.0, per_level={"train": 90}).make()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("levels", [[], [2], [3, 17], [3, 4, 3]])
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
        VSP().read(tmp_path / "x.jsonl")


@pytest.mark.parametrize(
    ("option", "known"), [("parser", "lenient, strict"), ("rule", "official, benchmark"), ("thoughts", "none, rules")]
)
def test_an_unknown_word_is_refused_with_the_known_ones(made, option, known):
    with pytest.raises(ValueError, match=f"^task.{option}=loose is unknown; choose one of {known}$"):
        VSP(**{option: "loose"}).read(made / "test.jsonl")


@pytest.mark.parametrize(
    ("parser", "rule", "text", "expected", "optimal"),
    [
        ("strict", "official", r"\boxed{DOWN, RIGHT}", "success", True),
        ("strict", "official", r"\boxed{DOWN, RIGHT, LEFT}", "short", False),
        ("strict", "benchmark", r"\boxed{DOWN, RIGHT, LEFT}", "success", True),  # two moves are made
        ("strict", "official", r"\boxed{DOWN, RIGHT, UP}", "hole", False),
        ("strict", "benchmark", r"\boxed{UP, DOWN, RIGHT, UP}", "success", False),
        ("strict", "benchmark", r"\boxed{RIGHT, DOWN}", "hole", False),
        ("strict", "benchmark", r"\boxed{1D1R}", "invalid", False),
        ("lenient", "official", r"\boxed{1D1R}", "success", True),
        ("lenient", "official", r"\boxed{DOWN RIGHT LEFT}", "short", False),
        ("lenient", "benchmark", r"\boxed{DOWN RIGHT LEFT}", "success", True),
        ("lenient", "benchmark", "no plan", "invalid", False),
    ],
)
def test_parser_and_rule_together_decide_the_grade(tmp_path, parser, rule, text, expected, optimal):
    row = {"text_input": "q", "image_input": "a.png", "map_desc": [[1, -1], [0, 2]]}
    (tmp_path / "x.jsonl").write_text(json.dumps(row))
    rows = VSP(parser=parser, rule=rule).read(tmp_path / "x.jsonl")
    grade = rows.grade(rows[0], text)
    assert (grade.outcome, grade.values["success"], grade.values["optimal"]) == (
        expected,
        expected == "success",
        optimal,
    )


def test_a_plan_is_drawn_as_far_as_the_rule_walks_it(made):
    official, benchmark = (VSP(rule=rule).read(made / "test.jsonl") for rule in ("official", "benchmark"))
    right = official[0].answer_text
    back = {"UP": "DOWN", "DOWN": "UP", "LEFT": "RIGHT", "RIGHT": "LEFT"}[right[7:-1].split(", ")[-1]]
    further = right[:-1] + f", {back}" + "}"
    assert benchmark.draw(benchmark[0], further) == official.draw(official[0], right)
    assert official.draw(official[0], further) != official.draw(official[0], right)


def test_an_identity_is_the_maze_whatever_else_a_row_says(tmp_path):
    row = {"text_input": "q", "image_input": "a.png", "map_desc": [[1, -1], [0, 2]]}
    same = {"text_input": "other", "image_input": "b.png", "map_desc": [[1, -1], [0, 2]], "text_output": "x"}
    other = row | {"map_desc": [[1, 0], [0, 2]]}
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(line) + "\n" for line in (row, same, other)))
    rows = VSP().read(tmp_path / "x.jsonl")
    first, second, third = (rows.identity(sample) for sample in rows.samples)
    assert first == second == sha256(b"[[1, -1], [0, 2]]").hexdigest()[:12]
    assert first != third
    assert rows.identities().keys() == {first, third}
    check_disjoint({"test": rows})


def test_without_a_maze_an_identity_is_the_question_and_the_bytes_of_its_pictures(folder):
    def ask(name, text, **more):
        row = {"text_input": text, "image_input": f"images/{name}.png", "text_output": r"\boxed{A}"} | more
        (folder / "x.jsonl").write_text(json.dumps(row))
        rows = VSP().read(folder / "x.jsonl")
        return rows.identity(rows[0])

    asked = ask("a", "q<image>")
    assert ask("b", "q<image>", text_output=r"\boxed{B}") == asked  # the same picture under another name
    (folder / "images/c.png").write_bytes(b"another picture")
    assert len({asked, ask("c", "q<image>"), ask("a", "r<image>"), ask("a", "<image>q")}) == 4
    with pytest.raises(ValueError, match=r"x.jsonl:1: image .*none.png does not exist"):
        ask("none", "q")


def test_a_reading_has_the_identity_of_its_maze(made):
    rows = VSP().read(made / "test.jsonl")
    readings = Reading({"map": "m", "path": "p"}).read(made / "test.jsonl")
    assert [readings.identity(readings[at]) for at in range(len(readings))] == [
        rows.identity(row) for row in rows.samples for _ in ("map", "path")
    ]
    assert readings.identities() == rows.identities()


def grids(file):
    return [json.loads(line)["map_desc"] for line in file.open()]


def test_excluded_mazes_are_in_no_split_and_the_others_keep_their_order(made, tmp_path):
    generator(tmp_path / "again", exclude=[made / "test.jsonl", made / "val.jsonl"]).make()
    names = ("test", "val", "train")
    left, drawn = ([grids(f / f"{name}.jsonl") for name in names] for f in (tmp_path / "again", made))
    banned = drawn[0] + drawn[1]
    assert not any(grid in banned for split in left for grid in split)
    assert [len(split) for split in left] == [len(split) for split in drawn]
    # level 3 comes first in each file: what follows the excluded mazes moves up
    assert left[0][:2] + left[1][:2] + left[2][:2] == drawn[2][:6]


def test_excluded_mazes_are_a_setting_by_their_content_and_data_made_before_there_were_any_is_taken(made, tmp_path):
    record = json.loads((made / "made.json").read_text())
    assert record.pop("exclude") is None
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "made.json").write_text(json.dumps(record))
    assert generator(tmp_path / "old").is_made()
    excluded = generator(tmp_path / "old", exclude=[made / "test.jsonl"])
    with pytest.raises(ValueError, match="was made with task.exclude=null"):
        excluded.is_made()
    (tmp_path / "moved.jsonl").write_text("".join(reversed((made / "test.jsonl").open().readlines())))
    assert generator(tmp_path, exclude=[tmp_path / "moved.jsonl"]).settings() == excluded.settings()
    assert generator(tmp_path, exclude=[made / "train.jsonl"]).settings() != excluded.settings()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, r"task.exclude: data file .*x.jsonl does not exist"),
        ("", r"task.exclude: .*x.jsonl holds no rows"),
        ("{}\n", r"task.exclude: .*x.jsonl:1: missing key"),
        ('{"text_input": "q", "image_input": "a.png"}\n', r"task.exclude: .*x.jsonl:1: no map_desc"),
        ('{"text_input": "q", "image_input": "a.png", "map_desc": [[1]]}\n', r"task.exclude: .*x.jsonl:1: .*one goal"),
    ],
)
def test_a_bad_file_to_exclude_is_named_and_nothing_is_made(tmp_path, content, complaint):
    if content is not None:
        (tmp_path / "x.jsonl").write_text(content)
    with pytest.raises(ValueError, match=complaint):
        generator(tmp_path / "made", exclude=[tmp_path / "x.jsonl"]).make()
    assert not list(tmp_path.glob("made*"))


def test_one_file_to_exclude_is_still_given_as_a_list(tmp_path):
    with pytest.raises(ValueError, match=r"task.exclude=x.jsonl must be a list of files: task.exclude=\[x.jsonl\]"):
        generator(tmp_path, exclude="x.jsonl")


def test_success_is_split_by_the_maze_s_size_or_by_the_length_of_its_plan(tmp_path):
    generator(tmp_path / "made").make()
    file = tmp_path / "made" / "train.jsonl"
    for groups, write in {"level": lambda maze, plan: len(maze), "moves": lambda maze, plan: len(plan)}.items():
        rows = VSP(groups=groups).read(file)
        for sample in rows.samples:
            plan = parse_plan(sample.answer_text)
            wanted = f"{groups}_{write(sample.meta['map_desc'], plan)}"
            assert rows.group(sample) == rows.grade(sample, sample.answer_text).group == wanted
            assert rows.grade(sample, "").group == wanted
    with pytest.raises(ValueError, match="task.groups=size is unknown; choose one of level, moves"):
        VSP(groups="size")


@needs_shared
def test_the_official_rows_load_as_they_are_and_are_graded_by_their_choice():
    rows = VSP().read(OFFICIAL)
    assert len(rows) == 10
    for index in range(10):
        sample = rows[index]
        assert all(part.path.is_file() for part in (*sample.question, *sample.answer) if hasattr(part, "path"))
        assert rows.grade(sample, sample.answer_text).values["success"]
        wrong = {"A": "B", "B": "C", "C": "A"}[sample.answer_text[-3]]
        assert rows.grade(sample, f"\\boxed{{{wrong}}}").outcome == "wrong"
        assert rows.grade(sample, "no answer").outcome == "invalid"
    assert list(VSP().problems(OFFICIAL)) == []


@needs_shared
def test_our_pictures_are_the_benchmarks_pictures():
    sample = VSP().read(OFFICIAL)[7]
    official = np.asarray(open_image(next(p.path for p in sample.question if isinstance(p, Picture)), ""))
    ours = draw_maze(((-1, 0, 1), (0, 0, 0), (2, 0, 0)), 64)
    assert np.abs(official.astype(int) - np.asarray(ours)).max() <= 1
