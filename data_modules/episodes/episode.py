"""Episode files: ``.npz`` of frames, actions and rewards, in the forms that are published.

Shapes: T frames of H x W pixels, S = T - 1 steps between them, A numbers of an action.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

KINDS = ("frames", "actions", "rewards")


@dataclass(frozen=True)
class Episode:
    """What an episode's file holds.

    Attributes:
        frames_THWC: uint8.
        actions_SA: the action that leads from frame t to t + 1; ``None``: not recorded.
        rewards_S: the reward on arriving at frame t + 1; ``None``: not recorded.
    """

    frames_THWC: NDArray[np.uint8]
    actions_SA: NDArray[np.float32] | None
    rewards_S: NDArray[np.float32] | None


@dataclass(frozen=True)
class Form:
    """How files hold an episode.

    Attributes:
        keys: which array of a file is ``frames``, ``actions`` and ``rewards``; ``null``: none. Frames are
            ``[T, H, W, 3]``, or stacked, ``[T, 3 k, H, W]`` with the newest last.
        rows: a file with a row of actions and rewards for each frame, not for each step: whether a frame's row belongs
            to the step ``after`` it, or to the one ``before``, which led to it, as in replay buffers.
    """

    keys: Mapping[str, str | None] = field(default_factory=lambda: dict(zip(KINDS, KINDS, strict=True)))
    rows: Literal["after", "before"] = "after"

    def __post_init__(self) -> None:
        if unknown := self.keys.keys() - set(KINDS):
            raise ValueError(f"task.form.keys has unknown {sorted(unknown)}; they are {', '.join(KINDS)}")
        if self.rows not in ("after", "before"):
            raise ValueError(f"task.form.rows={self.rows} is unknown; choose after or before")
        if not self.keys.get("frames"):
            raise ValueError("task.form.keys.frames must name the array of frames")


def read_episode(file: Path, form: Form) -> Episode:
    """Read an episode.

    Raises:
        ValueError: no such file, a damaged one, or one without what the form names; doesn't name the row.
    """
    arrays = {kind: array for kind, array in read_arrays(file, form).items() if array is not None}
    frames_THWC = read_frames(arrays["frames"], file)
    steps = {kind: read_steps(arrays[kind], kind, len(frames_THWC), form, file) for kind in KINDS[1:] if kind in arrays}
    rewards = steps.get("rewards")
    if rewards is not None and rewards.shape[1] != 1:
        raise ValueError(f"{file}: rewards must be one number a row, got {rewards.shape[1]}")
    return Episode(frames_THWC, steps.get("actions"), None if rewards is None else rewards[:, 0])


def read_arrays(file: Path, form: Form) -> dict[str, Any]:
    """Read the arrays that a form names."""
    if not file.is_file():
        raise ValueError(f"episode {file} does not exist; correct its path in the index")
    try:
        with np.load(file, allow_pickle=False) as archive:
            if missing := [key for key in form.keys.values() if key and key not in archive]:
                raise ValueError(
                    f"{file} has no {' and no '.join(missing)}, but {', '.join(archive.files)}; set task.form.keys"
                )
            return {kind: archive[key] for kind, key in form.keys.items() if key}
    except (BadZipFile, OSError, EOFError, AttributeError, TypeError) as error:
        raise ValueError(f"{file} is no whole .npz file ({type(error).__name__}); copy or make it again") from None


def read_frames(frames: Any, file: Path) -> NDArray[np.uint8]:
    """Return frames as ``[T, H, W, 3]`` in uint8.

    Raises:
        ValueError: they have another shape, or values that no pixel has.
    """
    stacked = frames.ndim == 4 and frames.shape[3] != 3 and frames.shape[1] % 3 == 0 and frames.shape[1] > 0
    if stacked:
        frames = frames[:, -3:].transpose(0, 2, 3, 1)
    if frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
        raise ValueError(f"{file}: frames of shape {frames.shape}; expected [T, H, W, 3], or [T, 3 k, H, W] stacked")
    if frames.dtype != np.uint8:
        if frames.dtype.kind not in "iu" or frames.min() < 0 or frames.max() > 255:
            raise ValueError(f"{file}: frames must be whole numbers 0 to 255; these are {frames.dtype}")
        frames = frames.astype(np.uint8)
    return np.ascontiguousarray(frames)


def read_steps(numbers: Any, kind: str, num_frames: int, form: Form, file: Path) -> NDArray[np.float32]:
    """Return a row of numbers for each step.

    Raises:
        ValueError: another number of rows, or numbers that aren't finite.
    """
    if numbers.ndim not in (1, 2) or len(numbers) not in (num_frames, num_frames - 1):
        raise ValueError(
            f"{file}: {kind} of shape {numbers.shape}, but {num_frames} frames; expected a row for each step, "
            f"{num_frames - 1}, or for each frame"
        )
    rows_SA = numbers.reshape(len(numbers), -1).astype(np.float32)
    if len(rows_SA) == num_frames:
        rows_SA = rows_SA[1:] if form.rows == "before" else rows_SA[:-1]
    if bad := np.flatnonzero(~np.isfinite(rows_SA).all(1)).tolist():
        raise ValueError(f"{file}: {kind} of step {bad[0]} aren't finite numbers; correct or leave out the episode")
    return rows_SA


@lru_cache(maxsize=1 << 16)
def digest_frames(file: Path, key: str) -> str:
    """Return 12 hex digits of an episode's frames, whatever file they are in."""
    frames = read_frames(read_arrays(file, Form({"frames": key}))["frames"], file)
    return sha256(str(frames.shape).encode() + frames.tobytes()).hexdigest()[:12]


def write_episode(file: Path, episode: Episode) -> None:
    """Write an episode, with a row of actions and rewards for each step."""
    file.parent.mkdir(parents=True, exist_ok=True)
    steps = {"actions": episode.actions_SA, "rewards": episode.rewards_S}
    arrays: dict[str, Any] = {kind: array for kind, array in steps.items() if array is not None}
    np.savez_compressed(file, frames=episode.frames_THWC, **arrays)
