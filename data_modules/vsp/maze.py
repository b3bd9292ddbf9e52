"""FrozenLake mazes as VSP uses them: a grid of cells, its shortest plan, and what a plan leads to."""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from random import Random

from data_modules.rows.answers import boxed

ICE, START, GOAL, HOLE = 0, 1, 2, -1
"""Cell codes of the official ``map_desc`` column."""

Grid = tuple[tuple[int, ...], ...]
Cell = tuple[int, int]

MOVES = {"UP": (-1, 0), "LEFT": (0, -1), "RIGHT": (0, 1), "DOWN": (1, 0)}
"""Row and column steps, in the order in which the official answers break ties between equally short plans."""

ENDS = {"official": (HOLE,), "benchmark": (HOLE, GOAL)}
"""Cells that end a walk. Mirage's evaluation wants the last cell to be the goal; VSP's own, gymnasium's FrozenLake,
ends at the first hole or goal, so that passing through the goal counts."""

_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
_LETTERS = {move[0]: move for move in MOVES}


def parse_grid(rows: object) -> Grid:
    """Check a ``map_desc`` value and return it as a grid.

    Raises:
        ValueError: not a square of known cells with exactly one start and one goal.
    """
    if not isinstance(rows, list | tuple) or not rows or not all(isinstance(row, list | tuple) for row in rows):
        raise ValueError("map_desc must be a list of rows")
    grid = tuple(tuple(row) for row in rows)
    if any(len(row) != len(grid) for row in grid):
        raise ValueError(f"map_desc must be square, got row lengths {[len(row) for row in grid]}")
    cells = [cell for row in grid for cell in row]
    if unknown := {repr(cell) for cell in cells} - {repr(cell) for cell in (ICE, START, GOAL, HOLE)}:
        raise ValueError(f"map_desc has unknown cells {sorted(unknown)}; expected 0 ice, 1 start, 2 goal, -1 hole")
    for name, code in (("start (1)", START), ("goal (2)", GOAL)):
        if cells.count(code) != 1:
            raise ValueError(f"map_desc needs exactly one {name}, found {cells.count(code)}")
    return grid


def find(grid: Grid, code: int) -> Cell:
    """Return row and column of the first cell with this code."""
    return next((r, c) for r, row in enumerate(grid) for c, cell in enumerate(row) if cell == code)


def step(grid: Grid, cell: Cell, move: str) -> Cell:
    """Return the cell after one move; a move off the grid changes nothing."""
    row, column = cell[0] + MOVES[move][0], cell[1] + MOVES[move][1]
    return (row, column) if 0 <= row < len(grid) and 0 <= column < len(grid) else cell


def shortest_plan(grid: Grid) -> list[str] | None:
    """Breadth-first search from start to goal around the holes; ``None`` if the goal cannot be reached."""
    start = find(grid, START)
    plans: dict[Cell, list[str]] = {start: []}
    queue = deque([start])
    while queue:
        cell = queue.popleft()
        if grid[cell[0]][cell[1]] == GOAL:
            return plans[cell]
        for move in MOVES:
            target = step(grid, cell, move)
            if target not in plans and grid[target[0]][target[1]] != HOLE:
                plans[target] = [*plans[cell], move]
                queue.append(target)
    return None


def measure_distances(grid: Grid) -> dict[Cell, int]:
    """Moves from each cell to the goal around the holes; cells from which it can't be reached are left out."""
    distances = {find(grid, GOAL): 0}
    queue = deque(distances)
    while queue:
        cell = queue.popleft()
        for move in MOVES:
            source = step(grid, cell, move)  # moves can be undone
            if source not in distances and grid[source[0]][source[1]] != HOLE:
                distances[source] = distances[cell] + 1
                queue.append(source)
    return distances


def choose_moves(grid: Grid, reach: int) -> dict[Cell, str]:
    """The move that leads to the goal soonest, from each cell that is up to ``reach`` moves away from it.

    It is the first of equally good ones, as in shortest plans. The goal, holes, and cells from which the goal can't be
    reached are left out.
    """
    distances = measure_distances(grid)
    return {
        cell: next(move for move in MOVES if distances.get(step(grid, cell, move)) == distance - 1)
        for cell, distance in distances.items()
        if 0 < distance <= reach
    }


def walk(grid: Grid, plan: Sequence[str], rule: str = "official") -> list[Cell]:
    """Return the cells a plan visits, the start first; it ends early in a cell of :data:`ENDS`."""
    cells = [find(grid, START)]
    for move in plan:
        cells.append(step(grid, cells[-1], move))
        if grid[cells[-1][0]][cells[-1][1]] in ENDS[rule]:
            break
    return cells


def outcome(grid: Grid, plan: Sequence[str], rule: str = "official") -> str:
    """Say where a plan ends: ``success`` (at the goal), ``hole`` or ``short`` (safe, not at the goal)."""
    row, column = walk(grid, plan, rule)[-1]
    return {HOLE: "hole", GOAL: "success"}.get(grid[row][column], "short")


def parse_plan(text: str, parser: str = "lenient") -> list[str] | None:
    r"""Read the plan out of the last ``\boxed{…}`` of an answer.

    Args:
        text: the model's answer.
        parser: ``lenient`` is the official evaluation's: it passes over boxes with braces within and boxes that are
            never closed, keeps the letters U, D, L, R and drops all else. ``strict`` wants the words UP, DOWN, LEFT,
            RIGHT between commas and nothing else in the last box, well-formed or not, as all our graders do.

    Returns:
        The moves, or ``None`` where the parser finds no plan.
    """
    if parser == "lenient":
        boxes = _BOXED.findall(text)
        return [_LETTERS[letter] for letter in boxes[-1] if letter in _LETTERS] or None if boxes else None
    words = [word.strip() for word in (boxed(text) or "").split(",")]
    return words if all(word in MOVES for word in words) else None


def random_mazes(size: int, hole_rate: float, seed: int) -> Iterator[Grid]:
    """Yield distinct solvable mazes of ``size`` by ``size`` cells for ever, always the same ones for a seed.

    Raises:
        ValueError: no new maze was found in 20,000 draws: the space is used up.
    """
    random = Random(f"{seed}/{size}/{hole_rate}")
    seen: set[Grid] = set()
    misses = 0
    while misses < 20_000:
        cells = [HOLE if random.random() < hole_rate else ICE for _ in range(size * size)]
        start, goal = random.sample(range(size * size), 2)
        cells[start], cells[goal] = START, GOAL
        grid = tuple(tuple(cells[row * size : (row + 1) * size]) for row in range(size))
        misses += 1
        if grid not in seen and shortest_plan(grid) is not None:
            seen.add(grid)
            misses = 0
            yield grid
    raise ValueError(
        f"no more than {len(seen)} distinct {size}x{size} mazes exist; "
        "ask for fewer (task.per_level), or exclude fewer (task.exclude)"
    )
