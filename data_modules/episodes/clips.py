"""Clips: windows of episodes, of one length and stride; the episodes are named by an index, their files opened late."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_modules.episodes.episode import Episode, Form, digest_frames, read_episode
from data_modules.episodes.video import enlarge
from data_modules.files.sources import Source, open_source

SHOWN = 128
"""Pixels: smaller frames are shown larger."""


@dataclass(frozen=True)
class Window:
    """Which frames of an episode are a clip.

    Attributes:
        length: frames of a clip.
        step: frames of the episode from one to the next; their actions and rewards are one after the other.
        hop: frames between the first ones of neighbouring clips.
        moving: in a clip some frame differs from the first by more than a tenth in at least this share of the pixels;
            still clips are left out. Reads every episode at the start; 0 takes all clips and reads none.

    Raises:
        ValueError: one out of its range.
    """

    length: int
    step: int = 1
    hop: int = 1
    moving: float = 0.0

    def __post_init__(self) -> None:
        if self.length < 2 or self.step < 1 or self.hop < 1 or not 0 <= self.moving < 1:
            raise ValueError(
                f"task.window has length={self.length} (2 or more), step={self.step}, hop={self.hop} (1 or more) and "
                f"moving={self.moving} (0 to 1)"
            )

    @property
    def span(self) -> int:
        """Frames of an episode from the first to the last of a clip."""
        return (self.length - 1) * self.step + 1


@dataclass(frozen=True)
class Clip:
    """A sample.

    Attributes:
        where: ``index:line@first``.
        file: of the episode.
        first: its first frame.
        window: which frames follow.
        form: of the file.
        total: frames of the episode.
        group: what reports count it under.
        meta: the row's other columns.
    """

    where: str
    file: Path
    first: int
    window: Window
    form: Form
    total: int
    group: str
    meta: Mapping[str, Any] = field(default_factory=dict)

    def read(self) -> Episode:
        """Read its frames, and the actions and rewards between them: those of a step's frames one after the other.

        With a step of k an action is k actions of the episode, and a reward the sum of k.

        Raises:
            ValueError: the file can't be read, or isn't as long as the index says; names the row.
        """
        try:
            episode = read_episode(self.file, self.form)
        except ValueError as error:
            raise ValueError(f"{self.where}: {error}") from None
        if len(episode.frames_THWC) != self.total:
            raise ValueError(
                f"{self.where}: {self.file} has {len(episode.frames_THWC)} frames, not {self.total} as the index says"
            )
        return cut(episode, self.first, self.window)


def cut(episode: Episode, first: int, window: Window) -> Episode:
    """Cut a clip out of an episode."""
    steps = slice(first, first + window.span - 1)
    actions, rewards = episode.actions_SA, episode.rewards_S
    return Episode(
        episode.frames_THWC[first : first + window.span : window.step],
        None if actions is None else actions[steps].reshape(window.length - 1, -1),
        None if rewards is None else rewards[steps].reshape(window.length - 1, -1).sum(1),
    )


class Clips:
    """The clips of an index: what :class:`mirage_pl.engine.seams.Rows` asks for.

    Args:
        source: the index.
        window: which frames are a clip.
        form: of the files.

    Raises:
        ValueError: a bad row, or no clip at all.
    """

    def __init__(self, source: Source, window: Window, form: Form) -> None:
        self.source, self.window, self.form = source, window, form
        self.places = [(row, first) for row in range(len(source)) for first in self.list_firsts(row)]
        if not self.places:
            raise ValueError(f"{source}: every clip is still; lower task.window.moving={window.moving}")

    def list_firsts(self, row: int) -> list[int]:
        """The first frames of an episode's clips."""
        clip = parse_row(self.source, row, self.window, self.form)
        firsts = list(range(0, clip.total - self.window.span + 1, self.window.hop))
        if not self.window.moving:
            return firsts
        episode = Clip(clip.where, clip.file, 0, Window(clip.total), self.form, clip.total, clip.group).read()
        return [first for first in firsts if share_moved(cut(episode, first, self.window)) >= self.window.moving]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Clip:
        row, first = self.places[index]
        return parse_row(self.source, row, self.window, self.form, first)

    def identity(self, sample: Clip) -> str:
        """Tell episodes apart by their frames, so that all clips of one stay in one split."""
        try:
            return digest_frames(sample.file, str(sample.form.keys["frames"]))
        except ValueError as error:
            raise ValueError(f"{sample.where}: {error}") from None

    def identities(self) -> Mapping[str, str]:
        """Identity -> where, of the first clip of each episode."""
        rows = {row: index for index, (row, _) in reversed(list(enumerate(self.places)))}
        clips = [self[index] for index in rows.values()]
        return {self.identity(clip): clip.where for clip in reversed(clips)}

    def facts(self, sample: Clip) -> Mapping[str, str | float]:
        """What ``python -m mirage_pl.data`` counts."""
        return {"group": sample.group, "frames of the episode": sample.total}

    def caption(self, sample: Clip) -> str:
        """What stands beside a clip's picture: where it is from, what is done, what it brings."""
        clip, last = sample.read(), sample.first + sample.window.span - 1
        lines = [f"{sample.group}, frames {sample.first} to {last} of {sample.total}"]
        if clip.actions_SA is not None:
            lines.append("actions " + ", ".join(" ".join(f"{x:.2g}" for x in action) for action in clip.actions_SA))
        if clip.rewards_S is not None:
            lines.append("rewards " + " ".join(f"{reward:.2g}" for reward in clip.rewards_S))
        return "\n".join(lines)

    def picture(self, sample: Clip) -> list[Image.Image]:
        """A clip's frames."""
        return [Image.fromarray(frame) for frame in enlarge(sample.read().frames_THWC, SHOWN)]


def share_moved(clip: Episode) -> float:
    """Largest share of pixels that differ from the first frame's by more than a tenth in any frame."""
    frames = clip.frames_THWC.astype(np.int16)
    moved_THW = (np.abs(frames[1:] - frames[:1]) > 25).any(-1)
    return float(moved_THW.mean((1, 2)).max())


def parse_row(source: Source, row: int, window: Window, form: Form, first: int = 0) -> Clip:
    """Turn a row of an index into a clip.

    Raises:
        ValueError: it is none; names it.
    """
    values, where = dict(source[row]), source.where(row)
    file, total = values.pop("episode", None), values.pop("length", None)
    if not isinstance(file, str) or not isinstance(total, int) or total < 1:
        raise ValueError(f'{where}: no episode; a row is {{"episode": "episodes/0007.npz", "length": 25, …}}')
    if total < window.span:
        raise ValueError(
            f"{where}: {file} has {total} frames, a clip needs {window.span}; lower task.window.length or step, or "
            "leave the row out"
        )
    group = str(values.pop("group", "all"))
    return Clip(f"{where}@{first}", source.folder(row) / file, first, window, form, total, group, values)


class Episodes:
    """``task.dataset``: reads indices and lists what is wrong with them and with the episodes that they name.

    Args:
        window: options of :class:`Window`.
        form: options of :class:`Form`.
    """

    def __init__(self, window: Mapping[str, Any], form: Mapping[str, Any]) -> None:
        self.window, self.form = Window(**window), Form(**form)

    def read(self, file: str) -> Clips:
        """Read an index.

        Raises:
            ValueError: a bad row; names it.
        """
        return Clips(open_source(file), self.window, self.form)

    def problems(self, file: str, problem: Callable[[Clip], str | None] = lambda sample: None) -> Iterator[str]:
        """Yield what is wrong with each bad row: with its file, its length, or what all episodes must have alike."""
        source, first = open_source(file), dict[str, Any]()
        for row in range(len(source)):
            try:
                clip = parse_row(source, row, self.window, self.form)
                if reason := find_difference(clip.read(), first) or problem(clip):
                    yield f"{clip.where}: {reason}"
            except ValueError as error:
                yield str(error)


def find_difference(clip: Episode, first: dict[str, Any]) -> str | None:
    """Say how a clip differs from the first one in what all must have alike; remember the first one's."""
    width = 0 if clip.actions_SA is None else clip.actions_SA.shape[1]
    sizes = {"frames of size": clip.frames_THWC.shape[1:3], "actions of width": width}
    first.update({name: size for name, size in sizes.items() if name not in first})
    wrong = [
        f"{name} {size}, but {first[name]} in the first episode" for name, size in sizes.items() if size != first[name]
    ]
    return "; ".join(wrong) or None
