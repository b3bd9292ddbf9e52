"""What a LeRobot data set says of itself: versions, features, and where each episode lies."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

INFO = "meta/info.json"
VERSIONS = ("v2.0", "v2.1", "v3.0")
CHUNK = 1000
"""Files of a folder, where a data set doesn't say."""


@dataclass(frozen=True)
class Span:
    """Where an episode lies.

    Attributes:
        number: its ``episode_index``.
        length: its frames.
        text: what is to be done.
        data: the Parquet file of its rows.
        videos: camera -> the file, and which of its frames is the episode's first.
    """

    number: int
    length: int
    text: str
    data: Path
    videos: Mapping[str, tuple[Path, int]]


@dataclass(frozen=True)
class Folder:
    """A LeRobot data set.

    Attributes:
        path: its folder.
        info: ``meta/info.json``.
        spans: its episodes by number.
    """

    path: Path
    info: Mapping[str, Any]
    spans: Mapping[int, Span]

    @property
    def features(self) -> Mapping[str, Mapping[str, Any]]:
        """Key -> what it is."""
        features: Mapping[str, Mapping[str, Any]] = self.info["features"]
        return features

    @cached_property
    def cameras(self) -> Sequence[str]:
        """Keys of frames."""
        return [key for key, feature in self.features.items() if feature.get("dtype") in ("video", "image")]

    @property
    def alone(self) -> bool:
        """Whether each episode has a video of its own."""
        return is_old(self.info)

    @property
    def listed(self) -> str:
        """Where its episodes are listed."""
        return "meta/episodes.jsonl" if self.alone else "meta/episodes"


def is_numbered(folder: Path) -> bool:
    """Whether a folder is a LeRobot data set."""
    return (folder / INFO).is_file()


def lacks_info(folder: Path) -> bool:
    """Whether a folder has other files of a LeRobot data set, but not the one that says what it is."""
    parts = ("meta/episodes*", "meta/tasks*", "meta/*stats*", "data/chunk-*/*.parquet")
    return not is_numbered(folder) and any(next(folder.glob(part), None) is not None for part in parts)


def read_folder(folder: Path) -> Folder:
    """Read what a LeRobot data set says of itself; remembered while that stays as it is.

    Raises:
        ValueError: it is none, of an unknown version, or damaged, or it contradicts itself; names the file.
    """
    if not is_numbered(folder):
        raise ValueError(f"{folder} has no {INFO}; it is no LeRobot data set")
    return _read_folder(folder, (folder / INFO).stat().st_mtime_ns)


@lru_cache(64)
def _read_folder(folder: Path, _changed_ns: int) -> Folder:
    info = read_json(folder / INFO)
    if not isinstance(info, dict) or (version := info.get("codebase_version")) not in VERSIONS:
        version = info.get("codebase_version") if isinstance(info, dict) else None
        raise ValueError(
            f"{folder / INFO} has codebase_version={version}; {', '.join(VERSIONS)} are read: convert it with LeRobot"
        )
    if missing := [key for key in ("features", "fps", "data_path") if not info.get(key)]:
        raise ValueError(f"{folder / INFO} has no {', '.join(missing)}; copy the data set anew")
    try:
        spans = {span.number: span for span in (list_old if is_old(info) else list_new)(folder, info)}
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder}: its episodes are listed without {error}; copy the data set anew") from None
    numbered = Folder(folder, info, dict(sorted(spans.items())))
    for key, there in (
        ("total_episodes", len(spans)),
        ("total_frames", sum(span.length for span in spans.values())),
    ):
        if info.get(key, there) != there:
            raise ValueError(
                f"{folder / INFO} says {key}={info[key]}, but {numbered.listed} lists {there}; copy the data set anew"
            )
    return numbered


def is_old(info: Mapping[str, Any]) -> bool:
    """Whether each episode has files of its own."""
    return str(info["codebase_version"]).startswith("v2")


def list_old(folder: Path, info: Mapping[str, Any]) -> Iterator[Span]:
    """List the episodes of v2, whose files are named after them."""
    cameras = [key for key, feature in info["features"].items() if feature.get("dtype") == "video"]
    for row in read_lines(folder / "meta" / "episodes.jsonl"):
        number = int(row["episode_index"])
        place = {"episode_chunk": number // int(info.get("chunks_size", CHUNK)), "episode_index": number}
        videos = {camera: (folder / info["video_path"].format(video_key=camera, **place), 0) for camera in cameras}
        data = folder / info["data_path"].format(**place)
        yield Span(number, int(row["length"]), name_task(row.get("tasks")), data, videos)


def list_new(folder: Path, info: Mapping[str, Any]) -> Iterator[Span]:
    """List the episodes of v3, several of which share a file; a first frame's number is its time at a constant rate."""
    cameras = [key for key, feature in info["features"].items() if feature.get("dtype") == "video"]
    files = sorted((folder / "meta" / "episodes").glob("*/*.parquet"))
    if not files:
        raise ValueError(f"{folder / 'meta' / 'episodes'} has no Parquet file; copy the data set anew")
    for file in files:
        try:
            names = pyarrow.parquet.read_schema(file).names
            columns = [name for name in names if not name.startswith("stats/")]
            rows = pyarrow.parquet.read_table(file, columns=columns).to_pylist()
        except (pyarrow.ArrowException, OSError) as error:
            raise ValueError(
                f"{file} is no whole Parquet file ({type(error).__name__}); copy the data set anew"
            ) from None
        for row in rows:
            data = {"chunk_index": row["data/chunk_index"], "file_index": row["data/file_index"]}
            videos = {camera: place_video(folder, info, row, camera) for camera in cameras}
            text = name_task(row.get("tasks"))
            yield Span(
                int(row["episode_index"]), int(row["length"]), text, folder / info["data_path"].format(**data), videos
            )


def place_video(folder: Path, info: Mapping[str, Any], row: Mapping[str, Any], camera: str) -> tuple[Path, int]:
    """The video of an episode, and which of its frames is the episode's first."""
    prefix = f"videos/{camera}"
    place = {"chunk_index": row[f"{prefix}/chunk_index"], "file_index": row[f"{prefix}/file_index"]}
    first = round(float(row[f"{prefix}/from_timestamp"]) * float(info["fps"]))
    return folder / info["video_path"].format(video_key=camera, **place), first


def name_task(tasks: Any) -> str:
    """What is to be done, out of an episode's list."""
    return tasks if isinstance(tasks, str) else str(tasks[0]) if tasks else ""


def read_lines(file: Path) -> list[dict[str, Any]]:
    """Read a file of one JSON object a line.

    Raises:
        ValueError: it is missing or broken; names file and line.
    """
    if not file.is_file():
        raise ValueError(f"{file} does not exist; copy the data set anew")
    rows = []
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        try:
            rows.append(json.loads(line))
        except ValueError:
            raise ValueError(f"{file}:{number} is broken JSON; copy the data set anew") from None
    return rows


def read_json(file: Path) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: it is broken; names it.
    """
    try:
        return json.loads(file.read_text())
    except ValueError:
        raise ValueError(f"{file} is broken JSON; copy the data set anew") from None
