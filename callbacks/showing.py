"""Pictures and tables for each logger that can show them; beside a CSV file they are files."""

import csv
import re
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
from PIL.Image import Image
from pytorch_lightning.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger


def show_picture(trainer: pl.Trainer, name: str, picture: Image) -> None:
    """Show a picture of this step; called by all ranks, shown by the first.

    Args:
        trainer: whose loggers show it.
        name: what it is of, the same at every step: ``answers/0``.
        picture: of any mode.
    """
    step = trainer.global_step
    for logger in trainer.loggers if trainer.is_global_zero else ():
        if isinstance(logger, TensorBoardLogger):
            pixels_HWC = np.asarray(picture.convert("RGB"))
            logger.experiment.add_image(name, pixels_HWC, step, dataformats="HWC")
        elif isinstance(logger, WandbLogger):
            logger.log_image(name, [picture], step=step)
        elif isinstance(logger, MLFlowLogger):
            logger.experiment.log_image(logger.run_id, picture, artifact_file=f"{plain(name)}/{step:08}.png")
        elif isinstance(logger, CSVLogger):
            picture.save(beside(logger, name, f"{step:08}.png"))


def show_table(trainer: pl.Trainer, name: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Show a table of this step; called by all ranks, shown by the first.

    Args:
        trainer: whose loggers show it.
        name: what it is of.
        columns: their heads.
        rows: a text for each column.
    """
    step = trainer.global_step
    for logger in trainer.loggers if trainer.is_global_zero else ():
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_text(name, markdown(columns, rows), step)
        elif isinstance(logger, WandbLogger):
            logger.log_table(name, list(columns), [list(row) for row in rows], step=step)
        elif isinstance(logger, MLFlowLogger):
            logger.experiment.log_text(logger.run_id, lines(columns, rows), f"{plain(name)}/{step:08}.csv")
        elif isinstance(logger, CSVLogger):
            beside(logger, name, f"{step:08}.csv").write_text(lines(columns, rows))


def beside(logger: CSVLogger, name: str, file: str) -> Path:
    """A file in a folder beside ``metrics.csv``, which is made."""
    folder = Path(logger.log_dir, plain(name))
    folder.mkdir(parents=True, exist_ok=True)
    return folder / file


def plain(name: str) -> str:
    """A name as the path of a folder."""
    return "/".join(re.sub(r"[^\w.=-]+", "_", part) or "_" for part in name.split("/"))


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; text that would break a row is escaped."""
    table = [columns, ["---"] * len(columns), *rows]
    cells = [[cell.replace("|", "\\|").replace("\n", " ⏎ ") for cell in row] for row in table]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in CSV."""
    text = StringIO()
    csv.writer(text).writerows([columns, *rows])
    return text.getvalue()
