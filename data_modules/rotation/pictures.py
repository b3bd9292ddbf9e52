"""Pictures of pieces, and of a question with its candidates in a row."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from data_modules.rotation.polyomino import Board

COLORS = ((0, 114, 178), (240, 170, 0), (213, 60, 30), (0, 158, 115), (70, 70, 70))
"""Colours 1 to 5 of cells: blue, amber, red, green, grey; told apart by colour-blind people too."""

PAPER, LINES, INK = (255, 255, 255), (200, 200, 200), (0, 0, 0)


def draw_board(board: Board, cell_px: int) -> Image.Image:
    """Draw a board, ``cell_px`` pixels a cell; the picture of a turned board is the turned picture."""
    canvas = Image.new("RGB", (len(board) * cell_px, len(board) * cell_px))
    pen = ImageDraw.Draw(canvas)
    for row, cells in enumerate(board):
        for column, cell in enumerate(cells):
            x, y = column * cell_px, row * cell_px
            box = (x, y, x + cell_px - 1, y + cell_px - 1)
            pen.rectangle(box, fill=(PAPER, *COLORS)[cell], outline=LINES)
    return canvas


def draw_question(
    piece: Image.Image, candidates: Sequence[Image.Image], letters: str, chosen: str | None
) -> Image.Image:
    """Put the candidates in a row to the right of the piece, their letters below them, the chosen one in a frame."""
    gap = piece.width // 4
    font = ImageFont.load_default(gap)
    canvas = Image.new("RGB", ((len(candidates) + 1) * (piece.width + gap) + 2 * gap, piece.height + 3 * gap), PAPER)
    pen = ImageDraw.Draw(canvas)
    canvas.paste(piece, (gap, gap))
    for number, (picture, letter) in enumerate(zip(candidates, letters, strict=True), start=1):
        x = 2 * gap + number * (piece.width + gap)  # the piece stands apart, by two gaps
        canvas.paste(picture, (x, gap))
        pen.text((x + picture.width // 2, picture.height + 2 * gap), letter, INK, font, anchor="mm")
        if letter == chosen:
            edge = gap // 2
            pen.rectangle((x - edge, gap - edge, x + picture.width + edge, picture.height + 3 * gap - edge), None, INK)
    return canvas
