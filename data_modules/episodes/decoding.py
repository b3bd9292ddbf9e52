"""Frames out of coded videos, by their numbers: from the key frame before them on, never by time in seconds."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.episodes.episode import Frames

ENDINGS = (".mp4", ".mkv", ".webm", ".avi")
SEEK = 4
"""Frames that are skipped at least, for it takes time, too."""
KEPT = 1024
"""Videos whose frames' times are kept."""


@dataclass(frozen=True)
class Track:
    """The frames of a video.

    Attributes:
        times_T: when each is shown, in the video's own unit, as whole numbers.
        keys_K: numbers of the frames that are coded whole, about: as they lie in the file.
        rate: frames a second, by the median time between two; 0: there is but one.
    """

    times_T: NDArray[np.int64]
    keys_K: NDArray[np.int64]
    rate: float

    def skips(self, before: int, number: int) -> bool:
        """Whether a frame is reached faster from a key frame than from an earlier frame."""
        keys = np.searchsorted(self.keys_K, number, "right")
        return bool(keys) and int(self.keys_K[keys - 1]) - before > SEEK


def count_frames(file: Path) -> int:
    """How many frames a video has.

    Raises:
        ValueError: it can't be decoded; names it.
    """
    return len(index_video(file).times_T)


def decode_frames(file: Path, places: Sequence[int]) -> Frames:
    """Decode some frames of a video.

    Args:
        file: of the video.
        places: their numbers, from 0, in any order; a number may come again.

    Returns:
        ``[len(places), H, W, 3]``.

    Raises:
        ValueError: it can't be decoded, or has no such frame; names it.
    """
    track = index_video(file)
    if (last := max(places, default=0)) >= len(track.times_T):
        raise ValueError(f"{file} has {len(track.times_T)} frames, not frame {last}; is it whole?")
    with opened(file) as container:
        frames = dict(decode_in_order(container, track, sorted(set(places))))
    return np.stack([frames[place] for place in places])


def decode_all(content: Path | bytes, name: str) -> Frames:
    """Decode all frames of a video, from a file or from memory.

    Raises:
        ValueError: it can't be decoded; names it.
    """
    with opened(content, name) as container:
        as_pixels = Pixels()
        return np.stack([as_pixels(frame) for frame in container.decode(video=0)])


def decode_in_order(container: Any, track: Track, places: Sequence[int]) -> Iterator[tuple[int, Frames]]:
    """Yield some frames by their numbers, which ascend."""
    stream, before, as_pixels = container.streams.video[0], -1, Pixels()
    frames: Iterator[Any] = iter(())
    for place in places:
        wanted = int(track.times_T[place])
        if before < 0 or track.skips(before, place):
            container.seek(wanted, stream=stream, backward=True)
            frames = container.decode(stream)
        frame = next((frame for frame in frames if frame.pts >= wanted), None)
        if frame is None or frame.pts != wanted:  # frames before their key frame are reached from the start alone
            container.seek(int(track.times_T[0]), stream=stream, backward=True)
            frames = container.decode(stream)
            frame = next((frame for frame in frames if frame.pts == wanted), None)
        if frame is None:
            raise ValueError(f"frame {place} is missing")
        before = place
        yield place, as_pixels(frame)


class Pixels:
    """Turns decoded frames into ``[H, W, 3]``; what it takes for that is set up once for all of a video."""

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        self.reformatter = VideoReformatter()

    def __call__(self, frame: Any) -> Frames:
        """Return the pixels of a frame."""
        pixels: Any = self.reformatter.reformat(frame, format="rgb24").to_ndarray()
        return np.asarray(pixels, np.uint8)


def index_video(file: Path) -> Track:
    """Find the frames of a video; remembered while the file stays as it is.

    Raises:
        ValueError: it can't be read; names it.
    """
    try:
        state = file.stat()
    except OSError:
        raise ValueError(f"video {file} does not exist; copy it there") from None
    return _index(file, state.st_mtime_ns, state.st_size)


@lru_cache(KEPT)
def _index(file: Path, _changed_ns: int, _size: int) -> Track:
    with opened(file) as container:
        stream = container.streams.video[0]
        entries = list(stream.index_entries)
        times_T = np.array([entry.timestamp for entry in entries], np.int64)
        gaps = np.unique(np.diff(times_T))
        if len(entries) == stream.frames > 1 and len(gaps) == 1 and gaps[0] > 0:  # a constant rate: nothing is read
            times_T = (stream.start_time or 0) + np.arange(len(entries)) * gaps[0]
            keys_K = np.array([number for number, entry in enumerate(entries) if entry.is_keyframe])
            return Track(times_T, keys_K, measure_rate(times_T, stream))
        packets = [packet for packet in container.demux(stream) if packet.size]
        if any(packet.pts is None for packet in packets):
            raise ValueError("its frames have no times; convert it to an mp4")
        times_T = np.sort(np.array([packet.pts for packet in packets], np.int64))
        keys = np.array([packet.pts for packet in packets if packet.is_keyframe], np.int64)
        return Track(times_T, np.searchsorted(times_T, keys), measure_rate(times_T, stream))


def measure_rate(times_T: NDArray[np.int64], stream: Any) -> float:
    """Frames a second of a stream; 0 where its times don't say."""
    gap = float(np.median(np.diff(times_T)) * stream.time_base) if len(times_T) > 1 and stream.time_base else 0.0
    return 1 / gap if gap > 0 else 0.0


@contextmanager
def opened(content: Path | bytes, name: str = "") -> Iterator[Any]:
    """Open a video.

    Args:
        content: a file, or what is in one.
        name: for errors, of what is no file.

    Raises:
        ValueError: PyAV is missing, or the video can't be decoded; names it.
    """
    name = name or str(content)
    try:
        import av
    except ImportError:
        raise ValueError(f"{name} needs PyAV; pip install 'mirage_pl[ivideogpt]'") from None
    try:
        with av.open(BytesIO(content) if isinstance(content, bytes) else str(content)) as container:
            if not container.streams.video:
                raise ValueError("there is no picture in it")
            yield container
    except (av.error.FFmpegError, ValueError, IndexError) as error:
        reason = (
            str(error)
            if isinstance(error, ValueError) and not isinstance(error, av.error.FFmpegError)
            else type(error).__name__
        )
        raise ValueError(f"{name} can't be decoded ({reason}); is it whole?") from None


class Video:
    """A video without anything else, as an episode: its frames are ``frames``."""

    coded = True
    key = "frames"

    def __init__(self, file: Path) -> None:
        self.file = file

    def has(self, key: str) -> bool:
        """Whether it is the key of the frames."""
        return key == self.key

    def keys(self) -> Sequence[str]:
        """Return the key of the frames."""
        return (self.key,)

    def cameras(self) -> Sequence[str]:
        """Return the key of the frames."""
        return (self.key,)

    def count(self, key: str) -> int:
        """Return the number of frames."""
        return count_frames(self.file)

    def frames(self, key: str, places: Sequence[int]) -> Frames:
        """Decode some frames."""
        return decode_frames(self.file, places)

    def numbers(self, key: str) -> Any:
        """Refuse: there are none."""
        raise ValueError(f"{self.file} is a video and has no {key}")

    def texts(self, key: str) -> Sequence[str]:
        """Refuse: there are none."""
        raise ValueError(f"{self.file} is a video and has no {key}")

    def text(self, key: str) -> str:
        """Refuse: there is none."""
        raise ValueError(f"{self.file} is a video and has no {key}")
