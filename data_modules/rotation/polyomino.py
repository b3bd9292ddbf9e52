"""Pieces of ``task=rotation``: coloured cells that hang together on a square board, no two of whose views are the same.

A piece has eight views: four turns, and four turns of its mirror image. Two boards show the same piece if they share a
view, wherever on the board it lies.
"""

from collections.abc import Iterator, Sequence
from itertools import islice, product
from random import Random

EMPTY = 0
"""A cell without colour; colours count from 1."""

DEGREES = (0, 90, 180, 270)
"""Turns of a board that leave it a board, clockwise."""

MAX_MISSES = 5_000
"""Draws without a new piece after which there are taken to be no more."""

Board = tuple[tuple[int, ...], ...]
Cell = tuple[int, int]


def parse_board(rows: object, num_colors: int) -> Board:
    """Check a ``map_desc`` value and return it as a board.

    Raises:
        ValueError: not a square of cells from 0 to ``num_colors``, or none is coloured.
    """
    if not isinstance(rows, list | tuple) or not all(isinstance(row, list | tuple) for row in rows):
        raise ValueError("map_desc must be a list of rows")
    if any(len(row) != len(rows) for row in rows):
        raise ValueError(f"map_desc must be square, got {len(rows)} row(s) of lengths {[len(row) for row in rows]}")
    cells = [cell for row in rows for cell in row]
    if unknown := sorted({repr(cell) for cell in cells} - {repr(cell) for cell in range(num_colors + 1)}):
        raise ValueError(f"map_desc has unknown cells {unknown}; expected 0 empty, 1 to {num_colors} coloured")
    if not any(cells):
        raise ValueError("map_desc has no piece: no cell is coloured")
    return tuple(tuple(row) for row in rows)


def turn(board: Board, degrees: int) -> Board:
    """Turn a board clockwise, by a multiple of 90 degrees."""
    for _ in range(degrees // 90 % 4):
        board = tuple(zip(*reversed(board), strict=True))
    return board


def mirror(board: Board) -> Board:
    """Swap left and right."""
    return tuple(row[::-1] for row in board)


def coloured(board: Board) -> list[Cell]:
    """List the cells of the piece, row by row."""
    return [(r, c) for r, row in enumerate(board) for c, cell in enumerate(row) if cell != EMPTY]


def crop(board: Board) -> Board:
    """Cut away the empty rows and columns around the piece."""
    rows, columns = zip(*coloured(board), strict=True)
    return tuple(row[min(columns) : max(columns) + 1] for row in board[min(rows) : max(rows) + 1])


def views(board: Board) -> set[Board]:
    """Return the distinct views of a piece, cropped."""
    return {crop(turn(side, degrees)) for side in (board, mirror(board)) for degrees in DEGREES}


def canonical(board: Board) -> Board:
    """Return one view that stands for the piece, the same for each of its boards."""
    return min(views(board))


def is_asymmetric(board: Board) -> bool:
    """Say whether the piece is another after every turn and in the mirror, so that a question has one answer."""
    return len(views(board)) == 8


def neighbours(cell: Cell, cells: set[Cell]) -> set[Cell]:
    """Return those of ``cells`` that share a side with ``cell``."""
    row, column = cell
    return cells & {(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)}


def is_connected(board: Board) -> bool:
    """Say whether the piece hangs together by the sides of its cells."""
    left = set(coloured(board))
    reached = [left.pop()]
    while reached:
        found = neighbours(reached.pop(), left)
        left -= found
        reached += found
    return not left


def grow(random: Random, size: int, num_cells: int, num_colors: int) -> Board:
    """Draw a connected piece: each cell beside those there are, each colour as likely as the others."""
    free = {(row, column) for row in range(size) for column in range(size)}
    colours: dict[Cell, int] = {}
    edge = free
    for _ in range(num_cells):
        cell = random.choice(sorted(edge))
        colours[cell] = random.randint(1, num_colors)
        free = free - {cell}
        edge = set().union(*(neighbours(grown, free) for grown in colours))
    return tuple(tuple(colours.get((row, column), EMPTY) for column in range(size)) for row in range(size))


def moved(board: Board, random: Random) -> Iterator[Board]:
    """Yield, in random order, the other asymmetric connected pieces that differ by the place of one cell."""
    sources = coloured(board)
    targets = [(r, c) for r, row in enumerate(board) for c, cell in enumerate(row) if cell == EMPTY]
    moves = list(product(sources, targets))
    random.shuffle(moves)
    for (row, column), (to_row, to_column) in moves:
        cells = [list(line) for line in board]
        cells[to_row][to_column], cells[row][column] = cells[row][column], EMPTY
        other = tuple(tuple(line) for line in cells)
        if is_connected(other) and is_asymmetric(other) and canonical(other) != canonical(board):
            yield other


def random_pieces(
    random: Random, size: int, num_cells: Sequence[int], num_colors: int, pairs: bool
) -> Iterator[tuple[Board, ...]]:
    """Yield asymmetric pieces for ever, none of them twice in any view.

    Args:
        random: decides everything.
        size: cells along a side of the board.
        num_cells: how many cells a piece may have.
        num_colors: colours of the cells.
        pairs: yield every piece with one that differs by the place of one cell, itself never met before either.

    Yields:
        One board, or with ``pairs`` two.

    Raises:
        ValueError: no new piece was found in :data:`MAX_MISSES` draws: there are no more.
    """
    seen: set[Board] = set()

    def is_new(piece: Board) -> bool:
        return canonical(piece) not in seen

    misses = 0
    while misses < MAX_MISSES:
        misses += 1
        piece = grow(random, size, random.choice(num_cells), num_colors)
        if not is_asymmetric(piece) or not is_new(piece):
            continue
        partners = tuple(islice(filter(is_new, moved(piece, random)), 1)) if pairs else ()
        if len(partners) == pairs:
            misses = 0
            seen.update(map(canonical, (piece, *partners)))
            yield (piece, *partners)
    raise ValueError(
        f"no more than {len(seen)} distinct pieces were found, of {' or '.join(map(str, num_cells))} cells in "
        f"{num_colors} colour(s) on {size}x{size}; ask for fewer (task.rows), or raise task.colors or task.size"
    )
