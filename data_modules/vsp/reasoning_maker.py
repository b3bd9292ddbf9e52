r"""Make VSP spatial-reasoning data in the official format: mazes, plans in words, and what the plans lead to.

A maze is used once, and only if it has plans of all three outcomes that are alike: equally long, ending equally far
from the start, none turning straight back or running against the edge. So the picture alone says nothing of the answer,
and the plan alone next to nothing. A plan that falls in has moves left over, as if the ice had held; one that reaches
the goal ends there, so both rules of :data:`data_modules.vsp.maze.ENDS` agree.

The helper image is the board after the last move that is made: at the goal, in the hole or wherever the plan leaves
the player.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from data_modules.maker import Plan, in_order
from data_modules.vsp.boards import draw_board
from data_modules.vsp.maker import Generator
from data_modules.vsp.maze import GOAL, HOLE, MOVES, START, Cell, Grid, find, random_mazes, shortest_plan, step, walk
from data_modules.vsp.pictures import draw_maze
from data_modules.vsp.thoughts import WORDS

LETTERS = {"success": "A", "hole": "B", "short": "C"}
"""The official letter of every outcome."""

DETOURS = (0, 2)
"""Moves a plan has more than the shortest one; an odd number would never lead to the goal without hitting the edge."""

BACK = {"UP": "DOWN", "DOWN": "UP", "LEFT": "RIGHT", "RIGHT": "LEFT"}


State = tuple[Cell, str, bool]
"""Where a plan has led: the cell, the last move, and whether it has fallen in on the way."""


def _distance(one: Cell, other: Cell) -> int:
    return abs(one[0] - other[0]) + abs(one[1] - other[1])


def draw_plan(grid: Grid, length: int, outcome: str, random: Random) -> list[str]:
    """Draw a plan that leads to an outcome, each such plan with the same chance.

    Args:
        grid: the maze.
        length: moves of the plan.
        outcome: ``success``, ``hole`` or ``short``.
        random: where the choice comes from.

    Returns:
        The moves: none undoes the one before or runs against the edge, all together lead as far from the start as the
        goal is (rows plus columns). Empty if the maze has no such plan.
    """
    start = find(grid, START)
    far = _distance(start, find(grid, GOAL))

    def onward(state: State) -> list[State]:
        cell, last, fallen = state
        targets = [(step(grid, cell, move), move) for move in MOVES if move != BACK.get(last)]
        return [(to, move, fallen or grid[to[0]][to[1]] == HOLE) for to, move in targets if to != cell]

    @cache
    def ways(state: State, left: int) -> int:
        """Count the ways to go on for ``left`` moves."""
        cell, _, fallen = state
        arrived = not fallen and grid[cell[0]][cell[1]] == GOAL
        if left and not arrived:
            return sum(ways(after, left - 1) for after in onward(state))
        found = "hole" if fallen else "success" if arrived else "short"
        return int(not left and found == outcome and _distance(start, cell) == far)

    state: State = (start, "", False)
    plan: list[str] = []
    if ways(state, length):
        for left in range(length - 1, -1, -1):
            states = onward(state)
            [state] = random.choices(states, [ways(after, left) for after in states])
            plan.append(state[1])
    return plan


def draw_plans(grid: Grid, seed: int) -> dict[str, list[str]]:
    """Draw a plan for each outcome, all of one length: the shortest plan's, or a detour more.

    Args:
        grid: a maze that has a way to the goal.
        seed: draws other plans.

    Returns:
        The plans by outcome, always the same for maze and seed; empty if an outcome has none at either length.
    """
    random = Random(f"{seed}/{grid}")
    shortest = len(shortest_plan(grid) or ())
    for detour in random.sample(DETOURS, len(DETOURS)):
        plans = {outcome: draw_plan(grid, shortest + detour, outcome, random) for outcome in LETTERS}
        if all(plans.values()):
            return plans
    return {}


def write_answer(grid: Grid, plan: list[str], outcome: str, thoughts: str) -> str:
    r"""Write ``text_output``: the choice after the latent block, with ``rules`` among thoughts.

    These name the cells (row, column; the first is 0) and what is there: before the block those that the plan passes,
    after it the one where it ends. So the block stands for the last move, which decides.
    ``<think> 2,1 start ; UP 1,1 ice ;<output_image> RIGHT 1,2 hole</think>`` and on a line of its own ``\boxed{B}``.
    """
    box = f"\\boxed{{{LETTERS[outcome]}}}"
    if thoughts == "none":
        return f"<output_image>{box}"
    cells = [f"{row},{column} {WORDS[grid[row][column]]}" for row, column in walk(grid, plan)]
    *passed, last = cells[0], *(f"{move} {cell}" for move, cell in zip(plan, cells[1:], strict=False))
    before = "".join(f" {thought} ;" for thought in passed)
    # the line break keeps "\boxed" a token of its own; after ">" its backslash would be torn off
    return f"<think>{before}<output_image> {last}</think>\n{box}"


@dataclass(frozen=True, kw_only=True)
class ReasoningGenerator(Generator):
    """Mazes with plans for train, val and test, disjoint by map; the answers of a split and level in equal numbers.

    Attributes:
        prompt: ``text_input`` of every row; ``<image>`` is the map, ``{plan}`` the moves.
        thoughts: ``none``, or ``rules``, see :func:`write_answer`.
    """

    keys: ClassVar[Mapping[str, str]] = {**Generator.keys, "prompt": "question"}

    thoughts: str = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        if "{plan}" not in self.prompt:
            raise ValueError(f"task.question={self.prompt!r} doesn't give the plan; write {{plan}} where it belongs")
        if self.thoughts not in ("none", "rules"):
            raise ValueError(f"task.thoughts={self.thoughts} is unknown; choose one of none, rules")

    def plans(self) -> Iterator[Plan]:
        """Yield every maze with one plan, the outcomes by turns."""
        excluded, number = self.excluded(), 0
        for level in self.levels:
            mazes = self._mazes(level, excluded)
            for split in in_order(self.per_level):
                for turn, (grid, plans) in enumerate(islice(mazes, self.per_level[split])):
                    outcome = list(LETTERS)[turn % len(LETTERS)]
                    yield Plan(split, f"level_{level}_{split}_{number}", (grid, plans[outcome], outcome))
                    number += 1

    def _mazes(self, level: int, excluded: set[Grid]) -> Iterator[tuple[Grid, dict[str, list[str]]]]:
        """Yield the mazes that can be used, with a plan for each outcome."""
        found = 0
        try:
            for grid in random_mazes(level, self.hole_rate, self.seed):
                if grid not in excluded and (plans := draw_plans(grid, self.seed)):
                    found += 1
                    yield grid, plans
        except ValueError:  # no more mazes
            raise ValueError(
                f"no more than {found} {level}x{level} mazes can have every outcome; "
                "ask for fewer (task.per_level), or exclude fewer (task.exclude)"
            ) from None

    def draw(self, plan: Plan, folder: Path) -> dict[str, Any]:
        """Write map and helper image of one question."""
        grid, moves, outcome = plan.content
        *_, end = cells = walk(grid, moves)
        board = draw_board(grid, end, moves[len(cells) - 2], self.cell_px)
        names = [f"images/{plan.name}.png", f"images/{plan.name}_step_{len(cells) - 1}.png"]
        for name, picture in zip(names, (draw_maze(grid, self.cell_px), board), strict=True):
            picture.save(folder / name, compress_level=1)
        return {
            "text_input": self.prompt.replace("{plan}", ", ".join(moves)),
            "text_output": write_answer(grid, moves, outcome, self.thoughts),
            "image_input": names[0],
            "image_output": names[1],
            "map_id": plan.name,
            "map_desc": grid,
        }
