"""What a run logged, as curves: every scalar over training steps."""

from collections.abc import Sequence
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

Curve = Sequence[tuple[int, float]]
"""(step, value), by step."""


def read_curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Read the scalars that TensorBoard's files of a run folder hold, by tag; empty if there are none.

    A run that was resumed repeats the steps since its checkpoint: the later value counts.
    """
    folder = run / "tensorboard"
    if not any(folder.glob("events.out.tfevents.*")):
        return {}
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    curves = {}
    for tag in events.Tags()["scalars"]:
        by_time = sorted(events.Scalars(tag), key=lambda event: event.wall_time)
        curves[tag] = sorted({event.step: event.value for event in by_time}.items())
    return curves
