"""Episodes written as a LeRobot data set."""

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from numpy.typing import NDArray

from data_modules.episodes.encoding import pad_even
from data_modules.episodes.episode import Episode
from data_modules.episodes.lerobot.files import Files, OwnFiles, SharedFiles
from data_modules.episodes.lerobot.layout import Layout, describe_features, list_columns
from data_modules.episodes.lerobot.meta import INFO
from data_modules.episodes.lerobot.stats import Stats, describe_column, describe_frames


class Writer:
    """Writes one episode after the other.

    Args:
        folder: the new folder.
        layout: how it is written.
    """

    def __init__(self, folder: Path, layout: Layout) -> None:
        self.layout = layout
        self.files: Files = (SharedFiles if layout.version == "v3.0" else OwnFiles)(folder, layout)
        self.entries: list[dict[str, Any]] = []
        self.stats: list[Mapping[str, Stats]] = []
        self.tasks: dict[str, int] = {}
        self.features: dict[str, Any] = {}
        self.total = 0

    def add(self, episode: Episode, name: str) -> None:
        """Write an episode.

        Raises:
            ValueError: it has other cameras, sizes or widths than the first one; names it.
        """
        number, length, text = len(self.entries), len(episode.frames_THWC), episode.text or self.layout.text
        task = self.tasks.setdefault(text, len(self.tasks))
        columns = list_columns(episode, self.layout.rate, number, self.total, task)
        if len(episode.cameras) != len(self.layout.cameras):
            names = list(self.layout.cameras)
            raise ValueError(f"{name} has {len(episode.cameras)} cameras, but task.lerobot.cameras={names}")
        cameras = dict(zip(self.layout.cameras, map(pad_even, episode.cameras), strict=True))
        self.check_features(describe_features(columns, cameras, self.layout), name)
        table = pyarrow.table({key: as_cells(column) for key, column in columns.items()})
        entry: dict[str, Any] = {"episode_index": number, "tasks": [text], "length": length}
        if self.layout.version == "v3.0":
            entry |= {"dataset_from_index": self.total, "dataset_to_index": self.total + length}
        entry |= self.files.write_rows(number, table)
        for camera, frames in cameras.items():
            entry |= self.files.write_frames(number, camera, frames)
        stats = {camera: describe_frames(frames) for camera, frames in cameras.items()}
        self.stats.append(stats | {key: describe_column(column) for key, column in columns.items()})
        self.entries.append(entry)
        self.total += length

    def check_features(self, features: dict[str, Any], name: str) -> None:
        """Refuse an episode that isn't shaped as the first one."""
        self.features = self.features or features
        keys = [*features, *(key for key in self.features if key not in features)]
        if wrong := [key for key in keys if features.get(key) != self.features.get(key)]:
            raise ValueError(f"{name} differs from the first episode in {', '.join(wrong)}; leave it out")

    def finish(self) -> None:
        """Write what is said of all episodes."""
        layout, facts = self.layout, self.files.write_meta(self.entries, list(self.tasks), self.stats)
        info = {
            "codebase_version": layout.version,
            "robot_type": layout.robot,
            "total_episodes": len(self.entries),
            "total_frames": self.total,
            "total_tasks": len(self.tasks),
            "chunks_size": layout.chunk,
            "fps": layout.rate,
            "splits": {"train": f"0:{len(self.entries)}"},
            "data_path": self.files.data_path,
            "video_path": self.files.video_path,
            "features": self.features,
        }
        self.files.place(INFO).write_text(json.dumps(info | dict(facts), indent=4))


def as_cells(column: NDArray[Any]) -> pyarrow.Array:
    """A column's rows: numbers, or lists of one width; one number a row is no list in this format."""
    if column.ndim == 1 or column.shape[1] == 1:
        return pyarrow.array(column.reshape(-1))
    values = pyarrow.array(np.ascontiguousarray(column, np.float32).reshape(-1))
    return pyarrow.FixedSizeListArray.from_arrays(values, column.shape[1])


def write_folder(folder: Path, layout: Layout, episodes: Iterable[tuple[str, Episode]]) -> int:
    """Write a data set; it appears only when it is complete.

    Args:
        folder: the new folder.
        layout: how it is written.
        episodes: their names, for errors, and the episodes.

    Returns:
        How many episodes there are.

    Raises:
        ValueError: the folder exists, or an episode isn't like the first one; names it.
    """
    if folder.exists():
        raise ValueError(f"{folder} is there already; remove it, or choose another folder")
    partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        writer = Writer(partial, layout)
        for name, episode in episodes:
            writer.add(episode, name)
        writer.finish()
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return len(writer.entries)
