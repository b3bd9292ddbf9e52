"""Tables on the console: nothing is cut, however narrow it is."""

from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

FRAME = len("│  ")
"""Columns of the console that a table's column takes besides its text."""


class Grid(NamedTuple):
    """A table of texts; a cell's second line, such as an interval, is put beside its first where there is room.

    Attributes:
        heads: of the columns; the first stands above the names of the rows.
        rows: each begins with its name.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


def print_grid(grid: Grid, title: str = "") -> None:
    """Print a grid as tables that the console is wide enough for: 80 columns where the output is a file."""
    console = Console()
    if title:
        console.print(title, style="italic", markup=False, highlight=False, soft_wrap=True)
    for part in lay_out_grid(grid, console.width):
        console.print(build_table(part))


def fits_console(grid: Grid) -> bool:
    """Whether the console is wide enough for a grid in one table, turned or not."""
    return len(lay_out_grid(grid, Console().width)) == 1


def lay_out_grid(grid: Grid, width: int) -> list[Grid]:
    """Lay out a grid on one line a row, else on several, else in the fewest tables with its rows or columns as rows.

    Args:
        grid: of one column or more.
        width: of the console.
    """
    rows = [[cell.replace("\n", " ") for cell in row] for row in (grid.heads, *grid.rows)]
    if measure_grid(line := Grid(rows[0], rows[1:])) <= width:
        return [line]
    return min(split_columns(grid, width), split_columns(turn_grid(grid), width), key=len)


def measure_grid(grid: Grid) -> int:
    """Columns of the console that a grid takes in one table."""
    columns = zip(grid.heads, *grid.rows, strict=True)
    widths = [max(cell_len(line) for cell in column for line in cell.split("\n")) for column in columns]
    return sum(FRAME + width for width in widths) + len("│")


def split_columns(grid: Grid, width: int) -> list[Grid]:
    """Split a grid into tables of as many columns as fit, at least one; each begins with the names of the rows."""
    names, *columns = (
        Grid([head], [[cell] for cell in cells]) for head, *cells in zip(grid.heads, *grid.rows, strict=True)
    )
    parts: list[Grid] = []
    for column in columns:
        if parts and measure_grid(wider := join_columns(parts[-1], column)) <= width:
            parts[-1] = wider
        else:
            parts.append(join_columns(names, column))
    return parts or [names]


def join_columns(left: Grid, right: Grid) -> Grid:
    """Join two grids of as many rows."""
    rows = [[*row, *more] for row, more in zip(left.rows, right.rows, strict=True)]
    return Grid([*left.heads, *right.heads], rows)


def turn_grid(grid: Grid) -> Grid:
    """Turn rows into columns."""
    heads, *rows = zip(grid.heads, *grid.rows, strict=True)
    return Grid(heads, rows)


def build_table(grid: Grid) -> Table:
    """Build a table; what is wider than the console goes on in the next line."""
    table = Table()
    for head in grid.heads:
        table.add_column(Text(head), overflow="fold")
    for row in grid.rows:
        table.add_row(*map(Text, row))  # Text: a name in brackets isn't markup
    return table
