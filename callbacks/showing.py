"""Pictures and tables, to each logger that can show them; the others are passed over."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger


def show_picture(loggers: Sequence[Logger], tag: str, picture: Image.Image, step: int) -> None:
    """Show a picture under a tag."""
    image = picture.convert("RGB")
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(tag, np.asarray(image), step, dataformats="HWC")
        elif isinstance(logger, WandbLogger):
            logger.log_image(tag, [image], step=step)
        elif isinstance(logger, MLFlowLogger):
            logger.experiment.log_image(logger.run_id, image, key=tag.replace("/", "."), step=step)


def show_table(
    loggers: Sequence[Logger], tag: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int
) -> None:
    """Show a table under a tag; cells are shown as text."""
    cells = [[write_cell(value) for value in row] for row in rows]
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_text(tag, write_markdown(columns, cells), step)
        elif isinstance(logger, WandbLogger):
            logger.log_table(tag, columns=list(columns), data=cells, step=step)
        elif isinstance(logger, MLFlowLogger):
            text = write_markdown(columns, cells)
            logger.experiment.log_text(logger.run_id, text, f"{tag}/step-{step}.md")


def write_cell(value: Any) -> str:
    """A value as a cell shows it."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write_markdown(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; what would end a cell or a line in it is escaped."""
    lines = [columns, ["---"] * len(columns), *([escape(cell) for cell in row] for row in cells)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def escape(cell: str) -> str:
    """Text of a cell, on one line."""
    return " ".join(cell.replace("\\", "\\\\").replace("|", "\\|").replace("`", "\\`").split())
