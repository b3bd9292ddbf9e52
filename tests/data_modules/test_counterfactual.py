"""Questions with one thing changed, so that their right answer is wrong."""

import re
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from data_modules.images import open_image
from data_modules.samples import Latent, Picture, Text
from data_modules.tracking.dataset import Tracking
from data_modules.vsp.counterfactual import block_plan, trace_distances, trace_plan, trace_policy
from data_modules.vsp.maze import GOAL, HOLE, ICE, START, choose_moves, parse_grid, parse_plan, shortest_plan, walk
from data_modules.vsp.pictures import HEADING, OPEN, REACHED, draw_maze, draw_path, draw_policy, draw_values
from data_modules.vsp.planning import VSP
from tests.data_modules import test_tracking, test_vsp


def shown(parts, kind):
    return [np.asarray(open_image(part.path, "")) for part in parts if isinstance(part, kind)]


@pytest.fixture(scope="module")
def mazes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mazes") / "made"
    test_vsp.generator(folder).make()
    return folder / "train.jsonl"


WRITINGS = list(product(("none", "rules", "cells"), (False, True)))
TRACKED = [("swaps", *writing) for writing in WRITINGS] + [(name, "rules", True) for name in test_tracking.PUZZLES]


@pytest.fixture(scope="module", params=TRACKED)
def boards(request, tmp_path_factory):
    puzzle, thoughts, numbered = request.param
    folder = tmp_path_factory.mktemp("boards") / puzzle
    test_tracking.maker(folder, puzzle, thoughts=thoughts, numbered=numbered, steps=[1, 3]).make()
    return folder / "train.jsonl"


def test_a_hole_comes_into_the_plans_way_and_another_plan_is_right(mazes):
    data, changes = VSP().read(mazes), 0
    for sample in data.samples:
        if (other := data.counterfactual(sample)) is None:
            continue
        changes += 1
        before, after = (parse_grid(each.meta["map_desc"]) for each in (sample, other))
        pairs = [(old, new) for old, new in zip(sum(before, ()), sum(after, ()), strict=True) if old != new]
        assert pairs == [(ICE, HOLE)]
        assert data.grade(other, sample.answer_text).outcome == "hole"
        assert data.grade(other, other.answer_text).values == {"success": True, "optimal": True}
        (picture,), (helper,) = shown(other.question, Picture), shown(other.answer, Latent)
        assert picture.shape == shown(sample.question, Picture)[0].shape
        maze = draw_maze(after, len(picture) // len(after))
        assert (picture == np.asarray(maze)).all()
        path = walk(after, parse_plan(other.answer_text))
        assert (helper == np.asarray(draw_path(maze, path, len(picture) // len(after)))).all()
        assert data.counterfactual(sample) == other, "another call draws another"
    assert changes >= len(data) // 4


def test_values_are_moves_to_the_goal_and_follow_the_other_maze(tmp_path):
    grid = ((START, ICE, HOLE), (HOLE, ICE, ICE), (HOLE, HOLE, GOAL))
    assert trace_distances(grid) == [5, 4, 0, 0, 3, 2, 0, 0, 1]
    picture = np.asarray(draw_values(grid, 8))
    assert len({tuple(picture[8 * row + 4, 8 * column + 4]) for row in range(3) for column in range(3)}) == 6
    assert not picture[20, 4].any()
    test_vsp.generator(tmp_path / "made", helper="values").make()
    data, changes = VSP(helper="values").read(tmp_path / "made" / "train.jsonl"), 0
    for sample in data.samples:
        for each in filter(None, (sample, data.counterfactual(sample))):
            (helper,), maze = shown(each.answer, Latent), parse_grid(each.meta["map_desc"])
            assert (helper == np.asarray(draw_values(maze, 16))).all()
            assert data.states(each)[1] == trace_distances(maze)
            changes += each is not sample
    assert changes
    with pytest.raises(ValueError, match="task.helper=arrows is unknown; choose one of path, values"):
        test_vsp.generator(tmp_path / "other", helper="arrows")


def test_a_policy_grows_from_the_goal_move_by_move_until_it_leads_from_the_start(tmp_path):
    grid = ((START, ICE, HOLE), (HOLE, ICE, ICE), (HOLE, HOLE, GOAL))
    assert choose_moves(grid, 4) == {(0, 0): "RIGHT", (0, 1): "DOWN", (1, 1): "RIGHT", (1, 2): "DOWN"}
    assert trace_policy(grid) == [
        [7, 1, 0, 0, 1, 1, 0, 0, 2],
        [7, 1, 0, 0, 1, 6, 0, 0, 2],
        [7, 1, 0, 0, 5, 6, 0, 0, 2],
        [7, 6, 0, 0, 5, 6, 0, 0, 2],
        [10, 6, 0, 0, 5, 6, 0, 0, 2],
    ]
    picture = np.asarray(draw_policy(grid, 2, 16))
    colours = [tuple(picture[16 * row + 3, 16 * column + 3]) for row in range(3) for column in range(3)]
    hole, ice, goal, right, down = (0, 0, 0), OPEN, REACHED, HEADING["RIGHT"], HEADING["DOWN"]
    assert colours == [(255, 255, 255), ice, hole, hole, right, down, hole, hole, goal]
    test_vsp.generator(tmp_path / "made", helper="policy").make()
    data, changes = VSP(helper="policy").read(tmp_path / "made" / "train.jsonl"), 0
    for sample in data.samples:
        for each in filter(None, (sample, data.counterfactual(sample))):
            helpers, maze = shown(each.answer, Latent), parse_grid(each.meta["map_desc"])
            plan = parse_plan(each.answer_text)
            assert plan == shortest_plan(maze)
            assert len(helpers) == len(plan) == len(data.states(each)) - 1
            for reach, helper in enumerate(helpers, start=1):
                assert (helper == np.asarray(draw_policy(maze, reach, 16))).all()
            assert data.grade(each, each.answer_text).values["optimal"]
            changes += each is not sample
    assert changes


def test_a_policy_as_text_says_the_moves_that_are_found_after_each_block(tmp_path):
    test_vsp.generator(tmp_path / "made", helper="policy").make()
    plain, said = (
        VSP(helper="policy", thoughts=kind).read(tmp_path / "made" / "train.jsonl") for kind in ("none", "rules")
    )
    for before, after in zip(plain.samples, said.samples, strict=True):
        maze, plan = parse_grid(after.meta["map_desc"]), parse_plan(before.answer_text)
        assert [part for part in after.answer if isinstance(part, Latent)] == [
            part for part in before.answer if isinstance(part, Latent)
        ]
        thoughts, box = after.answer_text.split("</think>\n")
        assert before.answer_text.endswith(box)
        parts = re.split(r" ?\d+ ", thoughts.removeprefix("<think>"))[1:]
        assert len(parts) == len(plan)
        start = sum(maze, ()).index(START)
        for reach, part in enumerate(parts, start=1):
            words = part.replace(" / ", " ").split()
            assert words.count("goal") == 1
            assert [word == "hole" for word in words] == [cell == HOLE for cell in sum(maze, ())]
            assert (words[start] == plan[0]) == (reach == len(plan))


def test_a_maze_with_one_way_alone_has_no_counterfactual():
    single = ((START, ICE, GOAL), (HOLE, HOLE, HOLE), (ICE, ICE, ICE))
    assert block_plan(single, ["RIGHT", "RIGHT"]) == []
    around = ((START, ICE, GOAL), (ICE, ICE, ICE), (ICE, ICE, ICE))
    assert block_plan(around, ["RIGHT", "RIGHT"]) == [((START, HOLE, GOAL), *around[1:])]


def test_thoughts_are_those_of_the_other_maze(mazes):
    data = VSP(thoughts="rules").read(mazes)
    others = [other for sample in data.samples if (other := data.counterfactual(sample))]
    for other in others:
        grid = parse_grid(other.meta["map_desc"])
        assert other.answer_text.count("hole") == sum(grid, ()).count(HOLE)


def test_a_state_of_a_maze_is_the_plans_move_in_each_cell(mazes):
    grid = ((START, ICE, HOLE), (HOLE, ICE, ICE), (ICE, ICE, GOAL))
    assert trace_plan(grid, ["RIGHT", "DOWN", "RIGHT", "DOWN"]) == [3, 4, 0, 0, 3, 4, 0, 0, 0]
    data = VSP().read(mazes)
    for sample in data.samples:
        before, moves = data.states(sample)
        assert not any(before)
        assert sum(map(bool, moves)) == len(parse_plan(sample.answer_text))


def test_one_step_is_exchanged_and_the_answer_is_another(boards):
    puzzle = test_tracking.PUZZLES[boards.parent.name]
    data, changes = Tracking(puzzle).read(boards), 0
    for sample in data.samples:
        if (other := data.counterfactual(sample)) is None:
            continue
        changes += 1
        data.check(other)
        pairs = zip(data.read_steps(sample), data.read_steps(other), strict=True)
        assert sum(old != new for old, new in pairs) == 1
        assert data.grade(other, sample.answer_text).outcome == "wrong"
        assert data.grade(other, other.answer_text).outcome == "success"
        states = data.states(other)
        assert states[0] == data.read_places(sample)
        helpers = shown(other.answer, Latent)
        assert len(helpers) == len(shown(sample.answer, Latent)) == len(states) - 1
        for helper, board in zip(helpers, states[1:], strict=True):
            assert (helper == np.asarray(puzzle.draw(board, 8))).all()
        assert [type(part) for part in other.answer] == [type(part) for part in sample.answer]
        assert data.counterfactual(sample) == other, "another call draws another"
    assert changes >= len(data) // 2


def test_rows_that_others_have_written_have_none(boards, mazes):
    data = Tracking(test_tracking.PUZZLES[boards.parent.name]).read(boards)
    sample = data.samples[0]
    told = replace(sample, question=(*sample.question[:-1], Text("Some cells are swapped. Where is blue?")))
    fewer = replace(sample, answer=sample.answer[-1:])
    assert data.counterfactual(told) is data.counterfactual(fewer) is None
    rows = VSP().read(mazes)
    assert rows.counterfactual(replace(rows.samples[0], meta={})) is None
    assert rows.states(replace(rows.samples[0], meta={})) == ()
