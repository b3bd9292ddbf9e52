import json
import re
from collections import Counter
from itertools import product
from random import Random

import numpy as np
import pytest

from data_modules.images import open_image
from data_modules.loading.datamodule import check_disjoint
from data_modules.samples import Latent, Picture, Text
from data_modules.vsp.boards import draw_board
from data_modules.vsp.maze import GOAL, HOLE, ICE, START
from data_modules.vsp.pictures import draw_maze, tile
from data_modules.vsp.reasoning import VSPReasoning
from data_modules.vsp.reasoning_maker import LETTERS, ReasoningGenerator, draw_plan, draw_plans, write_answer
from tests.conftest import SHARED, needs_shared

OFFICIAL = SHARED / "data" / "mirage_sample" / "sample.jsonl"
STEPS = {"UP": (-1, 0), "DOWN": (1, 0), "LEFT": (0, -1), "RIGHT": (0, 1)}
MAZE = ((1, 0, -1), (0, 0, 0), (-1, 0, 2))


def generator(folder, **changes):
    settings = {"levels": [3, 5], "per_level": {"train": 12, "val": 3, "test": 7}, "cell_px": 14, "hole_rate": 0.2}
    prompt = "<image>Plan: {plan}. A, B or C?"
    return ReasoningGenerator(folder=folder, prompt=prompt, seed=0, num_workers=1, **(settings | changes))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reasoning") / "made"
    generator(folder).make()
    return folder


@pytest.fixture(scope="module")
def thinking(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reasoning") / "thinking"
    generator(folder, thoughts="rules").make()
    return folder


def lines(folder, split="train"):
    return [json.loads(line) for line in (folder / f"{split}.jsonl").open()]


def moves_of(text):
    return re.search(r"Plan: ([A-Z, ]+)", text)[1].split(", ")


def simulate(grid, moves):
    """The rules as the official prompt tells them: the cells visited, the letter, and whether the goal was left."""
    size = len(grid)
    row, column = next((r, c) for r in range(size) for c in range(size) if grid[r][c] == START)
    cells, left_goal = [(row, column)], False
    for move in moves:
        left_goal |= grid[row][column] == GOAL
        row = min(max(row + STEPS[move][0], 0), size - 1)
        column = min(max(column + STEPS[move][1], 0), size - 1)
        cells.append((row, column))
        if grid[row][column] == HOLE:
            return cells, "B", left_goal
    return cells, "A" if grid[row][column] == GOAL else "C", left_goal


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_every_answer_is_what_the_plan_leads_to(made, split):
    rows = VSPReasoning().read(made / f"{split}.jsonl")
    for row, sample in zip(lines(made, split), rows.samples, strict=True):
        _, letter, left_goal = simulate(row["map_desc"], moves_of(row["text_input"]))
        assert row["text_output"] == f"<output_image>\\boxed{{{letter}}}"
        assert not left_goal
        assert [type(part) for part in sample.answer] == [Latent, Text]
        assert rows.grade(sample, f"I say \\boxed{{{letter}}}").values["success"]


@pytest.mark.parametrize(("split", "counts"), [("train", [4, 4, 4]), ("val", [1, 1, 1]), ("test", [3, 2, 2])])
def test_answers_are_balanced_in_every_split_and_level(made, split, counts):
    rows = lines(made, split)
    for level in (3, 5):
        answers = Counter(row["text_output"][-2] for row in rows if len(row["map_desc"]) == level)
        assert [answers[letter] for letter in "ABC"] == counts


def test_no_maze_is_used_twice_in_any_split(made):
    mazes = [str(row["map_desc"]) for split in ("train", "val", "test") for row in lines(made, split)]
    assert len(set(mazes)) == len(mazes) == 44
    check_disjoint({split: VSPReasoning().read(made / f"{split}.jsonl") for split in ("train", "val", "test")})


def test_the_same_settings_make_the_same_bytes_and_test_questions_do_not_depend_on_the_size_of_train(made, tmp_path):
    generator(tmp_path / "again").make()
    generator(tmp_path / "larger", levels=[3], per_level={"train": 15, "val": 3, "test": 7}).make()
    files = [file.relative_to(made) for file in made.rglob("*") if file.is_file()]
    assert len(files) == 4 + 2 * 44
    assert all((tmp_path / "again" / file).read_bytes() == (made / file).read_bytes() for file in files)
    assert lines(tmp_path / "larger", "test") == lines(made, "test")[:7]


def test_when_no_maze_is_left_the_error_says_how_many_could_be_used(tmp_path, monkeypatch):
    def few(*_):
        yield from (((0, 0, 0), (-1, 1, 0), (0, 0, 2)), MAZE)  # MAZE can't have every outcome
        raise ValueError("no more than 2 distinct 3x3 mazes exist")

    monkeypatch.setattr("data_modules.vsp.reasoning_maker.random_mazes", few)
    with pytest.raises(ValueError, match="^no more than 1 3x3 mazes can have every outcome; ask for fewer"):
        list(generator(tmp_path, levels=[3]).plans())


def test_excluded_mazes_are_in_no_split(made, tmp_path):
    generator(tmp_path / "again", exclude=[made / "test.jsonl"]).make()
    banned = [row["map_desc"] for row in lines(made, "test")]
    drawn = [row["map_desc"] for split in ("train", "val", "test") for row in lines(tmp_path / "again", split)]
    assert len(drawn) == 44
    assert not any(grid in banned for grid in drawn)


def all_plans(grid, length, letter):
    """Try all plans of a length; keep those that lead to ``letter`` and are as a plan must be."""
    goal = next((r, c) for r, cells in enumerate(grid) for c, cell in enumerate(cells) if cell == GOAL)
    ice = [[ICE if cell == HOLE else cell for cell in cells] for cells in grid]  # to go on after a fall
    kept = set()
    for plan in product(STEPS, repeat=length):
        cells, _, _ = simulate(ice, plan)
        _, found, left_goal = simulate(grid, plan)
        start, end = np.array(cells[0]), np.array(cells[-1])
        turns_back = any(
            np.array_equal(np.add(STEPS[a], STEPS[b]), (0, 0)) for a, b in zip(plan, plan[1:], strict=False)
        )
        hits_edge = any(a == b for a, b in zip(cells, cells[1:], strict=False))
        as_far = abs(end - start).sum() == abs(goal - start).sum()
        touches_goal = goal in cells[:-1] if found == "C" else left_goal
        if found == letter and as_far and not (turns_back or hits_edge or touches_goal):
            kept.add(plan)
    return kept


@pytest.mark.parametrize(("outcome", "letter"), LETTERS.items())
@pytest.mark.parametrize("grid", [MAZE, ((0, 0, 0), (-1, 1, 2), (0, 0, 0)), ((2, 0, 0), (0, -1, 0), (0, 0, 1))])
@pytest.mark.parametrize("length", [1, 4])
def test_a_drawn_plan_is_one_of_all_possible_plans_and_each_can_be_drawn(grid, length, outcome, letter):
    possible = all_plans(grid, length, letter)
    drawn = Counter(tuple(draw_plan(grid, length, outcome, Random(seed))) for seed in range(100))
    assert drawn.keys() == (possible or {()})
    assert min(drawn.values()) > 40 / len(drawn)


def test_the_three_plans_of_a_maze_are_equally_long_and_end_equally_far_away():
    grid = ((0, 0, 0), (-1, 1, 0), (0, 0, 2))
    drawn = [draw_plans(grid, seed) for seed in range(20)]
    assert {tuple(len(plan) for plan in plans.values()) for plans in drawn} == {(2, 2, 2), (4, 4, 4)}
    for plans in drawn:
        assert [simulate(grid, plan)[1] for plan in plans.values()] == ["A", "B", "C"]
        moved = [np.sum([STEPS[move] for move in plan], axis=0) for plan in plans.values()]
        assert [abs(steps).sum() for steps in moved] == [2, 2, 2]


@pytest.mark.parametrize("grid", [((1, 0), (0, 2)), MAZE], ids=["no hole", "no other cell as far away as the goal"])
def test_a_maze_that_cannot_have_every_outcome_has_no_plans(grid):
    assert draw_plans(grid, 0) == {}


def test_the_helper_image_is_the_board_after_the_last_move_that_is_made(made):
    for row in lines(made):
        cells, _, _ = simulate(row["map_desc"], moves_of(row["text_input"]))
        assert row["image_output"].endswith(f"_step_{len(cells) - 1}.png")
        plain, helper = (np.asarray(open_image(made / row[key], "")) for key in ("image_input", "image_output"))
        size = len(row["map_desc"])
        changed = (plain != helper).any(-1).reshape(size, 14, size, 14).any((1, 3))
        assert {tuple(cell) for cell in np.argwhere(changed).tolist()} == {cells[0], cells[-1]}


def test_thoughts_name_the_cells_passed_before_the_block_and_the_last_one_after_it():
    grid = MAZE
    assert write_answer(grid, ["DOWN", "RIGHT", "RIGHT", "DOWN"], "success", "rules") == (
        "<think> 0,0 start ; DOWN 1,0 ice ; RIGHT 1,1 ice ; RIGHT 1,2 ice ;<output_image> DOWN 2,2 goal</think>\n"
        r"\boxed{A}"
    )
    fall = write_answer(grid, ["DOWN", "DOWN", "RIGHT", "RIGHT"], "hole", "rules")  # the moves left over aren't made
    assert fall == "<think> 0,0 start ; DOWN 1,0 ice ;<output_image> DOWN 2,0 hole</think>\n\\boxed{B}"
    short = write_answer(grid, ["RIGHT"], "short", "rules")
    assert short == "<think> 0,0 start ;<output_image> RIGHT 0,1 ice</think>\n\\boxed{C}"


def test_with_thoughts_questions_pictures_and_grades_are_the_same(made, thinking):
    plain, cot = VSPReasoning().read(made / "train.jsonl"), VSPReasoning().read(thinking / "train.jsonl")
    for direct, thought in zip(plain.samples, cot.samples, strict=True):
        assert plain.identity(direct) == cot.identity(thought)
        assert [type(part) for part in thought.answer] == [Text, Latent, Text]
        assert plain.grade(direct, thought.answer_text) == cot.grade(thought, thought.answer_text)
        assert cot.grade(thought, thought.answer_text).values["success"]
        latents = [next(p.path for p in s.answer if isinstance(p, Latent)) for s in (direct, thought)]
        assert latents[0].read_bytes() == latents[1].read_bytes()


def test_an_answer_is_graded_by_its_last_box_in_the_group_of_its_maze(made):
    rows = VSPReasoning().read(made / "train.jsonl")
    sample = rows[12]  # the first of level 5, a success
    outcomes = [rows.grade(sample, text).outcome for text in (r"\boxed{B} \boxed{A}", r"\boxed{C}", "A")]
    assert outcomes == ["success", "wrong", "invalid"]
    assert (rows.grade(rows[0], "").group, rows.grade(sample, "").group) == ("level_3", "level_5")


def test_a_row_tells_its_level_itself_or_by_its_map(folder):
    row = {"text_input": "q", "image_input": "images/a.png", "text_output": r"\boxed{A}", "map_desc": MAZE}
    (folder / "x.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row | {"level": 7}))
    rows = VSPReasoning().read(folder / "x.jsonl")
    assert [rows.grade(sample, "").group for sample in rows.samples] == ["level_3", "level_7"]


def test_an_identity_is_the_picture_and_the_plan(made):
    rows = lines(made)
    one, moved, other_plan, other_maze = (dict(rows[0]) for _ in range(4))
    (made / "images/copy.png").write_bytes((made / one["image_input"]).read_bytes())
    moved["image_input"], other_plan["text_input"] = "images/copy.png", "<image>Plan: UP. A, B or C?"
    other_maze["image_input"] = rows[1]["image_input"]
    (made / "x.jsonl").write_text("\n".join(json.dumps(row) for row in (one, moved, other_plan, other_maze)))
    data = VSPReasoning().read(made / "x.jsonl")
    ids = [data.identity(sample) for sample in data.samples]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert data.identities().keys() == set(ids)


def test_the_report_shows_the_maze_and_below_it_the_choice(made):
    rows = VSPReasoning().read(made / "train.jsonl")
    maze = np.asarray(open_image(next(p.path for p in rows[0].question if isinstance(p, Picture)), ""))
    drawn = [np.asarray(rows.draw(rows[0], text)) for text in (r"\boxed{A}", r"\boxed{B}", r"\boxed{D}", "none")]
    for picture in drawn:
        assert (picture[: len(maze)] == maze).all()
        assert picture[len(maze) :].min() < 100  # something is written
    assert len({picture.tobytes() for picture in drawn}) == 4


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"text_output": "no choice"}, r"x.jsonl:2: nothing to grade against; end text_output with \\boxed\{A\}"),
        ({"text_output": r"\boxed{D}"}, "x.jsonl:2: nothing to grade against"),
        ({"image_input": []}, "x.jsonl:2: no picture of the maze"),
        ({"level": "6"}, "x.jsonl:2: level must be the number of the maze's rows, got '6'"),
        ({"map_desc": [[1]]}, r"x.jsonl:2: map_desc needs exactly one goal"),
    ],
)
def test_a_bad_row_is_named_with_its_line(folder, row, complaint):
    good = {"text_input": "q", "image_input": "images/a.png", "text_output": r"\boxed{A}"}
    (folder / "x.jsonl").write_text(json.dumps(good) + "\n" + json.dumps(good | row))
    with pytest.raises(ValueError, match=complaint):
        VSPReasoning().read(folder / "x.jsonl")
    [problem] = VSPReasoning().problems(folder / "x.jsonl")
    assert re.search(complaint, problem)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"prompt": "<image>Safe?"}, r"^task.question='<image>Safe\?' doesn't give the plan; write \{plan\} where"),
        ({"thoughts": "long"}, "^task.thoughts=long is unknown; choose one of none, rules$"),
        ({"levels": [17]}, "^task.levels"),
    ],
)
def test_impossible_settings_are_refused(tmp_path, change, complaint):
    settings = {"levels": [3], "per_level": {}, "cell_px": 28, "hole_rate": 0.2, "prompt": "{plan}"} | change
    with pytest.raises(ValueError, match=complaint):
        ReasoningGenerator(folder=tmp_path, seed=0, **settings)


def grid_in(image):
    """Read a maze off an official picture, cell by cell, by the kind of tile that is nearest."""
    pixels = np.asarray(image).astype(int)
    kinds = {cell: np.asarray(tile(cell, 64)).astype(int) for cell in (ICE, START, GOAL, HOLE)}

    def nearest(row, column):
        shown = pixels[64 * row : 64 * row + 64, 64 * column : 64 * column + 64]
        return min(kinds, key=lambda cell: np.abs(shown - kinds[cell]).sum())

    size = len(pixels) // 64
    return tuple(tuple(nearest(row, column) for column in range(size)) for row in range(size))


@needs_shared
def test_the_official_rows_load_as_they_are_and_our_rules_and_boards_are_theirs():
    rows = VSPReasoning().read(OFFICIAL)
    assert list(VSPReasoning().problems(OFFICIAL)) == []
    assert len(rows.identities()) == len(rows) == 10
    for sample in rows.samples:
        maze, helper = (
            next(part.path for part in parts if not isinstance(part, Text))
            for parts in (sample.question, sample.answer)
        )
        grid = grid_in(open_image(maze, ""))
        assert np.abs(np.asarray(draw_maze(grid, 64)).astype(int) - np.asarray(open_image(maze, ""))).max() <= 1
        moves = moves_of("".join(part.text for part in sample.question if isinstance(part, Text)))
        cells, letter, _ = simulate(grid, moves)
        grade = rows.grade(sample, f"\\boxed{{{letter}}}")
        assert (grade.values["success"], grade.group) == (True, f"level_{len(grid)}")
        made = int(re.search(r"step_(\d+)", helper.name)[1])
        board = np.asarray(draw_board(grid, cells[made], moves[made - 1], 64)).astype(int)
        assert np.abs(board - np.asarray(open_image(helper, ""))).max() <= 1
