"""Questions with one thing changed, so that their right answer is wrong."""

from dataclasses import replace

import numpy as np
import pytest

from data_modules.images import open_image
from data_modules.rotation.pictures import draw_board
from data_modules.samples import Latent, Picture, Text
from data_modules.swaps.board import ASKED, shape
from data_modules.swaps.dataset import Tracking, read_places, read_swaps
from data_modules.vsp.counterfactual import block_plan, trace_plan
from data_modules.vsp.maze import GOAL, HOLE, ICE, START, parse_grid, parse_plan, walk
from data_modules.vsp.pictures import draw_maze, draw_path
from data_modules.vsp.planning import VSP
from tests.data_modules import test_swaps, test_vsp


def shown(parts, kind):
    return [np.asarray(open_image(part.path, "")) for part in parts if isinstance(part, kind)]


@pytest.fixture(scope="module")
def mazes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mazes") / "made"
    test_vsp.generator(folder).make()
    return folder / "train.jsonl"


@pytest.fixture(scope="module", params=[("none", False), ("rules", False), ("none", True), ("rules", True)])
def boards(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("boards") / "made"
    thoughts, numbered = request.param
    test_swaps.maker(folder, thoughts=thoughts, numbered=numbered, swaps=[1, 5]).make()
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


def test_one_swap_is_exchanged_and_the_blue_cell_ends_elsewhere(boards):
    data = Tracking().read(boards)
    for sample in data.samples:
        other = data.counterfactual(sample)
        data.check(other)
        pairs = zip(read_swaps(sample), read_swaps(other), strict=True)
        assert sum(set(old) != set(new) for old, new in pairs) == 1
        assert data.grade(other, sample.answer_text).outcome == "wrong"
        assert data.grade(other, other.answer_text).outcome == "success"
        states = data.states(other)
        assert states[0] == read_places(sample)
        assert other.answer_text.endswith(f"\\boxed{{{'ABCDEFGHI'[states[-1].index(ASKED)]}}}")
        helpers = shown(other.answer, Latent)
        assert len(helpers) == len(shown(sample.answer, Latent)) == len(states) - 1
        for helper, board in zip(helpers, states[1:], strict=True):
            assert (helper == np.asarray(draw_board(shape(board, 3), 8))).all()
        assert [type(part) for part in other.answer] == [type(part) for part in sample.answer]
        assert data.counterfactual(sample) == other, "another call draws another"


def test_rows_that_others_have_written_have_none(boards, mazes):
    data = Tracking().read(boards)
    sample = data.samples[0]
    told = replace(sample, question=(*sample.question[:-1], Text("Some cells are swapped. Where is blue?")))
    fewer = replace(sample, answer=sample.answer[-1:])
    assert data.counterfactual(told) is data.counterfactual(fewer) is None
    rows = VSP().read(mazes)
    assert rows.counterfactual(replace(rows.samples[0], meta={})) is None
    assert rows.states(replace(rows.samples[0], meta={})) == ()
