"""Clips: windows of episodes, of one length and stride; the episodes are named by an index, their files opened late."""

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge
from PIL import Image

from data_modules.episodes.entry import Entry, check_episode, naming, open_checked, parse_entry
from data_modules.episodes.episode import Episode
from data_modules.episodes.form import Form, as_plain
from data_modules.episodes.geometry import shade_depth
from data_modules.episodes.lerobot.layout import Layout
from data_modules.episodes.lerobot.writer import write_folder
from data_modules.episodes.listing import open_episodes, write_index
from data_modules.episodes.normals import shade_normals
from data_modules.episodes.parts import Part, count_clips, list_parts
from data_modules.episodes.recording import digest_episode
from data_modules.episodes.video import enlarge, place_beside
from data_modules.episodes.window import Window, cut, list_moving
from data_modules.files.lines import within
from data_modules.files.sources import Source
from data_modules.loading.draws import stream_seed

SHOWN = 128
"""Pixels: smaller frames are shown larger."""


@dataclass(frozen=True)
class Clip:
    """A sample.

    Attributes:
        entry: the episode.
        first: the frame it starts from.
        window: which frames follow.
        form: of the file.
        drawn: what an order that is drawn depends on; ``None``: on the place alone.
    """

    entry: Entry
    first: int
    window: Window
    form: Form
    drawn: int | None = None

    @property
    def where(self) -> str:
        """``index:line@first``."""
        return f"{self.entry.where}@{self.first}"

    @property
    def group(self) -> str:
        """What reports count it under."""
        return self.entry.group

    def read(self, num_frames: int | None = None) -> Episode:
        """Read its frames, and the actions and rewards between them: those of a step's frames one after the other.

        With a step of k an action is k actions of the episode, and a reward the sum of k.

        Args:
            num_frames: so many frames are read, the first ones; ``None``: all.

        Raises:
            ValueError: the file can't be read, or isn't as long as the index says; names the row.
        """
        entry, place = self.entry, Path(self.where).name  # the same on all machines
        draw = stream_seed(place) if self.drawn is None else self.drawn
        with naming(self), open_checked(entry, self.form) as recording:
            clip = cut(recording, self.window, self.first, draw, num_frames)
        return clip if entry.text is None else replace(clip, text=entry.text)


class ClipRows:
    """What is said of clips, wherever they are from."""

    def identity(self, sample: Clip) -> str:
        """Tell episodes apart by their frames, so that all clips of one stay in one split."""
        with naming(sample):
            entry = sample.entry
            return entry.digest or digest_episode(entry.file, sample.form, entry.at)

    def facts(self, sample: Clip) -> Mapping[str, str | float]:
        """What ``python -m mirage_pl.data`` counts."""
        return {"group": sample.group, "frames of the episode": sample.entry.total}

    def caption(self, sample: Clip) -> str:
        """What stands beside a clip's picture: where it is from, what is done, what it brings."""
        clip, last = sample.read(), sample.first + sample.window.span - 1
        lines = [f"{sample.group}, frames {sample.first} to {last} of {sample.entry.total}"]
        if clip.text is not None:
            lines.append(clip.text)
        if clip.actions_SA is not None:
            lines.append("actions " + ", ".join(" ".join(f"{x:.2g}" for x in action) for action in clip.actions_SA))
        if clip.rewards_S is not None:
            lines.append("rewards " + " ".join(f"{reward:.2g}" for reward in clip.rewards_S))
        return "\n".join(lines)

    def picture(self, sample: Clip) -> list[Image.Image]:
        """A clip's frames; beside each how far away what it shows is and how it is turned, where that is known."""
        clip = sample.read()
        pictures, space = [clip.frames_THWC], clip.geometry
        if space is not None and space.depth_THW is not None:
            pictures.append(shade_depth(space.depth_THW))
        if space is not None and space.normals_THW3 is not None:
            pictures.append(shade_normals(space.normals_THW3))
        return [Image.fromarray(frame) for frame in enlarge(place_beside(pictures), SHOWN)]


class Clips(ClipRows):
    """The clips of an index: what :class:`mirage_pl.engine.seams.Rows` asks for.

    Args:
        source: the index.
        window: which frames are a clip.
        form: of the files.
        check: identities of more episodes aren't computed; those that the index has are known.

    Raises:
        ValueError: a bad row, or no clip at all.
    """

    def __init__(self, source: Source, window: Window, form: Form, check: int = 10_000) -> None:
        self.source, self.window, self.form, self.check = source, window, form, check
        self.moving: dict[int, list[list[int]]] = {}
        self.bounds_N1 = np.cumsum([0, *(self.count_clips(row) for row in range(len(source)))])
        if not len(self):
            raise ValueError(
                f"{source}: every clip is still; lower task.window.moving={window.moving}"
                if window.moving
                else f"{source}: no episode has the {window.span} frames of a clip; lower task.window.length or step"
            )

    def count_clips(self, row: int) -> int:
        """How many clips an episode has."""
        entry, window = parse_entry(self.source, row), self.window
        window.check(entry.total, f"{entry.where}: {entry.file}")
        starts = window.starts(entry.total)
        if not window.moving or not starts:
            return len(starts)
        with naming(entry), open_checked(entry, self.form) as recording:
            moving = set(list_moving(recording.frames()[0], window))
        self.moving[row] = [
            [at for at in window.choices(entry.total, first) if at in moving] for first in starts if first in moving
        ]
        return len(self.moving[row])

    def __len__(self) -> int:
        return int(self.bounds_N1[-1])

    def __getitem__(self, index: int) -> Clip:
        entry, starts = self.find(index)
        return Clip(entry, starts[0], self.window, self.form)

    def draw_sample(self, index: int) -> Clip:
        """Return a clip for training: what is drawn of it depends on Python's random numbers."""
        entry, starts = self.find(index)
        return Clip(entry, random.choice(starts), self.window, self.form, random.getrandbits(32))

    def find(self, index: int) -> tuple[Entry, Sequence[int]]:
        """The episode of a clip, and the frames from which the clip may start: first where it does unless drawn."""
        row = int(np.searchsorted(self.bounds_N1, within(index, self), side="right")) - 1
        entry, number = parse_entry(self.source, row), index - int(self.bounds_N1[row])
        if row in self.moving:
            return entry, self.moving[row][number]
        return entry, self.window.choices(entry.total, self.window.starts(entry.total)[number])

    def identities(self) -> Mapping[str, str]:
        """Identity -> where, of the first clip of each episode; nothing where more than ``check`` must be read."""
        rows = [row for row in range(len(self.source)) if self.bounds_N1[row] < self.bounds_N1[row + 1]]
        clips = [self[int(self.bounds_N1[row])] for row in reversed(rows)]
        if sum(clip.entry.digest is None for clip in clips) > self.check:
            return {}
        return {self.identity(clip): clip.where for clip in clips}


class Mixture(ClipRows):
    """The clips of several indices, of each so many: repeated where it has fewer, in training drawn where it has more.

    Args:
        parts: the indices.
        counts: how many clips of each.
    """

    def __init__(self, parts: Sequence[Clips], counts: Sequence[int]) -> None:
        self.parts = parts
        self.bounds_N1 = np.cumsum([0, *counts])

    def __len__(self) -> int:
        return int(self.bounds_N1[-1])

    def __getitem__(self, index: int) -> Clip:
        part, choices = self.find(index)
        return part[choices[0]]

    def draw_sample(self, index: int) -> Clip:
        """Return a clip for training: of neighbours that share a place one is drawn by Python's random numbers."""
        part, choices = self.find(index)
        return part.draw_sample(random.choice(choices))

    def find(self, index: int) -> tuple[Clips, range]:
        """The part of a clip, and which of its clips it may be."""
        number = int(np.searchsorted(self.bounds_N1, within(index, self), side="right")) - 1
        first, end = self.bounds_N1[number : number + 2].tolist()
        part, count = self.parts[number], end - first
        start = (index - first) * len(part) // count
        return part, range(start, max(start + 1, (index - first + 1) * len(part) // count))

    def identities(self) -> Mapping[str, str]:
        """Identity -> where, of all parts; nothing where one has none."""
        parts = [part.identities() for part in self.parts]
        return {key: where for part in reversed(parts) for key, where in part.items()} if all(parts) else {}


class Episodes:
    """``task.dataset``: reads indices, and lists what is wrong with them and with the episodes that they name.

    Attributes:
        suffix: of the files that :meth:`copy_rows` writes.

    Args:
        window: options of :class:`data_modules.episodes.window.Window`.
        form: options of :class:`data_modules.episodes.form.Form`.
        check: how many episodes are compared by their frames, see :class:`Clips`.
        lerobot: options of :class:`data_modules.episodes.lerobot.layout.Layout`, for :meth:`convert`.
        action_dim: numbers that actions must have, in :meth:`problems`; 0: any.
    """

    suffix = ".jsonl"

    def __init__(
        self,
        window: Mapping[str, Any],
        form: Mapping[str, Any],
        check: int = 10_000,
        lerobot: Mapping[str, Any] | None = None,
        action_dim: Annotated[int, Ge(0)] = 0,
    ) -> None:
        self.window, self.form, self.check = Window(**as_plain(window)), Form(**as_plain(form)), check
        self.layout, self.action_dim = Layout(**as_plain(lerobot or {})), action_dim

    def read(self, file: Any) -> Clips | Mixture:
        """Read what names episodes, or a list of such, with weights or shares.

        Raises:
            ValueError: a bad row; names it.
        """
        parts = list_parts(file, self.window, self.form)
        clips = [Clips(open_episodes(part.file, part.form), part.window, part.form, self.check) for part in parts]
        counts = count_clips(parts, [len(each) for each in clips])
        return clips[0] if counts == [len(clips[0])] else Mixture(clips, counts)

    def problems(self, file: Any, problem: Callable[[Clip], str | None] = lambda sample: None) -> Iterator[str]:
        """Yield what is wrong with each bad row: with its file, its length, or what all episodes must have alike."""
        for part in list_parts(file, self.window, self.form):
            try:
                source = open_episodes(part.file, part.form)
            except ValueError as error:
                yield str(error)
                continue
            alike = dict[str, Any]()
            for row in range(len(source)):
                try:
                    entry = parse_entry(source, row)
                    check_episode(entry, part.window, part.form, alike, self.action_dim)
                    if reason := problem(Clip(entry, 0, part.window, part.form)):
                        yield f"{entry.where}: {reason}"
                except ValueError as error:
                    yield str(error)

    def copy_rows(self, file: Path, names: Collection[str], out: Path) -> None:
        """Write some episodes of what names them as an index, see :func:`data_modules.episodes.listing.write_index`."""
        write_index(file, self.form, names, out)

    def convert(self, file: Any, folder: Path) -> str:
        """Write the whole episodes of what names them as a LeRobot data set; return what was written."""
        parts = list_parts(file, self.window, self.form)
        count = write_folder(folder, self.layout, (pair for part in parts for pair in read_whole(part)))
        return f"{count} episodes as a LeRobot data set {self.layout.version}"


def read_whole(part: Part) -> Iterator[tuple[str, Episode]]:
    """Yield the place and the whole of each episode of a part.

    Raises:
        ValueError: one can't be read; names it.
    """
    source = open_episodes(part.file, part.form)
    for row in range(len(source)):
        entry = parse_entry(source, row)
        with naming(entry), open_checked(entry, part.form) as recording:
            episode = recording.whole()
        yield entry.where, episode if entry.text is None else replace(episode, text=entry.text)
