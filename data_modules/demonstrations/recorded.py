"""Demonstrations out of files of episodes, as ``task.form`` says: LeRobot, HDF5, ``.npz``. Shapes: ``steps``."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_modules.demonstrations.annotations import Annotations, find_number
from data_modules.demonstrations.demonstration import Demonstration
from data_modules.demonstrations.drawing import draw_numbers
from data_modules.demonstrations.index import WITHOUT, Numbering
from data_modules.demonstrations.steps import Step, Steps, list_places
from data_modules.episodes.entry import Entry, naming, open_checked, parse_entry
from data_modules.episodes.episode import Frames
from data_modules.episodes.form import Form, as_plain
from data_modules.episodes.listing import open_episodes, write_index
from data_modules.files.sources import Concatenated, Source


@dataclass(frozen=True)
class Recorded:
    """An episode that was read.

    Attributes:
        numbers: its states and actions.
        text: what was to be done.
        plans: at each step what was to be done next; ``None``: nobody says.
        views: cameras.
    """

    numbers: Demonstration
    text: str
    plans: Sequence[str] | None
    views: int


@dataclass(frozen=True, kw_only=True)
class RecordedStep(Step):
    """A step of an episode in a file.

    Attributes:
        entry: the episode.
        form: of its file.
        views: cameras.
        stride: steps from one action of a chunk to the next.
    """

    entry: Entry
    form: Form
    views: int

    stride: int

    @property
    def episode(self) -> str:
        """What tells its episode from others; a file may hold several."""
        return f"{self.file} {self.entry.where}"

    @property
    def after(self) -> int:
        """The state after the chunk, which may lie behind the episode's end."""
        return self.at + len(self.actions_HA) * self.stride

    def look_at(self, states: Sequence[int] | None) -> Sequence[Sequence[Frames]]:
        """What each camera sees at some states of its episode, see :meth:`Step.look_at`."""
        last = self.entry.total - 1
        places = [min(at, last) for at in (range(last + 1) if states is None else states)]
        with naming(self.entry), open_checked(self.entry, self.form) as recording:
            cameras = list(recording.frames(places))
        return [tuple(frames[place] for frames in cameras) for place in range(len(places))]


class RecordedSteps(Steps):
    """The steps of episodes.

    Args:
        source: names the episodes.
        form: of their files.
        chunk: steps of a chunk.
        hop: steps between neighbouring samples.
        stride: steps from one action of a chunk to the next; of so many steps the last one's action counts, so it's for
            actions that say where to be, not how far to go.
        numbers: of states and actions.
        check: of more episodes identities aren't compared.
        annotations: say plans; ``None``: the files do.

    Raises:
        ValueError: a bad row; names it.
    """

    def __init__(
        self,
        source: Source,
        form: Form,
        chunk: int,
        hop: int,
        stride: int,
        numbers: Numbering,
        check: int,
        annotations: Annotations | None,
    ) -> None:
        self.source, self.form, self.chunk, self.stride = source, form, chunk, stride
        self.numbers, self.check, self.annotations = numbers, check, annotations
        self.entries = [parse_entry(source, row) for row in range(len(source))]
        self.places = [(row, at) for row, each in enumerate(self.entries) for at in range(0, each.total - stride, hop)]
        self.read = dict[int, Recorded]()
        self.numbered = {entry.where: row for row, entry in enumerate(self.entries)}
        if not self.places:
            fix = "lower task.stride" if stride > 1 else "a step is between two"
            raise ValueError(f"{source}: no episode has {stride + 1} frames or more; {fix}")

    def cut(self, row: int, at: int) -> RecordedStep:
        """Cut a step out of an episode.

        Raises:
            ValueError: its file can't be read, or isn't as the index, ``task.form`` and ``task.numbers`` say.
        """
        entry, recorded = self.entries[row], self.recall(row)
        actions_PA = recorded.numbers.actions_PA
        first, total = at + self.stride - 1, len(actions_PA)
        return RecordedStep(
            where=f"{entry.where}@{at}",
            instruction=recorded.text,
            state_S=recorded.numbers.states_TS[at] if self.numbers.state else None,
            actions_HA=actions_PA[list_places(first, self.chunk, self.stride, total)],
            real=min(self.chunk, -(-(total - first) // self.stride)),
            group=entry.group,
            file=entry.file,
            at=at,
            plan=None if recorded.plans is None else recorded.plans[at],
            meta=entry.meta,
            entry=entry,
            form=self.form,
            views=recorded.views,
            stride=self.stride,
        )

    def recall(self, row: int) -> Recorded:
        """Read an episode, once."""
        if row not in self.read:
            self.read[row] = read_recorded(self.entries[row], self.form, self.numbers, self.annotations)
        return self.read[row]

    def open(self, row: int) -> Demonstration:
        """The numbers of an episode."""
        return self.recall(row).numbers

    def row_of(self, sample: Step) -> int:
        """The episode of a step."""
        return self.numbered[sample.where.rpartition("@")[0]]

    def identity(self, sample: Step) -> str:
        """Tell episodes apart by their numbers, so that all steps of one stay in one split."""
        return self.open(self.row_of(sample)).digest

    def identities(self) -> Mapping[str, str]:
        """Identity -> where, of the first step of each episode; nothing where more than ``check`` must be read."""
        if len(self.entries) > self.check:
            return {}
        rows = reversed(range(len(self.entries)))
        return {self.open(row).digest: f"{self.entries[row].where}@0" for row in rows}

    def picture(self, sample: Step) -> Image.Image:
        """What its cameras see, beside each other; without cameras the numbers of its state, over the episode."""
        assert isinstance(sample, RecordedStep)
        if not (frames := sample.look()):
            return draw_numbers(self.open(self.row_of(sample)), sample.at)
        height = max(len(frame) for frame in frames)
        fitted = [np.pad(frame, ((0, height - len(frame)), (0, 0), (0, 0))) for frame in frames]
        return Image.fromarray(np.concatenate(fitted, 1))


def read_recorded(entry: Entry, form: Form, numbers: Numbering, annotations: Annotations | None) -> Recorded:
    """Read an episode but for its frames.

    Raises:
        ValueError: it can't be read, lacks what a policy learns from, or isn't as ``task.numbers`` says; names the row.
    """
    with naming(entry), open_checked(entry, form) as recording:
        if recording.total < 2:
            raise ValueError(f"{recording.name} has 1 frame; a step is between two, so leave the episode out")
        states = recording.states() if numbers.state else np.zeros((recording.total, 0), np.float32)
        actions, text = recording.actions(), entry.text or recording.text()
        there, there_are = {"states": states, "actions": actions}, ", ".join(recording.arrays.keys())
        if missing := [kind for kind, array in there.items() if array is None]:
            fix = f"set task.form.keys.{missing[0]}" + (f", or {WITHOUT}" if missing[0] == "states" else "")
            raise ValueError(f"{recording.name} has no {missing[0]}, but {there_are}; {fix}")
        assert states is not None
        assert actions is not None
        if not text or not text.strip():
            raise ValueError(
                f"{recording.name} doesn't say what is to be done; set task.form.keys.text, or write text into an index"
            )
        for kind, array, wanted in (("state", states, numbers.state), ("action", actions, numbers.action)):
            if array.shape[1] != wanted:
                raise ValueError(
                    f"{recording.name} has {kind}s of {array.shape[1]} numbers, not of {wanted} as task.numbers.{kind} "
                    "says"
                )
        plans = recording.plans()
        if annotations:
            plans = annotations.list_plans(find_number(entry.file.stem if entry.at is None else entry.at), len(actions))
        return Recorded(Demonstration(states, actions), text, plans, len(recording.cameras))


class RecordedDemonstrations:
    """``task.steps`` of episodes: reads what names them, and lists what is wrong with them.

    Args:
        form: options of :class:`data_modules.episodes.form.Form`; an episode may lack cameras.
        chunk: steps of a chunk of actions.
        hop: steps between neighbouring samples.
        stride: see :class:`RecordedSteps`.
        numbers: options of :class:`data_modules.demonstrations.steps.Numbering`.
        check: see :class:`RecordedSteps`.
        annotations: options of :class:`data_modules.demonstrations.annotations.Annotations`; without a file there are
            none.

    Attributes:
        suffix: of the files that :meth:`copy_rows` writes.
    """

    suffix = ".jsonl"

    def __init__(
        self,
        form: Mapping[str, Any],
        chunk: int,
        hop: int,
        stride: int,
        numbers: Mapping[str, int | None],
        check: int,
        annotations: Mapping[str, Any],
    ) -> None:
        if min(chunk, hop, stride) < 1:
            raise ValueError(f"task.chunk={chunk}, task.hop={hop} and task.stride={stride} must be 1 step or more")
        if unknown := [kind for kind in ("state", "action") if not isinstance(numbers.get(kind), int)]:
            raise ValueError(
                f"task.numbers.{unknown[0]}={numbers.get(unknown[0])}: say how many numbers states and actions have: "
                "task.numbers={state: 8, action: 7}; state: 0 where none is read"
            )
        plain = Form(**as_plain(form))
        self.form = replace(plain, optional=[*plain.optional, "frames"])
        self.chunk, self.hop, self.stride, self.check = chunk, hop, stride, check
        self.numbers = Numbering(**as_plain(numbers))
        self.annotations = Annotations(**as_plain(annotations)) if annotations.get("file") else None

    def read(self, file: Any) -> RecordedSteps:
        """Read what names episodes, or a list of such.

        Raises:
            ValueError: a bad row; names it.
        """
        source = self.open(file)
        options = (self.chunk, self.hop, self.stride, self.numbers, self.check, self.annotations)
        return RecordedSteps(source, self.form, *options)

    def open(self, file: Any) -> Source:
        """Open what names episodes, or a list of such."""
        plain = as_plain(file)
        files = plain if isinstance(plain, list) else [plain]
        if wrong := [each for each in files if not isinstance(each, str)]:
            raise ValueError(f"{wrong[0]} names no episodes; give a path or a list of paths: shares are for clips")
        return Concatenated([open_episodes(each, self.form) for each in files])

    def copy_rows(self, file: Path, names: Collection[str], out: Path) -> None:
        """Write some episodes of what names them as an index, see :func:`data_modules.episodes.listing.write_index`."""
        write_index(file, self.form, names, out)

    def problems(self, file: Any) -> Iterator[str]:
        """Yield what is wrong with each bad row, or with its file: its numbers, words and all its frames."""
        try:
            source = self.open(file)
        except ValueError as error:
            yield str(error)
            return
        for row in range(len(source)):
            try:
                entry = parse_entry(source, row)
                read_recorded(entry, self.form, self.numbers, self.annotations)
                with naming(entry), open_checked(entry, self.form) as recording:
                    recording.frames()
            except ValueError as error:
                yield str(error)
