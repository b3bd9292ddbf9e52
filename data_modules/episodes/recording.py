"""Episodes on disk: opened by what the file is, read as the form says, frame by frame where the file allows it."""

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from data_modules.episodes.archive import open_archive
from data_modules.episodes.decoding import ENDINGS as VIDEOS
from data_modules.episodes.decoding import Video
from data_modules.episodes.episode import Episode, Frames, Numbers
from data_modules.episodes.form import (
    SPACE,
    Form,
    arrange_actions,
    arrange_frames,
    arrange_states,
    arrange_steps,
)
from data_modules.episodes.geometry import Geometry, arrange_geometry
from data_modules.episodes.hdf5 import ENDINGS as HDF5
from data_modules.episodes.hdf5 import open_group
from data_modules.episodes.lerobot.meta import is_numbered
from data_modules.episodes.lerobot.reader import open_numbered
from data_modules.episodes.pictures import open_pictures

DIGESTED = 8
"""Frames of a video by which its episode is known: to decode all would take as long as an epoch."""


class Arrays(Protocol):
    """What a file holds of an episode, by key."""

    @property
    def coded(self) -> bool:
        """Whether a frame is decoded from those before it."""

    @property
    def file(self) -> Path:
        """The file."""

    def has(self, key: str) -> bool:
        """Return whether there is an array."""

    def keys(self) -> Sequence[str]:
        """Return the keys there are, for errors."""

    def cameras(self) -> Sequence[str]:
        """Return the keys of cameras; none where the file doesn't say."""

    def count(self, key: str) -> int:
        """Return how many frames an array has."""

    def frames(self, key: str, places: Sequence[int]) -> Any:
        """Return some frames of an array, as they lie there."""

    def numbers(self, key: str) -> Any:
        """Return an array."""

    def text(self, key: str) -> str:
        """Return a text."""

    def texts(self, key: str) -> Sequence[str]:
        """Return an array of texts."""


@dataclass(frozen=True)
class Recording:
    """An episode on disk.

    Attributes:
        name: of the file and the place in it, for errors.
        arrays: what the file holds.
        form: which of it is what.
    """

    name: str
    arrays: Arrays
    form: Form

    def __post_init__(self) -> None:
        optional = {*self.form.optional, *SPACE, *(["text"] if self.form.beside else [])} - {"frames"}
        wanted = [name for kind in self.form.keys if kind not in optional for name in self.form.names(kind)]
        if missing := [name for name in wanted if not self.arrays.has(name)]:
            keys = ", ".join(self.arrays.keys()) or "nothing"
            raise ValueError(f"{self.name} has no {' and no '.join(missing)}, but {keys}; set task.form.keys")
        if not self.cameras and "frames" not in self.form.optional:
            raise ValueError(
                f"{self.name}: task.form.keys.frames must name the array of frames; what a policy learns from needs "
                "none: task.reads=steps"
            )

    @cached_property
    def cameras(self) -> Sequence[str]:
        """Keys of the frames."""
        return list(self.arrays.cameras()[:1]) if self.form.keys.get("frames") is None else self.form.names("frames")

    def keys_of(self, kind: str) -> list[str]:
        """The keys of a kind that are there: all, or none."""
        names = self.form.names(kind)
        return names if all(map(self.arrays.has, names)) else []

    @cached_property
    def total(self) -> int:
        """Frames of the episode.

        Raises:
            ValueError: cameras have different numbers of them.
        """
        counts = {camera: self.arrays.count(camera) for camera in self.cameras}
        if len(set(counts.values())) > 1:
            raise ValueError(f"{self.name} has different numbers of frames: {counts}")
        return next(iter(counts.values())) if counts else self.count_states()

    def count_states(self) -> int:
        """Frames of an episode without cameras."""
        states = self.numbers("states")
        if states is None:
            raise ValueError(f"{self.name} has neither frames nor states; set task.form.keys")
        return len(states)

    def frames(self, places: Sequence[int] | None = None) -> tuple[Frames, ...]:
        """Read frames of each camera, all or those at some places; a place may come again."""
        wanted = range(self.total) if places is None else places
        return tuple(
            arrange_frames(self.arrays.frames(camera, wanted), self.form, self.name) for camera in self.cameras
        )

    def numbers(self, kind: str) -> Any:
        """Read an array of numbers, or several beside each other; ``None`` where there is none."""
        arrays = [self.arrays.numbers(key) for key in self.keys_of(kind)]
        if len(arrays) > 1:
            return np.concatenate([array.reshape(len(array), -1) for array in arrays], 1)
        return arrays[0] if arrays else None

    def actions(self) -> Numbers | None:
        """Read the actions of all steps."""
        actions = self.numbers("actions")
        return None if actions is None else arrange_actions(actions, self.total, self.form, self.name)

    def rewards(self) -> Numbers | None:
        """Read the rewards of all steps."""
        rewards = self.numbers("rewards")
        if rewards is None:
            return None
        rewards_S1 = arrange_steps(rewards, "rewards", self.total, self.form, self.name)
        if rewards_S1.shape[1] != 1:
            raise ValueError(f"{self.name}: rewards must be one number a row, got {rewards_S1.shape[1]}")
        return rewards_S1[:, 0]

    def states(self) -> Numbers | None:
        """Read the states of all frames."""
        states = self.numbers("states")
        return None if states is None else arrange_states(states, self.total, self.name)

    def geometry(self, places: Sequence[int]) -> Geometry | None:
        """Read depth, poses and intrinsics of some frames."""
        arrays = {kind: self.numbers(kind) for kind in SPACE if self.keys_of(kind)}
        if arrays and (self.form.turn or self.form.flip):
            raise ValueError(
                f"{self.name} has {', '.join(arrays)}, which task.form.turn and flip don't turn; set them to null in "
                "task.form.keys, or turn the files"
            )
        return arrange_geometry(arrays, places, self.total, self.form.space, self.name)

    def text(self) -> str | None:
        """Read what is to be done."""
        if self.form.beside:
            return read_beside(self.arrays.file, self.form)
        keys = self.keys_of("text")
        return self.arrays.text(keys[0]) if keys else None

    def plans(self) -> Sequence[str] | None:
        """Read what is said at each step of what is done there."""
        keys = self.keys_of("plans")
        if not keys:
            return None
        plans = self.arrays.texts(keys[0])
        if len(plans) not in (self.total, self.total - 1):
            raise ValueError(f"{self.name}: {len(plans)} plans; expected one for each of {self.total} frames")
        return plans[: self.total - 1]

    def whole(self) -> Episode:
        """Read all of it."""
        first, *others = self.frames()
        numbers = self.actions(), self.rewards(), self.states()
        return Episode(first, *numbers, self.text(), tuple(others), self.geometry(range(self.total)))

    def digest(self) -> str:
        """Return 12 hex digits of the first camera's frames as they lie in the file; of a video's, of some of them."""
        places = np.linspace(0, self.total - 1, min(DIGESTED, self.total)).astype(int).tolist()
        plain = replace(self, form=replace(self.form, turn=0, flip=None))
        frames = plain.frames(places if self.arrays.coded else None)[0]
        return sha256(str((self.total, *frames.shape[1:])).encode() + frames.tobytes()).hexdigest()[:12]


def read_beside(file: Path, form: Form) -> str:
    """What is to be done, out of a file of JSON beside an episode's.

    Raises:
        ValueError: the file is missing or broken, or has no such entry; names it.
    """
    beside, (key, *_) = file.parent / str(form.beside).format(name=file.stem), [*form.names("text"), ""]
    try:
        said = json.loads(beside.read_text())[key]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{beside} doesn't say what is to be done under {key!r} ({type(error).__name__}); see task.form.beside"
        ) from None
    return str(said[0] if isinstance(said, list) and said else said)


@contextmanager
def open_recording(file: Path, form: Form, at: str | int | None = None) -> Iterator[Recording]:
    """Open an episode.

    Args:
        file: an ``.npz``, an HDF5 file, a video, a folder of pictures or a LeRobot folder.
        form: which of its arrays is what.
        at: where it is in a file of several.

    Raises:
        ValueError: no such file, a damaged one, or one without what the form names; doesn't name the row.
    """
    if not file.exists():
        raise ValueError(f"episode {file} does not exist; correct its path in the index")
    with open_arrays(file, at) as arrays:
        yield Recording(str(file) if at is None else f"{file}:{at}", arrays, form)


def open_arrays(file: Path, at: str | int | None) -> AbstractContextManager[Arrays]:
    """Open what a file holds, by its name's ending.

    Raises:
        ValueError: another ending.
    """
    kind = file.suffix.lower()
    if file.is_dir():
        return open_numbered(file, at) if at is not None or is_numbered(file) else nullcontext(open_pictures(file))
    if kind in HDF5:
        return open_group(file, None if at is None else str(at))
    if kind in VIDEOS:
        return nullcontext(Video(file))
    if kind == ".npz":
        return nullcontext(open_archive(file))
    raise ValueError(
        f"{file} holds no episode; it must end in .npz, {', '.join((*HDF5, *VIDEOS))}, or be a folder of pictures or "
        "of LeRobot's"
    )


def read_episode(file: Path, form: Form, at: str | int | None = None) -> Episode:
    """Read all of an episode.

    Raises:
        ValueError: as :func:`open_recording`, or arrays that make no episode.
    """
    with open_recording(file, form, at) as recording:
        return recording.whole()


def digest_episode(file: Path, form: Form, at: str | int | None = None) -> str:
    """Return 12 hex digits of an episode's frames, whatever file they are in; remembered while the file stays.

    Raises:
        ValueError: as :func:`read_episode`.
    """
    changed = file.stat().st_mtime_ns if file.exists() else 0
    return _digest(file, tuple(form.names("frames")), at, changed)


@lru_cache(maxsize=1 << 16)
def _digest(file: Path, cameras: tuple[str, ...], at: str | int | None, _changed: int) -> str:
    with open_recording(file, Form({"frames": cameras or None}), at) as recording:
        return recording.digest()
