"""Episodes in HDF5 files, one or many in a file: LIBERO, robomimic, ManiSkill, VP², RoboNet."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_modules.episodes.decoding import decode_all
from data_modules.episodes.episode import Frames

ENDINGS = (".hdf5", ".h5", ".hdf")
SHOWN = 12
"""Names that an error lists at most."""


class Group:
    """What a group of an HDF5 file holds: arrays by their paths in it, ``obs/agentview_rgb`` or ``obs.agentview_rgb``.

    Frames are an array of pixels, or coded: a video's bytes, an array of pictures' bytes, or a group of ``frame0``,
    ``frame1`` …

    Args:
        group: of h5py.
        name: for errors.
    """

    coded = False

    def __init__(self, group: Any, name: str) -> None:
        self.group, self.name = group, name

    def has(self, key: str) -> bool:
        """Whether there is such an array, or a text in an attribute of the group or of one around it."""
        return as_path(key) in self.group or self.find_attribute(key) is not None

    def keys(self) -> Sequence[str]:
        """Return the paths of the arrays."""
        paths: list[str] = []
        self.group.visititems(lambda path, item: paths.append(path) if hasattr(item, "shape") else None)
        return paths if len(paths) <= SHOWN else [*paths[:SHOWN], f"{len(paths) - SHOWN} more"]

    def cameras(self) -> Sequence[str]:
        """Return none: an array doesn't say whether it is frames."""
        return ()

    def count(self, key: str) -> int:
        """Return the number of frames; a video must be decoded for it."""
        frames = self.group[as_path(key)]
        if not hasattr(frames, "shape"):
            return len(list_pictures(frames))
        return len(self.videos[key]) if is_video(frames) else len(frames)

    def frames(self, key: str, places: Sequence[int]) -> Any:
        """Return some frames."""
        frames = self.group[as_path(key)]
        if not hasattr(frames, "shape"):
            names = list_pictures(frames)
            return np.stack([decode_picture(frames[names[place]][()], self.name) for place in places])
        if is_video(frames):
            return self.videos[key][list(places)]
        if frames.ndim <= 2:
            return np.stack([decode_picture(frames[place], self.name) for place in places])
        unique, back = np.unique(np.asarray(places, int), return_inverse=True)
        gaps = np.unique(np.diff(unique))
        even = len(gaps) <= 1  # a slice is read at once, a list of places one by one
        taken = frames[slice(unique[0], unique[-1] + 1, gaps[0] if len(gaps) else 1) if even else unique.tolist()]
        return taken[back]

    @cached_property
    def videos(self) -> "Videos":
        """The group's coded videos, decoded."""
        return Videos(self)

    def numbers(self, key: str) -> Any:
        """Return an array."""
        item = self.group[as_path(key)]
        if not hasattr(item, "shape"):
            raise ValueError(f"{self.name}: {key} is a group, not an array; name one of {', '.join(self.keys())}")
        return np.asarray(item[()])

    def text(self, key: str) -> str:
        """Return a text: an array's, or that of an attribute; ``name.entry`` is an entry of one in JSON."""
        if as_path(key) in self.group:
            value = np.asarray(self.group[as_path(key)][()]).reshape(-1)[0]
            return as_text(value)
        return str(self.find_attribute(key))

    def texts(self, key: str) -> Sequence[str]:
        """Return an array of texts."""
        return [as_text(text) for text in np.asarray(self.group[as_path(key)][()]).reshape(-1)]

    @property
    def file(self) -> Path:
        """The file."""
        return Path(self.group.file.filename)

    def find_attribute(self, key: str) -> str | None:
        """An attribute of the group, or of the nearest one around it."""
        name, _, entry = key.partition(".")
        group = self.group
        while name not in group.attrs:
            if group.name == "/":
                return None
            group = group.parent
        text = as_text(group.attrs[name])
        if not entry:
            return text
        try:
            value = json.loads(text)[entry]
        except (ValueError, TypeError, KeyError):
            return None
        return " ".join(value) if isinstance(value, list) else str(value)


class Videos(dict[str, Frames]):
    """Decoded videos of a group, by key."""

    def __init__(self, group: Group) -> None:
        super().__init__()
        self.group = group

    def __missing__(self, key: str) -> Frames:
        content = np.asarray(self.group.group[as_path(key)][()]).tobytes()
        self[key] = decode_all(content, f"{self.group.name}: {key}")
        return self[key]


def as_path(key: str) -> str:
    """A key as a path in a group."""
    return key if "/" in key else key.replace(".", "/")


def as_text(value: Any) -> str:
    """A text that h5py returns as bytes or as a string."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def is_video(array: Any) -> bool:
    """Whether an array is the bytes of a file: one number after the other."""
    return array.dtype.kind == "V" or (array.ndim == 1 and array.dtype == np.uint8)


def list_pictures(group: Any) -> list[str]:
    """Names of the coded pictures in a group, in their order."""
    return sorted((name for name in group if re.search(r"\d+$", name)), key=as_numbers)


def as_numbers(name: str) -> list[Any]:
    """A key that sorts ``demo_10`` after ``demo_9``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def decode_picture(content: Any, name: str) -> Frames:
    """Decode a picture's bytes.

    Raises:
        ValueError: they are none; names the file.
    """
    try:
        return np.asarray(Image.open(BytesIO(np.asarray(content).tobytes())).convert("RGB"))
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{name}: a frame is no whole picture ({type(error).__name__}); make the file again") from None


@contextmanager
def open_group(file: Path, at: str | None) -> Iterator[Group]:
    """Open a group of an HDF5 file; ``None``: all of it.

    Raises:
        ValueError: h5py is missing, the file is damaged, or it has no such group; names it.
    """
    with open_file(file) as content:
        if at is not None and (at not in content or hasattr(content[at], "shape")):
            around = at.rpartition("/")[0]
            names = sorted(content.get(around, content), key=as_numbers)
            raise ValueError(f"{file} has no episode {at}; there are {', '.join(names[:SHOWN]) or 'none'}")
        yield Group(content if at is None else content[at], str(file) if at is None else f"{file}:{at}")


@contextmanager
def open_file(file: Path) -> Iterator[Any]:
    """Open an HDF5 file.

    Raises:
        ValueError: h5py is missing, or the file is damaged; names it.
    """
    try:
        import h5py
    except ImportError:
        raise ValueError(f"{file} needs h5py; pip install 'mirage_pl[ivideogpt]'") from None
    try:
        with h5py.File(file, "r", locking=False) as content:
            yield content
    except (OSError, KeyError, RuntimeError) as error:
        raise ValueError(f"{file} is no whole HDF5 file ({type(error).__name__}); copy or make it again") from None


def list_groups(file: Path, camera: str) -> list[str | None]:
    """Find the episodes of a file: the groups that have the frames, in the order of their numbers.

    Returns:
        Paths of groups; ``None`` for the file itself.

    Raises:
        ValueError: the file can't be read, or has none; names it.
    """
    with open_file(file) as content:
        groups: list[str] = []
        content.visititems(lambda path, item: groups.append(path) if not hasattr(item, "shape") else None)
        if as_path(camera) in content:
            return [None]
        episodes = sorted((path for path in groups if as_path(camera) in content[path]), key=as_numbers)
        if not episodes:
            keys = ", ".join(Group(content, str(file)).keys()) or "nothing"
            raise ValueError(f"{file} has no {camera} in any group, but {keys}; set task.form.keys.frames")
        return list(episodes)
