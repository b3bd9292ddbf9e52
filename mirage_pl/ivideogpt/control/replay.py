"""Episodes that an agent has played or imagined: kept in memory, written to disk as any episode, drawn by step.

Shapes: T frames of H x W pixels, S = T - 1 steps between them, A numbers of an action.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data_modules.episodes.episode import Episode, write_episode
from data_modules.episodes.form import Form
from data_modules.episodes.recording import read_episode

REAL, IMAGINED = "real", "imagined"
KINDS = (REAL, IMAGINED)


@dataclass(frozen=True)
class Moment:
    """A sample: a part of an episode.

    Attributes:
        where: ``real/12@5``, the episode and the first frame; with ``clip`` before it if it is for the world model.
        episode: which it is a part of.
        first: its first frame; before the episode's first one, that is repeated, with actions and rewards of 0.
        length: frames.
        acts: whether the agent learns from it, not the world model.
    """

    where: str
    episode: Episode = field(repr=False, compare=False)
    first: int
    length: int
    acts: bool = True

    def read(self) -> Episode:
        """Cut it out."""
        places = np.arange(self.first, self.first + self.length)
        steps, before = places[:-1].clip(0), (places[:-1] < 0)
        actions_SA, rewards_S = self.episode.actions_SA, self.episode.rewards_S
        assert actions_SA is not None
        assert rewards_S is not None
        return Episode(
            self.episode.frames_THWC[places.clip(0)],
            np.where(before[:, None], np.float32(0), actions_SA[steps]),
            np.where(before, np.float32(0), rewards_S[steps]),
        )


class Replay:
    """Episodes, real and imagined.

    Below ``folder`` each kind has an index and episodes in the form of ``task=episodes``, so that ``data`` reads them.
    Files stay when an episode is too old to be drawn.

    Args:
        folder: where they are written.
        real: so many of the newest real episodes are drawn from, and kept in memory.
        imagined: of the imagined ones.

    Raises:
        ValueError: a number below 1.
    """

    def __init__(self, folder: str, real: int, imagined: int) -> None:
        if min(real, imagined) < 1:
            raise ValueError(f"replay.real={real} and replay.imagined={imagined} must be 1 episode or more")
        self.folder, self.most = Path(folder), {REAL: real, IMAGINED: imagined}
        self.counts, self.writes = dict.fromkeys(KINDS, 0), True
        self.memory: dict[str, dict[int, Episode]] = {kind: {} for kind in KINDS}

    def rewind(self, counts: Mapping[str, int]) -> None:
        """Go on after so many episodes of each kind; what was written later is made again.

        Raises:
            ValueError: fewer are there.
        """
        self.counts, self.memory = {kind: int(counts.get(kind, 0)) for kind in KINDS}, {kind: {} for kind in KINDS}
        for kind, count in self.counts.items():
            index = self.index(kind)
            rows = index.read_text().splitlines() if index.is_file() else []
            if len(rows) < count:
                raise ValueError(
                    f"{index} has {len(rows)} episodes, and the run had {count} when it was saved; bring the folder "
                    "back, or start a new run with another run_dir"
                )
            if self.writes and len(rows) > count:
                index.write_text("".join(f"{row}\n" for row in rows[:count]))

    def add(self, kind: str, episode: Episode, facts: Mapping[str, Any]) -> None:
        """Keep an episode and write it, with some facts in its row of the index."""
        number = self.counts[kind]
        if self.writes:
            write_episode(self.file(kind, number), episode)
            name = str(self.file(kind, number).relative_to(self.folder))
            row = {"episode": name, "length": len(episode.frames_THWC), **facts}
            with self.index(kind).open("a") as file:
                file.write(json.dumps(row) + "\n")
        self.memory[kind][number] = episode
        self.memory[kind].pop(number - self.most[kind], None)
        self.counts[kind] = number + 1

    def open(self, kind: str, number: int) -> Episode:
        """Return an episode."""
        if number not in self.memory[kind]:
            self.memory[kind][number] = read_episode(self.file(kind, number), Form())
        return self.memory[kind][number]

    def index(self, kind: str) -> Path:
        """The file that names the episodes of a kind."""
        return self.folder / f"{kind}.jsonl"

    def file(self, kind: str, number: int) -> Path:
        """The file of an episode."""
        return self.folder / kind / f"{number:06}.npz"

    def draw_number(self, kind: str, draws: np.random.Generator) -> int:
        """Draw one of the newest episodes."""
        count = self.counts[kind]
        return int(draws.integers(max(0, count - self.most[kind]), count))

    def draw_moment(self, kind: str, stack: int, ahead: int, draws: np.random.Generator) -> Moment:
        """Draw what an agent learns from: an observation of stacked frames, and so many steps after it.

        Raises:
            ValueError: an episode has fewer steps.
        """
        number = self.draw_number(kind, draws)
        episode = self.open(kind, number)
        # Imagined episodes begin with the frames that were given: only the newest of these is one to act on.
        earliest = stack - 1 if kind == IMAGINED else 0
        latest = len(episode.frames_THWC) - 1 - ahead
        if latest < earliest:
            raise ValueError(
                f"{self.file(kind, number)} has {len(episode.frames_THWC)} frames, too few for "
                f"agent.sizes.stack={stack} and ahead={ahead}; lower them, or play longer episodes"
            )
        newest = int(draws.integers(earliest, latest + 1))
        return Moment(f"{kind}/{number}@{newest}", episode, newest - stack + 1, stack + ahead)

    def draw_clip(self, length: int, draws: np.random.Generator) -> Moment:
        """Draw what a world model learns from: consecutive frames of a real episode.

        Raises:
            ValueError: an episode has fewer.
        """
        number = self.draw_number(REAL, draws)
        episode = self.open(REAL, number)
        latest = len(episode.frames_THWC) - length
        if latest < 0:
            raise ValueError(
                f"{self.file(REAL, number)} has {len(episode.frames_THWC)} frames, and a clip of the world model "
                f"{length}; lower task.window.length"
            )
        first = int(draws.integers(latest + 1))
        return Moment(f"clip of {REAL}/{number}@{first}", episode, first, length, acts=False)
