"""Steps of demonstrations: an instruction, a state, and the actions from there on. S, A numbers; H steps of a chunk."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from data_modules.demonstrations.demonstration import Demonstration, Frames, Numbers, read_demonstration, read_frames
from data_modules.demonstrations.drawing import draw_numbers
from data_modules.demonstrations.index import Numbering, open_row, parse_row
from data_modules.files.sources import Source, open_source
from data_modules.loading.draws import stream_seed

Said = Literal["own", "shuffled"]
"""Whose plan is a step's."""


@dataclass(frozen=True)
class Step:
    """A sample; one that is only to be acted on has no file.

    Attributes:
        where: ``index:line@step``.
        instruction: what is to be done.
        state_S: what is measured; ``None``: nothing is.
        actions_HA: what is done from there on; behind the episode's end the last action again.
        real: so many of them are within the episode.
        group: what reports count it under.
        file: of the episode.
        at: the step.
        plan: what is to be done next, in words; ``None``: nobody says.
        views: cameras; what they saw is in the file: :meth:`look`.
        seen: what they see, [H, W, 3] each, of a step that is only to be acted on, or tampered with.
        meta: the row's other columns.
    """

    where: str
    instruction: str
    state_S: Numbers | None
    actions_HA: Numbers
    real: int
    group: str = "all"
    file: Path | None = None
    at: int = 0
    plan: str | None = None
    views: int = 0
    seen: Sequence[Frames] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def episode(self) -> str:
        """What tells its episode from others."""
        return str(self.file)

    def look(self) -> Sequence[Frames]:
        """What each camera sees, [H, W, 3]; nothing where there is none.

        Raises:
            ValueError: frames can't be read, or aren't as the row says; names it.
        """
        return self.look_at([self.at])[0] if self.seen is None else self.seen

    def look_ahead(self) -> Sequence[Frames]:
        """What each camera sees after the chunk, or at the episode's end, whatever this step has been shown."""
        return self.look_at([self.after])[0]

    @property
    def after(self) -> int:
        """The state after the chunk, which may lie behind the episode's end."""
        return self.at + len(self.actions_HA)

    def look_at(self, states: Sequence[int] | None) -> Sequence[Sequence[Frames]]:
        """What each camera sees at some states of its episode; ``None``: at all; behind the end at the last one.

        Raises:
            ValueError: as :meth:`look`.
        """
        if self.file is None or not self.views:
            return [()] * len(states or ())
        try:
            frames_TVHWC = read_frames(self.file)
        except ValueError as error:
            raise ValueError(f"{self.where}: {error}") from None
        if frames_TVHWC.shape[1] != self.views:
            there = f"{self.file} has {frames_TVHWC.shape[1]} views, not {self.views} as its row says"
            raise ValueError(f"{self.where}: {there}")
        last = len(frames_TVHWC) - 1
        return [tuple(frames_TVHWC[min(at, last)]) for at in (range(last + 1) if states is None else states)]


COLUMNS = ("episode", "length", "instruction", "group", "plans", "views")
"""Of a row: those that a step has by other names."""


def list_places(first: int, chunk: int, stride: int, total: int) -> list[int]:
    """The places of a chunk of steps, ``stride`` apart; behind the end the last place again."""
    return [min(first + step * stride, total - 1) for step in range(chunk)]


class Steps:
    """The steps of an index: what :class:`mirage_pl.engine.seams.Rows` asks for.

    Args:
        source: the index.
        chunk: steps of a chunk.
        hop: steps between neighbouring samples.
        numbers: of states and actions.
        plans: ``own``; ``shuffled``: a step's plan is that of another one of the index, drawn by its place.

    Raises:
        ValueError: a bad row; names it.
    """

    def __init__(self, source: Source, chunk: int, hop: int, numbers: Numbering, plans: Said = "own") -> None:
        self.source, self.chunk, self.numbers, self.plans = source, chunk, numbers, plans
        self.rows = [parse_row(source, row) for row in range(len(source))]
        self.places = [(row, at) for row, each in enumerate(self.rows) for at in range(0, each["length"] - 1, hop)]
        self.opened: dict[int, Demonstration] = {}

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Step:
        row, at = self.places[index]
        return self.cut(row, at)

    def cut(self, row: int, at: int) -> Step:
        """Cut a step out of an episode.

        Raises:
            ValueError: its file can't be read, or isn't as the index and ``task.numbers`` say; names the row.
        """
        values, episode = self.rows[row], self.open(row)
        places = list_places(at, self.chunk, 1, len(episode.actions_PA))
        return Step(
            f"{self.source.where(row)}@{at}",
            values["instruction"],
            episode.states_TS[at] if self.numbers.state else None,
            episode.actions_PA[places],
            min(self.chunk, len(episode.actions_PA) - at),
            str(values.get("group", "all")),
            self.source.folder(row) / values["episode"],
            at,
            self.read_plan(row, at),
            int(values.get("views", 0)),
            None,
            {key: value for key, value in values.items() if key not in COLUMNS},
        )

    def read_plan(self, row: int, at: int) -> str | None:
        """What is said of a step."""
        if self.plans == "shuffled":
            row, at = self.places[stream_seed("plan", row, at) % len(self.places)]
        plans_P = self.open(row).plans_P
        return None if plans_P is None else str(self.rows[row]["plans"][plans_P[at]])

    def open(self, row: int) -> Demonstration:
        """The episode of a row; its numbers are kept."""
        if row not in self.opened:
            self.opened[row] = open_row(self.source, row, self.numbers)
        return self.opened[row]

    def gather(self) -> tuple[Numbers, Numbers]:
        """All states and all actions, [N, S] and [N, A], for what is fitted to them."""
        episodes = [self.open(row) for row in range(len(self.source))]
        return tuple(  # type: ignore[return-value]
            np.concatenate([getattr(episode, name) for episode in episodes]) for name in ("states_TS", "actions_PA")
        )

    def identity(self, sample: Step) -> str:
        """Tell episodes apart by their numbers, so that all steps of one stay in one split."""
        assert sample.file is not None
        return read_demonstration(sample.file).digest

    def identities(self) -> Mapping[str, str]:
        """Identity -> where, of the first step of each episode."""
        return {self.open(row).digest: f"{self.source.where(row)}@0" for row in reversed(range(len(self.source)))}

    def facts(self, sample: Step) -> Mapping[str, str | float]:
        """What ``python -m mirage_pl.data`` counts."""
        return {"group": sample.group, "words": len(sample.instruction.split())}

    def caption(self, sample: Step) -> str:
        """What is asked, what the state is, and what is done."""
        state = " ".join(f"{number:.2g}" for number in sample.state_S) if sample.state_S is not None else "none"
        actions = ", ".join(
            " ".join(f"{number:.2g}" for number in action) for action in sample.actions_HA[: sample.real]
        )
        plan = f"\nplan {sample.plan}" if sample.plan else ""
        return f"{sample.instruction}{plan}\nstate {state}\nactions {actions}"

    def picture(self, sample: Step) -> Image.Image:
        """What cameras see, side by side; without any the numbers of its state, over the episode."""
        assert sample.file is not None
        if sample.views:
            return Image.fromarray(np.concatenate(list(sample.look()), 1))
        return draw_numbers(read_demonstration(sample.file), sample.at)


class Demonstrations:
    """``task.dataset``: reads indices and lists what is wrong with them and with the episodes that they name.

    Args:
        chunk: steps of a chunk of actions.
        hop: steps between neighbouring samples.
        numbers: options of :class:`Numbering`.
        plans: see :class:`Steps`.
    """

    def __init__(self, chunk: int, hop: int, numbers: Mapping[str, int], plans: Said = "own") -> None:
        if chunk < 1 or hop < 1:
            raise ValueError(f"task.chunk={chunk} and task.hop={hop} must be 1 step or more")
        if plans not in ("own", "shuffled"):
            raise ValueError(f"task.plans={plans} is unknown; choose own or shuffled")
        self.chunk, self.hop, self.numbers, self.plans = chunk, hop, Numbering(**numbers), plans

    def read(self, file: str) -> Steps:
        """Read an index.

        Raises:
            ValueError: a bad row; names it.
        """
        return Steps(open_source(file), self.chunk, self.hop, self.numbers, self.plans)

    def problems(self, file: str) -> Iterator[str]:
        """Yield what is wrong with each bad row, or with its file."""
        source = open_source(file)
        for row in range(len(source)):
            try:
                open_row(source, row, self.numbers)
            except ValueError as error:
                yield str(error)
