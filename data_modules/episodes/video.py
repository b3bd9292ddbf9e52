"""Frames as clips: GIF, mp4. Shapes: T frames of H x W pixels, uint8."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence, UnidentifiedImageError

from data_modules.episodes.decoding import ENDINGS, decode_all
from data_modules.episodes.encoding import Encoder
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
            with Encoder(Path(file), self.rate) as encoder:
                encoder.add(frames)
        else:
            raise ValueError(f"{file}: clips are written as .gif or .mp4")


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
    kinds |= dict.fromkeys(ENDINGS, lambda: decode_all(file, str(file)))
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


def enlarge(frames_THWC: NDArray[np.uint8], least: int = SMALLEST) -> NDArray[np.uint8]:
    """Repeat pixels until the smaller side has at least so many."""
    factor = max(1, -(-least // min(frames_THWC.shape[1:3])))
    return frames_THWC.repeat(factor, 1).repeat(factor, 2)


def place_beside(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Put pictures of one height beside each other; ``[..., H, W, 3]`` each, clips as well."""
    gap = np.full_like(pictures[0][..., :GAP, :], 255)
    parts = [part for picture in pictures for part in (gap, picture)][1:]
    return np.concatenate(parts, -2)
