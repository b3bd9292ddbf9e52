from itertools import islice

import pytest

from data_modules.vsp.maze import outcome, parse_grid, parse_plan, random_mazes, shortest_plan, step, walk

GRID = parse_grid([[1, 0, -1], [0, 0, 0], [-1, 0, 2]])


def test_the_shortest_plan_reaches_the_goal_and_breaks_ties_in_the_official_order():
    assert shortest_plan(GRID) == ["RIGHT", "DOWN", "RIGHT", "DOWN"]


def test_a_walled_in_start_has_no_plan():
    assert shortest_plan(parse_grid([[1, -1, 0], [-1, 0, 0], [0, 0, 2]])) is None


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (["RIGHT", "DOWN", "RIGHT", "DOWN"], "success"),
        (["UP", "LEFT", "RIGHT", "DOWN", "DOWN", "RIGHT"], "success"),  # moves off the grid change nothing
        (["RIGHT", "RIGHT", "DOWN", "DOWN"], "hole"),  # later moves can't undo a fall
        (["RIGHT", "DOWN", "RIGHT", "DOWN", "UP"], "short"),  # the last cell counts
        ([], "short"),
    ],
)
def test_outcomes_follow_the_official_simulation(plan, expected):
    assert outcome(GRID, plan) == expected


def test_a_walk_stops_in_a_hole():
    assert walk(GRID, ["DOWN", "DOWN", "RIGHT"]) == [(0, 0), (1, 0), (2, 0)]


@pytest.mark.parametrize(
    ("plan", "official", "benchmark"),
    [
        (["RIGHT", "DOWN", "RIGHT", "DOWN"], "success", "success"),
        (["RIGHT", "DOWN", "RIGHT", "DOWN", "UP"], "short", "success"),  # walks on past the goal
        (["DOWN", "RIGHT", "RIGHT", "DOWN", "LEFT", "LEFT"], "hole", "success"),  # falls after the goal
        (["DOWN", "RIGHT", "RIGHT", "DOWN", "DOWN"], "success", "success"),  # bumps into the wall at the goal
        (["RIGHT", "RIGHT", "DOWN", "DOWN"], "hole", "hole"),
        (["RIGHT", "DOWN"], "short", "short"),
        ([], "short", "short"),
    ],
)
def test_the_last_cell_counts_officially_and_the_first_visit_to_the_goal_in_the_benchmark(plan, official, benchmark):
    assert outcome(GRID, plan, "official") == outcome(GRID, plan) == official
    assert outcome(GRID, plan, "benchmark") == benchmark


def test_a_walk_of_the_benchmark_stops_at_the_goal():
    plan = ["RIGHT", "DOWN", "RIGHT", "DOWN", "UP", "UP"]
    assert walk(GRID, plan, "benchmark") == [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2)]
    assert walk(GRID, plan, "official") == [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (1, 2), (0, 2)]


def test_a_move_off_the_grid_stays():
    assert step(GRID, (0, 0), "UP") == (0, 0)


@pytest.mark.parametrize(
    ("text", "lenient", "strict"),
    [
        ("\\boxed{UP, LEFT}", ["UP", "LEFT"], ["UP", "LEFT"]),
        ("no box", None, None),
        ("\\boxed{}", None, None),
        ("\\boxed{UP} then \\boxed{DOWN}", ["DOWN"], ["DOWN"]),
        ("\\boxed{4R1U}", ["RIGHT", "UP"], None),  # the official parser keeps letters and drops the counts
        ("\\boxed{UP LEFT}", ["UP", "LEFT"], None),
        # of several boxes the last counts strictly, while the official parser passes over one it can't read
        ("\\boxed{UP} then \\boxed{\\text{DOWN}}", ["UP"], None),
        ("\\boxed{UP} then \\boxed{DOWN", ["UP"], None),
        ("\\boxed{UP} then \\boxed", ["UP"], None),
        ("\\boxed{UP} then \\boxed{}", None, None),
        ("\\boxed{\\text{UP}} then \\boxed{DOWN}", ["DOWN"], ["DOWN"]),
    ],
)
def test_plans_are_read_leniently_as_officially_and_strictly(text, lenient, strict):
    assert parse_plan(text, "lenient") == lenient
    assert parse_plan(text, "strict") == strict


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([[0, 0], [0, 2]], "exactly one start"),
        ([[1, 1], [0, 2]], "exactly one start"),
        ([[1, 0], [0, 0]], "exactly one goal"),
        ([[1, 2], [0]], "square"),
        ([[1, 7], [0, 2]], "unknown cells"),
        ("S.G", "list of rows"),
        ([], "list of rows"),
    ],
)
def test_a_bad_map_is_refused_with_what_is_wrong(rows, complaint):
    with pytest.raises(ValueError, match=complaint):
        parse_grid(rows)


def test_random_mazes_are_distinct_solvable_and_the_same_for_a_seed():
    mazes = list(islice(random_mazes(4, 0.2, seed=1), 300))
    assert len(set(mazes)) == 300
    assert all(outcome(maze, shortest_plan(maze)) == "success" for maze in mazes)
    assert mazes == list(islice(random_mazes(4, 0.2, seed=1), 300))
    assert mazes != list(islice(random_mazes(4, 0.2, seed=2), 300))


def test_asking_for_more_mazes_than_exist_says_how_many_there_are():
    with pytest.raises(ValueError, match="no more than 72 distinct 3x3 mazes"):
        list(islice(random_mazes(3, 0.0, seed=0), 73))
