"""A maze with one more hole, in the way of its plan; and a plan as what it does in every cell."""

from collections.abc import Sequence
from random import Random

from data_modules.files.inline import encode_image
from data_modules.images import image_size
from data_modules.rows.jsonl import OUTPUT_IMAGE, interleave
from data_modules.samples import Latent, Picture, Sample
from data_modules.vsp.maze import (
    GOAL,
    HOLE,
    ICE,
    MOVES,
    START,
    Grid,
    choose_moves,
    find,
    measure_distances,
    shortest_plan,
    walk,
)
from data_modules.vsp.pictures import draw_helpers, draw_maze


def write_answer(helper: str, plan: Sequence[str]) -> str:
    r"""Write ``text_output``: ``\boxed{RIGHT, DOWN}``; before it the blocks of a policy, each after its number."""
    blocks = "".join(f"{number}{OUTPUT_IMAGE}" for number in range(1, len(plan) + 1)) + "\n"
    return f"{blocks if helper == 'policy' else ''}\\boxed{{{', '.join(plan)}}}"


def block_plan(grid: Grid, plan: Sequence[str]) -> list[Grid]:
    """List the mazes that have a hole in one cell of a plan's way, and another way to the goal."""
    mazes = []
    for row, column in dict.fromkeys(walk(grid, plan)):
        if grid[row][column] == ICE:
            cells = [list(line) for line in grid]
            cells[row][column] = HOLE
            maze = tuple(map(tuple, cells))
            if shortest_plan(maze) is not None:
                mazes.append(maze)
    return mazes


def trace_plan(grid: Grid, plan: Sequence[str]) -> list[int]:
    """Return the move that a plan makes in each cell, row by row: 1 to 4 in the order of ``MOVES``; 0: none."""
    cells = walk(grid, plan)
    moves = {cell: 1 + list(MOVES).index(move) for cell, move in zip(cells, plan, strict=False)}
    return [moves.get((row, column), 0) for row in range(len(grid)) for column in range(len(grid))]


def trace_distances(grid: Grid) -> list[int]:
    """Return moves from each cell to the goal and 1, row by row; 0: there is no way."""
    distances = measure_distances(grid)
    return [distances.get((row, column), -1) + 1 for row in range(len(grid)) for column in range(len(grid))]


def trace_policy(grid: Grid) -> list[list[int]]:
    """Return where to move from each cell, row by row, before the first image of a policy and in each.

    0: a hole; 1: not known yet; 2: the goal; 3 to 6: a move in the order of ``MOVES``; of the start 7, and 8 to 11.
    """
    start = find(grid, START)
    cells = [(row, column) for row in range(len(grid)) for column in range(len(grid))]
    plain = {cell: {HOLE: 0, GOAL: 2, START: 7}.get(grid[cell[0]][cell[1]], 1) for cell in cells}
    states = []
    for reach in range(len(shortest_plan(grid) or ()) + 1):
        moves = choose_moves(grid, reach)
        found = {cell: (8 if cell == start else 3) + list(MOVES).index(move) for cell, move in moves.items()}
        states.append([(plain | found)[cell] for cell in cells])
    return states


def change_maze(sample: Sample, grid: Grid, plan: Sequence[str], random: Random, helper: str) -> Sample | None:
    """Ask a question about a maze whose way to the goal is blocked in one cell.

    Args:
        sample: a question with one picture.
        grid: its maze.
        plan: its right answer.
        random: chooses the cell.
        helper: what its helper image shows, one of :data:`data_modules.vsp.pictures.HELPERS`.

    Returns:
        The question with the other maze, its helper images and its plan; ``None`` if there is no such maze, the
        question hasn't one picture, or the answer not the blocks that such a maze has.
    """
    pictures = [part for part in sample.question if isinstance(part, Picture)]
    blocks = [part for part in sample.answer if isinstance(part, Latent)]
    mazes = block_plan(grid, plan)
    count = len(plan) if helper == "policy" else 1
    if not mazes or len(pictures) != 1 or len(blocks) != count:
        return None
    maze, cell_px = random.choice(mazes), image_size(pictures[0].path, sample.where)[0] // len(grid)
    other, image = shortest_plan(maze) or [], draw_maze(maze, cell_px)
    shown, drawn = Picture(encode_image(image)), draw_helpers(helper, maze, other, cell_px)
    latents = [Latent(encode_image(each), blocks[0].size) for each in drawn]
    return Sample(
        where=sample.where,
        question=tuple(shown if isinstance(part, Picture) else part for part in sample.question),
        answer=interleave(write_answer(helper, other), OUTPUT_IMAGE, latents),
        meta={**sample.meta, "map_desc": maze},
    )
