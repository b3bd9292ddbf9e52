"""Frames as clips: GIF, mp4. Shapes: T frames of H x W pixels, uint8."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence, UnidentifiedImageError

from data_modules.episodes.form import Form
from data_modules.episodes.recording import read_episode

SMALLEST = 256
"""Pixels: smaller frames are shown larger, by a whole factor."""
GAP = 2
"""Pixels between clips beside each other."""


@dataclass(frozen=True)
class Clip:
    """A clip to be saved.

    Attributes:
        frames_THWC: uint8.
        rate: frames a second.
    """

    frames_THWC: NDArray[np.uint8]
    rate: int = 4

    def save(self, file: str | Path) -> None:
        """Write ``.gif`` or ``.mp4``, small frames enlarged.

        Raises:
            ValueError: another ending, or PyAV is missing for an mp4.
        """
        frames = enlarge(self.frames_THWC)
        if Path(file).suffix == ".gif":
            first, *others = map(Image.fromarray, frames)
            first.save(file, save_all=True, append_images=others, duration=1000 // self.rate, loop=0)
        elif Path(file).suffix == ".mp4":
            write_mp4(frames, Path(file), self.rate)
        else:
            raise ValueError(f"{file}: clips are written as .gif or .mp4")


def write_mp4(frames_THWC: NDArray[np.uint8], file: Path, rate: int) -> None:
    """Write H.264 in an mp4; odd sizes are padded to even ones, as the codec asks.

    Raises:
        ValueError: PyAV isn't installed.
    """
    try:
        import av
    except ImportError:
        raise ValueError("an mp4 needs PyAV; pip install 'mirage_pl[ivideogpt]', or name a .gif") from None
    height, width = frames_THWC.shape[1:3]
    padded = np.pad(frames_THWC, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    with av.open(str(file), "w") as container:
        stream: Any = container.add_stream("libx264", rate=rate)
        stream.height, stream.width, stream.pix_fmt = padded.shape[1], padded.shape[2], "yuv420p"
        for frame in padded:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())


def read_frames(file: Path, keys: Mapping[str, str | None]) -> NDArray[np.uint8]:
    """Read the frames of an ``.npz`` episode, a ``.gif`` or an ``.mp4``, [T, H, W, 3].

    Args:
        file: what is read.
        keys: of the arrays in an ``.npz``.

    Raises:
        ValueError: no such file, another kind, or it can't be read; names it.
    """
    kinds = {
        ".npz": lambda: read_episode(file, Form({"frames": keys["frames"]})).frames_THWC,
        ".gif": lambda: read_gif(file),
    }
    kinds |= dict.fromkeys((".mp4", ".mkv", ".webm", ".avi"), lambda: read_video(file))
    if file.suffix.lower() not in kinds:
        raise ValueError(f"{file} is no clip; its name must end in {', '.join(kinds)}")
    if not file.is_file():
        raise ValueError(f"clip {file} does not exist; correct the path")
    return kinds[file.suffix.lower()]()


def read_gif(file: Path) -> NDArray[np.uint8]:
    """Read all frames of a GIF."""
    try:
        with Image.open(file) as clip:
            return np.stack([np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(clip)])
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{file} can't be read as a GIF ({type(error).__name__}); write it again") from None


def read_video(file: Path) -> NDArray[np.uint8]:
    """Decode all frames of a video."""
    try:
        import av
    except ImportError:
        raise ValueError(f"{file} needs PyAV; pip install 'mirage_pl[ivideogpt]'") from None
    try:
        with av.open(str(file)) as container:
            return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    except (av.error.FFmpegError, ValueError, IndexError) as error:
        raise ValueError(f"{file} can't be decoded ({type(error).__name__}); is it whole?") from None


def enlarge(frames_THWC: NDArray[np.uint8], least: int = SMALLEST) -> NDArray[np.uint8]:
    """Repeat pixels until the smaller side has at least so many."""
    factor = max(1, -(-least // min(frames_THWC.shape[1:3])))
    return frames_THWC.repeat(factor, 1).repeat(factor, 2)


def place_beside(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Put pictures of one height beside each other; ``[..., H, W, 3]`` each, clips as well."""
    gap = np.full_like(pictures[0][..., :GAP, :], 255)
    parts = [part for picture in pictures for part in (gap, picture)][1:]
    return np.concatenate(parts, -2)
