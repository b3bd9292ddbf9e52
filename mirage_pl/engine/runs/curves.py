"""What a run logged, as curves: every scalar over training steps."""

import csv
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

Curve = Sequence[tuple[int, float]]
"""(step, value), by step."""


def read_curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Read every scalar that a run logged to TensorBoard, or else to a CSV file, by tag; empty if it did to neither.

    A run that was resumed repeats the steps since its checkpoint: the later value counts.
    """
    return read_events(run / "tensorboard") or read_lines(run / "csv" / "metrics.csv")


def read_events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Read TensorBoard's files; empty if there are none."""
    if not any(folder.glob("events.out.tfevents.*")):
        return {}
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    curves = {}
    for tag in events.Tags()["scalars"]:
        by_time = sorted(events.Scalars(tag), key=lambda event: event.wall_time)
        curves[tag] = sorted({event.step: event.value for event in by_time}.items())
    return curves


def read_lines(file: Path) -> dict[str, list[tuple[int, float]]]:
    """Read a CSV file with a column ``step`` and one for each scalar, empty where none was logged; none: empty."""
    curves: dict[str, dict[int, float]] = {}
    if file.is_file():
        with file.open(newline="") as lines:
            for line in csv.DictReader(lines):
                with suppress(ValueError, TypeError):  # the last line of a run that was killed may be cut short
                    step = int(line.pop("step"))
                    for tag, text in line.items():
                        if text:
                            curves.setdefault(tag, {})[step] = float(text)
    return {tag: sorted(by_step.items()) for tag, by_step in curves.items()}
