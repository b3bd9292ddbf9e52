"""Pictures of mazes: gymnasium's FrozenLake sprites, and plans drawn over them as red arrows."""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw

from data_modules.images import opened
from data_modules.vsp.maze import (
    GOAL,
    HOLE,
    MOVES,
    START,
    Cell,
    Grid,
    choose_moves,
    measure_distances,
    shortest_plan,
    walk,
)

RED = (220, 20, 20)
LINES = (180, 200, 230)
NEAR, FAR = (255, 240, 200), (150, 20, 90)
OPEN, REACHED = (205, 215, 225), (250, 215, 60)
HEADING = {"UP": (60, 110, 220), "LEFT": (60, 160, 80), "RIGHT": (200, 80, 60), "DOWN": (150, 70, 180)}
HELPERS = ("path", "values", "policy")
"""Kinds of helper images: the way to the goal as arrows; how far away the goal is from each cell; or where to move from
each cell, as it is found cell by cell from the goal on, an image each move."""
_LAYERS = {START: ("stool.png", "elf_down.png"), GOAL: ("goal.png",), HOLE: ("hole.png",)}


@cache
def sprite(name: str, cell_px: int) -> Image.Image:
    """Load one of gymnasium's FrozenLake sprites at ``cell_px`` by ``cell_px`` pixels (RGBA)."""
    spec = find_spec("gymnasium")
    if spec is None or spec.origin is None:
        raise ValueError("drawing mazes needs the package gymnasium (below 1.4); run make setup")
    path = Path(spec.origin).parent / "envs" / "toy_text" / "img" / name
    with opened(path) as image:
        enlarge = cell_px >= image.width  # gymnasium enlarges by repeating pixels
        filter_ = Image.Resampling.NEAREST if enlarge else Image.Resampling.LANCZOS
        return image.convert("RGBA").resize((cell_px, cell_px), filter_)


@cache
def tile(cell: int, cell_px: int) -> Image.Image:
    """Draw one cell (RGB) as gymnasium does: ice, on it the player on its stool, a hole or the goal, and an outline."""
    image = sprite("ice.png", cell_px).copy()
    for name in _LAYERS.get(cell, ()):
        image.alpha_composite(sprite(name, cell_px))
    tile_rgb = image.convert("RGB")
    ImageDraw.Draw(tile_rgb).rectangle((0, 0, cell_px - 1, cell_px - 1), outline=LINES)
    return tile_rgb


def draw_maze(grid: Grid, cell_px: int) -> Image.Image:
    """Draw a maze, ``cell_px`` pixels a cell."""
    canvas = Image.new("RGB", (len(grid) * cell_px, len(grid) * cell_px))
    for row, cells in enumerate(grid):
        for column, cell in enumerate(cells):
            canvas.paste(tile(cell, cell_px), (column * cell_px, row * cell_px))
    return canvas


@cache
def arrow(dy: int, dx: int, cell_px: int, color: tuple[int, int, int]) -> Image.Image:
    """Draw an arrow from the middle of a cell to its neighbour's (RGBA, both cells).

    It starts a little after the middle of the cell it leaves and its head ends a little before the middle of the cell
    it enters, so that every cell shows by itself where the path goes next.
    """
    unit = 4 * cell_px  # PIL draws without anti-aliasing: draw large and shrink
    layer = Image.new("RGBA", (unit * (1 + abs(dx)), unit * (1 + abs(dy))), (*color, 0))
    x, y = unit * (0.5 + (dx < 0) + 0.12 * dx), unit * (0.5 + (dy < 0) + 0.12 * dy)
    tip_x, tip_y = x + 0.76 * dx * unit, y + 0.76 * dy * unit
    neck_x, neck_y = tip_x - 0.24 * dx * unit, tip_y - 0.24 * dy * unit
    side_x, side_y = 0.16 * dy * unit, 0.16 * dx * unit
    pen = ImageDraw.Draw(layer)
    pen.line([(x, y), (neck_x, neck_y)], fill=color, width=max(1, unit // 9))
    pen.polygon([(tip_x, tip_y), (neck_x + side_x, neck_y + side_y), (neck_x - side_x, neck_y - side_y)], fill=color)
    return layer.resize((layer.width // 4, layer.height // 4), Image.Resampling.BOX)


def draw_path(
    image: Image.Image, cells: Sequence[Cell], cell_px: int, color: tuple[int, int, int] = RED
) -> Image.Image:
    """Draw an arrow for every move between two cells of a path over a copy of ``image``."""
    drawn = image.copy()
    for (row, column), (next_row, next_column) in zip(cells, cells[1:], strict=False):
        if (row, column) != (next_row, next_column):
            sprite_rgba = arrow(next_row - row, next_column - column, cell_px, color)
            corner = (min(column, next_column) * cell_px, min(row, next_row) * cell_px)
            drawn.paste(sprite_rgba, corner, sprite_rgba)
    return drawn


def draw_values(grid: Grid, cell_px: int) -> Image.Image:
    """Draw how many moves each cell is from the goal: the darker the more, up to two sides of them; black: no way."""
    distances, side = measure_distances(grid), len(grid)
    canvas = Image.new("RGB", (side * cell_px, side * cell_px))
    for (row, column), distance in distances.items():
        share = min(1.0, distance / (2 * side))
        color = tuple(round(near + share * (far - near)) for near, far in zip(NEAR, FAR, strict=True))
        x, y = column * cell_px, row * cell_px
        ImageDraw.Draw(canvas).rectangle((x, y, x + cell_px - 1, y + cell_px - 1), fill=color, outline=LINES)
    return canvas


def draw_policy(grid: Grid, reach: int, cell_px: int) -> Image.Image:
    """Draw where to move from cells up to ``reach`` moves from the goal; the start is framed, holes are black."""
    moves, side = choose_moves(grid, reach), len(grid)
    canvas = Image.new("RGB", (side * cell_px, side * cell_px))
    pen = ImageDraw.Draw(canvas)
    for row, cells in enumerate(grid):
        for column, cell in enumerate(cells):
            x, y = column * cell_px, row * cell_px
            move = moves.get((row, column))
            color = HEADING[move] if move else {HOLE: (0, 0, 0), GOAL: REACHED, START: (255, 255, 255)}.get(cell, OPEN)
            pen.rectangle((x, y, x + cell_px - 1, y + cell_px - 1), fill=color, outline=LINES)
            if cell == START:
                pen.rectangle((x, y, x + cell_px - 1, y + cell_px - 1), outline=(0, 0, 0), width=max(1, cell_px // 7))
            if move:
                dy, dx = MOVES[move]
                middle_x, middle_y, half = x + cell_px / 2, y + cell_px / 2, cell_px / 4
                tip = (middle_x + dx * half, middle_y + dy * half)
                sides = [(middle_x + (dy * way - dx) * half, middle_y + (dx * way - dy) * half) for way in (1, -1)]
                pen.polygon([tip, *sides], fill=(255, 255, 255))
    return canvas


def draw_helpers(kind: str, grid: Grid, plan: Sequence[str], cell_px: int) -> list[Image.Image]:
    """Draw the helper images of one of the :data:`HELPERS`, of a maze and its plan, in the order of their blocks."""
    if kind == "policy":
        return [draw_policy(grid, reach, cell_px) for reach in range(1, len(shortest_plan(grid) or ()) + 1)]
    if kind == "values":
        return [draw_values(grid, cell_px)]
    return [draw_path(draw_maze(grid, cell_px), walk(grid, plan), cell_px)]
