"""The files that the episodes of a LeRobot data set go to: each its own (v2.1), or many in one up to a size (v3.0)."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from data_modules.episodes.encoding import Encoder
from data_modules.episodes.episode import Frames
from data_modules.episodes.lerobot.layout import PATHS, Layout
from data_modules.episodes.lerobot.stats import Stats, as_lists, merge_stats

MIB = 2**20


class Files(ABC):
    """Takes rows and frames of one episode after the other, and at the end what is said of all.

    Args:
        folder: the new folder.
        layout: how it is written.
    """

    def __init__(self, folder: Path, layout: Layout) -> None:
        self.folder, self.layout = folder, layout
        self.data_path, self.video_path = PATHS[layout.version]

    @abstractmethod
    def write_rows(self, number: int, table: pyarrow.Table) -> Mapping[str, Any]:
        """Write an episode's rows; return what its entry says of them."""

    @abstractmethod
    def write_frames(self, number: int, camera: str, frames_THWC: Frames) -> Mapping[str, Any]:
        """Write an episode's frames; return what its entry says of them."""

    @abstractmethod
    def write_meta(
        self, entries: Sequence[dict[str, Any]], tasks: Sequence[str], stats: Sequence[Mapping[str, Stats]]
    ) -> Mapping[str, Any]:
        """Close the files, and write entries, tasks and statistics; return what ``info.json`` says besides."""

    def open_encoder(self, file: Path) -> Encoder:
        """Open a video; every second frame is coded whole, so that any is found fast."""
        options = {"crf": str(self.layout.quality), "g": "2"} | ({"bf": "0"} if self.layout.codec == "libx264" else {})
        return Encoder(file, self.layout.rate, self.layout.codec, options)

    def place(self, pattern: str, **values: Any) -> Path:
        """The path of a file, its folder made."""
        file = self.folder / pattern.format(**values)
        file.parent.mkdir(parents=True, exist_ok=True)
        return file


class OwnFiles(Files):
    """A Parquet file, and a video of each camera, for each episode: v2.1."""

    def write_rows(self, number: int, table: pyarrow.Table) -> Mapping[str, Any]:
        """Write a file of rows."""
        pyarrow.parquet.write_table(table, self.place(self.data_path, **self.name(number)))
        return {}

    def write_frames(self, number: int, camera: str, frames_THWC: Frames) -> Mapping[str, Any]:
        """Write a video."""
        with self.open_encoder(self.place(self.video_path, video_key=camera, **self.name(number))) as encoder:
            encoder.add(frames_THWC)
        return {}

    def name(self, number: int) -> dict[str, int]:
        """What an episode's files are named after."""
        return {"episode_chunk": number // self.layout.chunk, "episode_index": number}

    def write_meta(
        self, entries: Sequence[dict[str, Any]], tasks: Sequence[str], stats: Sequence[Mapping[str, Stats]]
    ) -> Mapping[str, Any]:
        """Write lists of JSON."""
        listed = {
            "episodes": entries,
            "tasks": [{"task_index": number, "task": task} for number, task in enumerate(tasks)],
            "episodes_stats": [
                {"episode_index": number, "stats": {key: as_lists(each) for key, each in of_one.items()}}
                for number, of_one in enumerate(stats)
            ],
        }
        for name, rows in listed.items():
            self.place(f"meta/{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        chunks = -(-len(entries) // self.layout.chunk)
        return {"total_videos": len(entries) * len(self.layout.cameras), "total_chunks": chunks}


@dataclass
class Shared:
    """A file that several episodes share.

    Attributes:
        number: of the file.
        writer: what writes it.
        size: bytes that are in it.
    """

    number: int
    writer: Any
    size: int = 0


class SharedFiles(Files):
    """Files that episodes share until they are large enough: v3.0."""

    def __init__(self, folder: Path, layout: Layout) -> None:
        super().__init__(folder, layout)
        self.data: Shared | None = None
        self.videos: dict[str, Shared] = {}

    def write_rows(self, number: int, table: pyarrow.Table) -> Mapping[str, Any]:
        """Append rows, a row group an episode."""
        if self.data and self.data.size > self.layout.data_mb * MIB:
            self.data.writer.close()
            self.data = Shared(self.data.number + 1, None)
        self.data = self.data or Shared(0, None)
        indices = self.index(self.data.number)
        if self.data.writer is None:
            self.data.writer = pyarrow.parquet.ParquetWriter(self.place(self.data_path, **indices), table.schema)
        self.data.writer.write_table(table)
        self.data.size += table.nbytes
        return {f"data/{key}": value for key, value in indices.items()}

    def write_frames(self, number: int, camera: str, frames_THWC: Frames) -> Mapping[str, Any]:
        """Append frames."""
        video = self.videos.get(camera)
        if video and video.size > self.layout.video_mb * MIB:
            video.writer.close()
        if video is None or video.size > self.layout.video_mb * MIB:
            video = self.videos[camera] = Shared(0 if video is None else video.number + 1, None)
        indices = self.index(video.number)
        file = self.place(self.video_path, video_key=camera, **indices)
        video.writer = video.writer or self.open_encoder(file)
        first = video.writer.count
        video.writer.add(frames_THWC)
        video.size = file.stat().st_size
        times = {"from_timestamp": first / self.layout.rate, "to_timestamp": video.writer.count / self.layout.rate}
        return {f"videos/{camera}/{key}": value for key, value in (indices | times).items()}

    def index(self, number: int) -> dict[str, int]:
        """Folder and file of a number."""
        return {"chunk_index": number // self.layout.chunk, "file_index": number % self.layout.chunk}

    def write_meta(
        self, entries: Sequence[dict[str, Any]], tasks: Sequence[str], stats: Sequence[Mapping[str, Stats]]
    ) -> Mapping[str, Any]:
        """Write tables, and statistics of all."""
        for shared in filter(None, [self.data, *self.videos.values()]):
            shared.writer.close()
        where = {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
        rows = [entry | where | flatten(of_one) for entry, of_one in zip(entries, stats, strict=True)]
        file = self.place("meta/episodes/chunk-000/file-000.parquet")
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
        pyarrow.parquet.write_table(index_tasks(tasks), self.place("meta/tasks.parquet"))
        merged = {key: as_lists(merge_stats([of_one[key] for of_one in stats])) for key in stats[0]}
        self.place("meta/stats.json").write_text(json.dumps(merged, indent=2))
        return {"data_files_size_in_mb": self.layout.data_mb, "video_files_size_in_mb": self.layout.video_mb}


def flatten(stats: Mapping[str, Stats]) -> dict[str, Any]:
    """Statistics of an episode as columns of its entry."""
    return {f"stats/{key}/{name}": value for key, each in stats.items() for name, value in as_lists(each).items()}


def index_tasks(tasks: Sequence[str]) -> pyarrow.Table:
    """A table of tasks whose index, as pandas reads it, is what is to be done."""
    table = pyarrow.table({"task_index": pyarrow.array(range(len(tasks)), pyarrow.int64()), "task": list(tasks)})
    kinds = {"task_index": ("int64", "int64"), "task": ("unicode", "object")}
    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": stored, "metadata": None}
        for name, (kind, stored) in kinds.items()
    ]
    pandas = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.0.0"}
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})
