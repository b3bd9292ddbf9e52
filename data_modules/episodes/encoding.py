"""Frames into mp4 files. Shapes: T frames of H x W pixels, uint8."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from data_modules.episodes.episode import Frames

CODECS = {"libx264": "h264", "libsvtav1": "av1"}
"""Encoder -> what it writes, by the name that players know."""


class Encoder:
    """Writes an mp4, clip after clip; a context manager. Odd sizes are padded to even ones, as the codecs ask.

    Args:
        file: the new file.
        rate: frames a second.
        codec: out of ``CODECS``.
        options: of the codec: ``crf``, ``g`` …

    Raises:
        ValueError: PyAV isn't installed.
    """

    def __init__(self, file: Path, rate: int, codec: str = "libx264", options: dict[str, str] | None = None) -> None:
        try:
            import av
        except ImportError:
            raise ValueError(f"{file} needs PyAV; pip install 'mirage_pl[ivideogpt]', or name a .gif") from None
        self.av, self.count = av, 0
        self.container = av.open(str(file), "w")
        self.stream: Any = self.container.add_stream(codec, rate=rate, options=options or {})
        self.stream.pix_fmt = "yuv420p"

    def add(self, frames_THWC: Frames) -> None:
        """Append frames, all of the size of the first ones."""
        padded = pad_even(frames_THWC)
        if not self.count:
            self.stream.height, self.stream.width = padded.shape[1:3]
        for pixels in padded:
            frame = self.av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = self.count, 1 / self.stream.average_rate
            self.container.mux(self.stream.encode(frame))
            self.count += 1

    def close(self) -> None:
        """Write what is left."""
        if self.count:
            self.container.mux(self.stream.encode())
        self.container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def pad_even(frames_THWC: Frames) -> Frames:
    """Frames of even height and width: the last row and column come again."""
    height, width = frames_THWC.shape[1:3]
    return np.pad(frames_THWC, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
