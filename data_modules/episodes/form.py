"""How files hold episodes: which of their arrays is what, and how these become ours.

Shapes: T frames of H x W pixels, S = T - 1 steps between them, A numbers of an action.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from data_modules.episodes.episode import Frames, Numbers
from data_modules.episodes.geometry import GeometryForm, read_options

SPACE = ("depth", "poses", "intrinsics", "normals")
"""What a file may say of the space that it shows; any file may lack these."""
KINDS = ("frames", "actions", "rewards", "states", "text", "plans", *SPACE)
OPTIONAL = ("states", "text", "plans")
"""What our own files may lack."""


@dataclass(frozen=True)
class Form:
    """How files hold an episode.

    Attributes:
        keys: which array of a file is ``frames``, ``actions``, ``rewards``, ``states``, ``text`` and ``plans`` (one for
            each frame), and ``depth``, ``poses``, ``intrinsics`` and ``normals`` of the first camera; ``null``: none. A
            list of frames are cameras; a list of numbers are put beside each other. ``frames: null`` is the first
            camera of a file that says which arrays are cameras.
        optional: kinds that a file may lack; ``frames``: it may have no camera, but has those that are named.
        rows: a file with a row of actions and rewards for each frame, not for each step: whether a frame's row belongs
            to the step ``after`` it, or to the one ``before``, which led to it, as in replay buffers.
        clip: actions are clipped to -clip … clip; ``None``: they aren't.
        width: actions with fewer numbers get zeros, those with more are cut; ``None``: they stay.
        turn: degrees by which frames are turned, counter-clockwise.
        flip: which way they are mirrored then: ``vertical`` (upside down) or ``horizontal``.
        bgr: frames lie with blue first.
        beside: a file of JSON beside the episode's, ``../instructions/{name}.json``; its entry ``keys.text`` says what
            is to be done, or lists ways to say it, of which the first counts; ``None``: the episode's file says it.
        geometry: options of :class:`data_modules.episodes.geometry.GeometryForm`.

    Raises:
        ValueError: an option that there isn't; names it.
    """

    keys: Mapping[str, str | Sequence[str] | None] = field(default_factory=lambda: dict(zip(KINDS, KINDS, strict=True)))
    optional: Sequence[str] = OPTIONAL
    rows: Literal["after", "before"] = "after"
    clip: float | None = None
    width: int | None = None
    turn: Literal[0, 90, 180, 270] = 0
    flip: Literal["vertical", "horizontal"] | None = None
    bgr: bool = False
    beside: str | None = None
    geometry: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if unknown := self.keys.keys() - set(KINDS):
            raise ValueError(f"task.form.keys has unknown {sorted(unknown)}; they are {', '.join(KINDS)}")
        if wrong := [kind for kind in self.optional if kind not in KINDS]:
            raise ValueError(f"task.form.optional has {wrong}; a file may lack {', '.join(KINDS)}")
        for kind, key in self.keys.items():
            if any(not isinstance(name, str) or not name for name in list_names(key)):
                raise ValueError(
                    f"task.form.keys.{kind}={key!r} must be the name of an array, a list of names, or null"
                )
        for name, value, choices in (
            ("rows", self.rows, ("after", "before")),
            ("turn", self.turn, (0, 90, 180, 270)),
            ("flip", self.flip, (None, "vertical", "horizontal")),
        ):
            if value not in choices:
                raise ValueError(f"task.form.{name}={value} is unknown; choose from {', '.join(map(str, choices))}")
        if (self.clip is not None and not self.clip > 0) or (self.width is not None and self.width < 1):
            raise ValueError(
                f"task.form has clip={self.clip}, above 0 or null, and width={self.width}, 1 or more or null"
            )

        read_options(self.geometry)

    @property
    def space(self) -> GeometryForm:
        """What a file means by its depth and poses."""
        return read_options(self.geometry)

    def names(self, kind: str) -> list[str]:
        """Names of the arrays of a kind, as files have them."""
        return list_names(self.keys.get(kind))


def list_names(key: str | Sequence[str] | None) -> list[str]:
    """A key as a list of names; none of ``None``."""
    names: Any = key if isinstance(key, list | tuple) else [] if key is None else [key]
    return list(names)


def as_plain(options: Any) -> Any:
    """A config's mappings and lists as plain ones."""
    if isinstance(options, Mapping):
        return {str(key): as_plain(value) for key, value in options.items()}
    if isinstance(options, Sequence) and not isinstance(options, str):
        return [as_plain(value) for value in options]
    return options


def arrange_frames(frames: Any, form: Form, name: str) -> Frames:
    """Return frames as ``[T, H, W, 3]`` in uint8, turned and mirrored as the form says.

    Args:
        frames: ``[T, H, W, 3]``, or stacked, ``[T, 3 k, H, W]`` with the newest last.
        form: of the file.
        name: of the file, for errors.

    Raises:
        ValueError: they have another shape, or values that no pixel has.
    """
    if frames.ndim == 4 and frames.shape[3] in (1, 2, 4):
        channels = frames.shape[3]
        raise ValueError(f"{name}: frames of shape {frames.shape} have {channels} channel(s); write them as RGB, 3")
    stacked = frames.ndim == 4 and frames.shape[3] != 3 and frames.shape[1] % 3 == 0 and frames.shape[1] > 0
    if stacked:
        frames = frames[:, -3:].transpose(0, 2, 3, 1)
    if frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
        raise ValueError(f"{name}: frames of shape {frames.shape}; expected [T, H, W, 3], or [T, 3 k, H, W] stacked")
    if frames.dtype != np.uint8:
        if frames.dtype.kind not in "iu" or frames.min() < 0 or frames.max() > 255:
            raise ValueError(f"{name}: frames must be whole numbers 0 to 255; these are {frames.dtype}")
        frames = frames.astype(np.uint8)
    frames = np.rot90(frames[..., ::-1] if form.bgr else frames, form.turn // 90, (1, 2))
    mirrored = {None: frames, "vertical": frames[:, ::-1], "horizontal": frames[:, :, ::-1]}[form.flip]
    return np.ascontiguousarray(mirrored)


def arrange_steps(numbers: Any, kind: str, num_frames: int, form: Form, name: str) -> Numbers:
    """Return a row of numbers for each step, ``[S, A]``; where there is one for each frame, those that the form says.

    Args:
        numbers: ``[rows]`` or ``[rows, A]``.
        kind: what they are, for errors.
        num_frames: of the episode.
        form: of the file.
        name: of the file, for errors.

    Raises:
        ValueError: another number of rows, or numbers that aren't finite.
    """
    if numbers.ndim not in (1, 2) or len(numbers) not in (num_frames, num_frames - 1):
        raise ValueError(
            f"{name}: {kind} of shape {numbers.shape}, but {num_frames} frames; expected a row for each step, "
            f"{num_frames - 1}, or for each frame"
        )
    if len(numbers) == num_frames:
        numbers = numbers[:-1] if form.rows == "after" else numbers[1:]
    return as_numbers(numbers, f"{kind} of step", name)


def arrange_states(numbers: Any, num_frames: int, name: str) -> Numbers:
    """Return states, a row for each frame.

    Raises:
        ValueError: as :func:`arrange_steps`.
    """
    if numbers.ndim not in (1, 2) or len(numbers) != num_frames:
        raise ValueError(f"{name}: states of shape {numbers.shape}; expected a row for each of {num_frames} frames")
    return as_numbers(numbers, "states of frame", name)


def as_numbers(numbers: Any, kind: str, name: str) -> Numbers:
    """Return rows of finite numbers, whatever their type."""
    if numbers.dtype.kind not in "iufb":
        raise ValueError(f"{name}: {kind.split()[0]} must be numbers; these are {numbers.dtype}")
    rows: Numbers = numbers.reshape(len(numbers), math.prod(numbers.shape[1:])).astype(np.float32)
    if bad := np.flatnonzero(~np.isfinite(rows).all(1)).tolist():
        raise ValueError(f"{name}: {kind} {bad[0]} aren't finite numbers; correct or leave out the episode")
    return rows


def arrange_actions(actions: Any, num_frames: int, form: Form, name: str) -> Numbers:
    """Return actions as ``[S, A]``, clipped and of the width that the form says.

    Raises:
        ValueError: as :func:`arrange_steps`.
    """
    actions_SA = arrange_steps(actions, "actions", num_frames, form, name)
    if form.clip is not None:
        actions_SA = actions_SA.clip(-form.clip, form.clip)
    if form.width is not None:
        missing = max(0, form.width - actions_SA.shape[1])
        actions_SA = np.pad(actions_SA, ((0, 0), (0, missing)))[:, : form.width]
    return actions_SA
