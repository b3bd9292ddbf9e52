"""Write scores into the evaluation folder: metrics, rows, pictures."""

import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from data_modules.images import open_image
from mirage_pl.engine.evaluation.summary import join_conditions
from mirage_pl.engine.runs.folder import METRICS, make_strict, write_json, write_text
from mirage_pl.engine.seams import Drawn, Evaluation, Row, Trial

log = logging.getLogger(__name__)

PREDICTIONS = "predictions.jsonl"
FRAME_MS = 200
"""Milliseconds for which each frame of a clip is shown."""


def write_scores(
    out: Path, evaluation: Evaluation, metrics: Mapping[str, Any], rows: Mapping[str, Sequence[Row]]
) -> dict[str, Any]:
    """Write rows and metrics, each to a temporary file that is then renamed.

    Returns:
        The metrics as they were written.
    """
    write_text(out / PREDICTIONS, "".join(map(write_row, join_conditions(evaluation, rows))))
    strict: dict[str, Any] = make_strict(metrics)
    write_json(out / METRICS, strict)
    return strict


def write_row(row: Row) -> str:
    """Write a line of ``predictions.jsonl``."""
    return json.dumps(make_strict(row), allow_nan=False) + "\n"


def choose_rows(total: int, count: int) -> list[int]:
    """Choose ``count`` of ``total`` rows, one out of each equal share, always the same; all if there are fewer.

    Which one of a share is drawn by lot: in many test sets answers take turns, so rows at equal distances have one.
    """
    lot, count = Random(total), min(count, total)
    bounds = [number * total // count for number in range(count + 1)] if count else []
    return [lot.randrange(first, end) for first, end in pairwise(bounds)]


def draw_gallery(folder: Path, trial: Trial, rows: Sequence[Row], count: int) -> None:
    """Draw ``count`` rows, spread over the test set."""
    empty_folder(folder)
    for index in choose_rows(len(rows), count):
        for name, drawn in draw_row(trial, rows[index]):
            save_drawing(drawn, folder, f"{index}_{name}" if name else str(index))


def draw_row(trial: Trial, row: Row) -> Iterator[tuple[str, Drawn]]:
    """Draw a row. One that can't be drawn is logged and skipped: its scores are still valid."""
    try:
        yield from list(trial.draw(row))
    except Exception as error:
        log.warning("%s can't be drawn: %s %s", row["where"], type(error).__name__, error)


def draw_pictures(folder: Path, trial: Trial, rows: Sequence[int]) -> None:
    """Draw the pictures about the model: of the whole test set, and of some rows."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, drawn in trial.pictures(rows):
        folder.mkdir(exist_ok=True)
        save_drawing(drawn, folder, name)


def save_drawing(drawn: Drawn, folder: Path, name: str) -> None:
    """Write a picture as PNG, a clip as GIF."""
    if isinstance(drawn, Image.Image):
        drawn.save(folder / f"{name}.png", optimize=True)
    else:
        first, *others = drawn
        first.save(folder / f"{name}.gif", save_all=True, append_images=others, duration=FRAME_MS, loop=0)


def empty_folder(folder: Path) -> None:
    """Create a folder, or empty it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def show_in_tensorboard(run: Path, folder: Path, label: str, step: int) -> None:
    """Add the PNG pictures of a folder to the run's TensorBoard events; a run without a TensorBoard folder gets none.

    Scoring opens no loggers: to a run that was logged elsewhere nothing is added, and the pictures are in ``folder``.
    """
    from torch.utils.tensorboard import SummaryWriter

    files = sorted(folder.glob("*.png"))
    if not files or not (run / "tensorboard").is_dir():
        return
    with SummaryWriter(run / "tensorboard") as board:
        for file in files:
            pixels = np.asarray(open_image(file, str(file)))
            board.add_image(f"{label}/{file.stem}", pixels, step, dataformats="HWC")
