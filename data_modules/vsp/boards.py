"""Pictures of a maze in mid-game: the player stands where some moves have led, as gymnasium's FrozenLake draws it."""

from PIL import Image

from data_modules.vsp.maze import HOLE, ICE, START, Cell, Grid, find
from data_modules.vsp.pictures import draw_maze, sprite, tile


def draw_board(grid: Grid, cell: Cell, move: str, cell_px: int) -> Image.Image:
    """Draw a maze in which the player has moved away from its stool.

    Args:
        grid: the maze.
        cell: row and column of the player; in a hole the broken ice is seen instead.
        move: the last move, ``UP`` for instance: the way the player faces.
        cell_px: pixels a cell.

    Returns:
        A picture as large as that of :func:`data_modules.vsp.pictures.draw_maze`.
    """
    board = draw_maze(grid, cell_px)
    start_row, start_column = find(grid, START)
    board.paste(tile(ICE, cell_px), (start_column * cell_px, start_row * cell_px))
    player = "cracked_hole" if grid[cell[0]][cell[1]] == HOLE else f"elf_{move.lower()}"
    for name, (row, column) in (("stool", (start_row, start_column)), (player, cell)):
        layer = sprite(f"{name}.png", cell_px)
        board.paste(layer, (column * cell_px, row * cell_px), layer)
    return board
