"""Which frames of an episode are a clip, and the actions and rewards between them."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from data_modules.episodes.episode import Episode, Frames, Numbers
from data_modules.episodes.recording import Recording

MOVED = 25
"""Levels of 255 by which a pixel that has moved differs."""


@dataclass(frozen=True)
class Window:
    """Which frames of an episode are a clip.

    Attributes:
        length: frames of a clip.
        step: frames of the episode from one to the next; their actions and rewards are one after the other.
        hop: frames between the first ones of neighbouring clips; in training each starts anywhere up to the next one,
            drawn anew in each epoch. ``None``: one clip an episode, in training from anywhere.
        align: and in training each starts a multiple of so many frames after that.
        moving: in a clip some frame differs from the first by more than a tenth in at least this share of the pixels;
            still clips are left out. Reads every episode at the start; 0 takes all clips and reads none.
        order: ``plain``; ``goal``: the last frame stands in front as well, without actions; ``shuffle``: frames drawn
            out of the horizon, in any order, without actions, in training anew in each epoch.
        horizon: frames of the episode out of which ``shuffle`` draws; ``None``: as many as a plain clip spans.
        short: what becomes of an episode that is shorter than a clip: ``refuse``, ``leave_out``, or ``repeat`` its last
            frame and action.

    Raises:
        ValueError: one out of its range.
    """

    length: int
    step: int = 1
    hop: int | None = 1
    align: int = 1
    moving: float = 0.0
    order: Literal["plain", "goal", "shuffle"] = "plain"
    horizon: int | None = None
    short: Literal["refuse", "leave_out", "repeat"] = "refuse"

    def __post_init__(self) -> None:
        hop = 1 if self.hop is None else self.hop
        if self.length < 2 or min(self.step, hop, self.align) < 1 or not 0 <= self.moving < 1:
            raise ValueError(
                f"task.window has length={self.length} (2 or more), step={self.step}, hop={self.hop}, "
                f"align={self.align} (1 or more) and moving={self.moving} (0 to 1)"
            )
        for name, choices in (("order", ("plain", "goal", "shuffle")), ("short", ("refuse", "leave_out", "repeat"))):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"task.window.{name}={getattr(self, name)} is unknown; choose from {', '.join(choices)}"
                )
        if self.order == "goal" and self.length < 3:
            raise ValueError(
                f"task.window.length={self.length} must be 3 or more with order=goal, which is one of them"
            )
        if self.horizon is not None and (self.order != "shuffle" or self.horizon < self.length):
            raise ValueError(
                f"task.window.horizon={self.horizon} must be {self.length} frames or more, and is for order=shuffle"
            )

    @property
    def span(self) -> int:
        """Frames of an episode from the first to the last of a clip."""
        return self.horizon or (self.length - 1 - (self.order == "goal")) * self.step + 1

    def check(self, total: int, name: str) -> None:
        """Refuse an episode that is too short, unless it is repeated or left out.

        Raises:
            ValueError: says so, under the episode's name.
        """
        if total < self.span and self.short == "refuse":
            raise ValueError(
                f"{name} has {total} frames, a clip needs {self.span}; lower task.window.length or step, leave the row "
                "out, or set task.window.short"
            )

    def starts(self, total: int) -> range:
        """The frames from which the clips of an episode start, those that are drawn aside."""
        if total < self.span and self.short == "leave_out":
            return range(0)
        return range(0, max(0, total - self.span) + 1, self.hop or total)

    def choices(self, total: int, first: int) -> range:
        """The frames from which a clip may start in training: up to where the next one starts, or the last of all."""
        last = max(0, total - self.span)
        return range(first, min(first + (self.hop or total), last + 1), self.align)

    def places(self, first: int, total: int, draw: int = 0) -> list[int]:
        """The frames of a clip in their order; beyond the end the last one.

        Args:
            first: frame of the episode.
            total: frames of the episode.
            draw: what ``shuffle`` draws depends on it alone.
        """
        if self.order == "shuffle":
            offsets = np.random.default_rng(draw).permutation(self.span)[: self.length]
        else:
            offsets = np.arange(0, self.span, self.step)
        places: list[int] = (first + offsets).clip(max=total - 1).tolist()
        return [places[-1], *places] if self.order == "goal" else places


def cut(recording: Recording, window: Window, first: int, draw: int, num_frames: int | None) -> Episode:
    """Read a clip.

    Args:
        recording: the episode.
        window: which frames.
        first: the frame it starts from.
        draw: see :meth:`Window.places`.
        num_frames: so many frames are read, the first ones; ``None``: all.
    """
    places = window.places(first, recording.total, draw)
    frames, *others = recording.frames(places[:num_frames])
    states = recording.states()
    known = None if states is None else states[places]
    more = known, recording.text(), tuple(others), recording.geometry(places[:num_frames])
    if window.order != "plain":
        return Episode(frames, None, None, *more)
    actions, rewards = cut_steps(recording, window, first)
    return Episode(frames, actions, rewards, *more)


def cut_steps(recording: Recording, window: Window, first: int) -> tuple[Numbers | None, Numbers | None]:
    """Actions, ``[length - 1, step A]``, and rewards, ``[length - 1]``, between the frames of a plain clip.

    Beyond the end of the episode actions are the last one, and nothing is rewarded.
    """
    steps = first + np.arange(window.span - 1)
    actions, rewards = recording.actions(), recording.rewards()
    if actions is not None:
        there = actions[steps.clip(max=len(actions) - 1)] if len(actions) else np.zeros((len(steps), actions.shape[1]))
        actions = there.astype(np.float32).reshape(window.length - 1, -1)
    if rewards is not None:
        padded = np.pad(rewards, (0, max(0, int(steps[-1]) + 1 - len(rewards))))
        rewards = padded[steps].reshape(window.length - 1, -1).sum(1)
    return actions, rewards


def list_moving(frames_THWC: Frames, window: Window) -> list[int]:
    """The frames from which enough of a clip moves."""
    total, channels = len(frames_THWC), frames_THWC.shape[-1]
    planes_CTP = np.ascontiguousarray(np.moveaxis(frames_THWC.reshape(total, -1, channels), -1, 0))
    offsets = [place for place in window.places(0, total) if place] or [0]
    return [
        first
        for first in range(max(0, total - window.span) + 1)
        if share_moved(planes_CTP, first, [min(first + offset, total - 1) for offset in offsets]) >= window.moving
    ]


def share_moved(planes_CTP: Frames, first: int, others: list[int]) -> float:
    """Largest share of pixels that differ from the first frame's by more than a tenth in any other frame."""
    moved_OP = np.zeros((len(others), planes_CTP.shape[-1]), bool)
    for plane_TP in planes_CTP:  # without a sign, and plane by plane: ten times as fast as over pixels of three numbers
        first_P, others_OP = plane_TP[first], plane_TP[others]
        moved_OP |= np.maximum(others_OP, first_P) - np.minimum(others_OP, first_P) > MOVED
    return max(np.count_nonzero(moved_P) for moved_P in moved_OP) / planes_CTP.shape[-1]
