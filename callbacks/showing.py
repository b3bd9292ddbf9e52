"""Send pictures and tables to each logger that can show them; for a CSV logger they are files beside its own."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger


def show_picture(loggers: Sequence[Logger], tag: str, picture: Image.Image, step: int) -> None:
    """Show a picture under a tag."""
    image = picture.convert("RGB")
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(tag, np.asarray(image), step, dataformats="HWC")
        elif isinstance(logger, WandbLogger):
            logger.log_image(tag, [image], step=step)
        elif isinstance(logger, MLFlowLogger):
            logger.experiment.log_image(logger.run_id, image, key=plain(tag).replace("/", "."), step=step)
        elif isinstance(logger, CSVLogger):
            image.save(beside(logger, tag, f"step-{step}.png"))


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
            logger.experiment.log_text(logger.run_id, text, f"{plain(tag)}/step-{step}.md")
        elif isinstance(logger, CSVLogger):
            with beside(logger, tag, f"step-{step}.csv").open("w", newline="") as file:
                csv.writer(file).writerows([columns, *cells])


def beside(logger: CSVLogger, tag: str, name: str) -> Path:
    """A file in a folder beside ``metrics.csv``; makes the folder."""
    folder = Path(logger.log_dir, plain(tag))
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


def plain(tag: str) -> str:
    """A tag as a safe path of a folder."""
    return "/".join(re.sub(r"[^\w=-]+", "_", part) or "_" for part in tag.split("/"))


def write_cell(value: Any) -> str:
    """A value as a cell shows it."""
    if value is None:
        return "–"
    return f"{value + 0.0:.4g}" if isinstance(value, float) else str(value)


def write_markdown(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; what would end a cell or a line in it is escaped."""
    lines = [columns, ["---"] * len(columns), *([escape(cell) for cell in row] for row in cells)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def escape(cell: str) -> str:
    """Text of a cell, on one line."""
    return " ".join(cell.replace("\\", "\\\\").replace("|", "\\|").replace("`", "\\`").split())
