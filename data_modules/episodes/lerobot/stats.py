"""Statistics of columns and cameras, of an episode and of all. Shapes: T rows or frames, D numbers of a row."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.episodes.episode import Frames

Stats = Mapping[str, NDArray[Any]]
"""``min``, ``max``, ``mean``, ``std`` and ``count``."""
SAMPLED = 100
"""Frames of an episode that are counted at most."""


def describe_column(column_TD: NDArray[Any]) -> Stats:
    """Statistics of a column's rows, of each number apart."""
    return describe(column_TD.reshape(len(column_TD), -1).astype(np.float64), len(column_TD))


def describe_frames(frames_THWC: Frames) -> Stats:
    """Statistics of some frames' channels, in [0, 1], shaped ``[3, 1, 1]``."""
    places = np.linspace(0, len(frames_THWC) - 1, min(SAMPLED, len(frames_THWC))).astype(int)
    stats = describe(frames_THWC[places].reshape(-1, 3) / 255, len(places))
    return {name: value if name == "count" else value.reshape(3, 1, 1) for name, value in stats.items()}


def describe(rows_TD: NDArray[Any], count: int) -> Stats:
    """Statistics of rows."""
    numbers = {"min": rows_TD.min(0), "max": rows_TD.max(0), "mean": rows_TD.mean(0), "std": rows_TD.std(0)}
    return numbers | {"count": np.array([count])}


def merge_stats(parts: Sequence[Stats]) -> Stats:
    """Statistics of all rows from those of parts of them."""
    shape = (-1, *[1] * parts[0]["mean"].ndim)
    weights = np.concatenate([part["count"] for part in parts]).reshape(shape) / sum(part["count"] for part in parts)
    means, stds = (np.stack([part[name] for part in parts]) for name in ("mean", "std"))
    mean = (weights * means).sum(0)
    variance = (weights * (stds**2 + (means - mean) ** 2)).sum(0)
    return {
        "min": np.min([part["min"] for part in parts], 0),
        "max": np.max([part["max"] for part in parts], 0),
        "mean": mean,
        "std": np.sqrt(variance),
        "count": np.sum([part["count"] for part in parts], 0),
    }


def as_lists(stats: Stats) -> dict[str, Any]:
    """Statistics for JSON and Parquet."""
    return {name: value.tolist() for name, value in stats.items()}
