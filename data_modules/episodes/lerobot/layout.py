"""How a LeRobot data set is written: its options, the columns of an episode, and what ``info.json`` says of them.

Shapes: T frames, S = T - 1 steps, A numbers of an action. A row is a frame with the action taken there. Ours has none
at the last frame: it gets the last action again, and the reward 0; who reads ``rows: after`` drops both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from data_modules.episodes.encoding import CODECS
from data_modules.episodes.episode import Episode, Frames

PATHS = {
    "v2.1": (
        "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    ),
    "v3.0": (
        "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    ),
}
"""Version -> where rows and videos lie."""
COUNTED = ("timestamp", "frame_index", "episode_index", "index", "task_index")
"""Columns of every data set."""
KINDS = {"b": "bool", "i": "int64", "f": "float32"}
"""NumPy's kinds, as a feature says them."""


@dataclass(frozen=True)
class Layout:
    """How a LeRobot data set is written.

    Attributes:
        version: of the format.
        rate: frames a second.
        cameras: keys of the cameras.
        text: what is to be done, where an episode doesn't say.
        robot: its type, for ``info.json``.
        codec: ``libx264`` or ``libsvtav1``.
        quality: of the codec; lower is better and larger.
        data_mb: size from which rows go on in a new file (v3.0).
        video_mb: the same of frames.
        chunk: files of a folder.

    Raises:
        ValueError: one out of its range; names it.
    """

    version: Literal["v2.1", "v3.0"] = "v3.0"
    rate: int = 10
    cameras: Sequence[str] = ("observation.image",)
    text: str = ""
    robot: str | None = None
    codec: str = "libx264"
    quality: int = 18
    data_mb: float = 100
    video_mb: float = 200
    chunk: int = 1000

    def __post_init__(self) -> None:
        for name, choices in (("version", PATHS), ("codec", CODECS)):
            if (value := getattr(self, name)) not in choices:
                raise ValueError(f"task.lerobot.{name}={value} is unknown; choose from {', '.join(choices)}")
        for name in ("rate", "data_mb", "video_mb", "chunk"):
            if not (value := getattr(self, name)) > 0:
                raise ValueError(f"task.lerobot.{name}={value} must be above 0")
        if not self.cameras or any("/" in camera for camera in self.cameras):
            raise ValueError(f"task.lerobot.cameras={list(self.cameras)} must be names without /")


def list_columns(episode: Episode, rate: int, number: int, before: int, task: int) -> dict[str, NDArray[Any]]:
    """A row for each frame.

    Args:
        episode: it.
        rate: frames a second.
        number: of the episode.
        before: frames of the episodes before it.
        task: number of what is to be done.
    """
    total = len(episode.frames_THWC)
    columns: dict[str, NDArray[Any]] = {}
    if episode.states_TN is not None:
        columns["observation.state"] = episode.states_TN
    if episode.actions_SA is not None:
        columns["action"] = np.pad(episode.actions_SA, ((0, 1), (0, 0)), mode="edge" if total > 1 else "constant")
    if episode.rewards_S is not None:
        columns["next.reward"] = np.append(episode.rewards_S, 0).astype(np.float32)
    places, same = np.arange(total, dtype=np.int64), np.ones(total, np.int64)
    columns["next.done"] = places == total - 1
    counted = ((places / rate).astype(np.float32), places, number * same, before + places, task * same)
    return columns | dict(zip(COUNTED, counted, strict=True))


def describe_features(
    columns: Mapping[str, NDArray[Any]], cameras: Mapping[str, Frames], layout: Layout
) -> dict[str, Any]:
    """What ``info.json`` says of columns and cameras."""
    features: dict[str, Any] = {}
    for camera, frames in cameras.items():
        height, width = frames.shape[1:3]
        facts = {"video.height": height, "video.width": width, "video.channels": 3, "video.fps": layout.rate}
        facts |= {"video.codec": CODECS[layout.codec], "video.pix_fmt": "yuv420p", "video.is_depth_map": False}
        shape = {"shape": [height, width, 3], "names": ["height", "width", "channels"]}
        features[camera] = {"dtype": "video", **shape, "info": facts | {"has_audio": False}}
    for key, column in columns.items():
        width = column.shape[1] if column.ndim > 1 else 1
        names = [f"{key.rpartition('.')[2]}_{place}" for place in range(width)] if column.ndim > 1 else None
        features[key] = {"dtype": KINDS[column.dtype.kind], "shape": [width], "names": names}
    return features
