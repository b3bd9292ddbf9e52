"""The data: rows of numbers that swing and fade, in JSONL files."""

import hashlib
import json
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

SHORTEST = 3
"""Numbers of a wave at least: two to guess from, one to be guessed."""


@dataclass(frozen=True)
class Wave:
    """A row.

    Attributes:
        where: ``file:line``.
        numbers: one after another, about -1 to 1.
        pace: ``slow`` or ``fast``.
    """

    where: str
    numbers: tuple[float, ...]
    pace: str


class Waves:
    """The rows of a file: what :class:`mirage_pl.engine.seams.Rows` asks for."""

    def __init__(self, waves: Sequence[Wave]) -> None:
        self.waves = waves

    def __len__(self) -> int:
        return len(self.waves)

    def __getitem__(self, index: int) -> Wave:
        return self.waves[index]

    def identity(self, sample: Wave) -> str:
        """Tell waves apart by their numbers, whatever file they are in."""
        return hashlib.sha256(json.dumps(sample.numbers).encode()).hexdigest()[:12]

    def identities(self) -> Mapping[str, str]:
        """Identity -> where: so that no wave is in two splits."""
        return {self.identity(wave): wave.where for wave in self.waves}

    def facts(self, sample: Wave) -> Mapping[str, str | float]:
        """What ``python -m mirage_pl.data`` counts."""
        return {"group": sample.pace, "numbers": len(sample.numbers)}

    def caption(self, sample: Wave) -> str:
        """What stands beside a wave's picture."""
        return f"{sample.pace}, {len(sample.numbers)} numbers"

    def picture(self, sample: Wave) -> Image.Image:
        """Draw a wave."""
        return draw_wave(sample.numbers)


class WaveFiles:
    """``task.dataset``: reads files and lists what is wrong with them."""

    def read(self, file: str) -> Waves:
        """Read a file.

        Raises:
            ValueError: names file, line, and what is wrong.
        """
        return Waves([parse_wave(line, where) for where, line in lines_of(file)])

    def problems(self, file: str) -> Iterator[str]:
        """Yield what is wrong with each bad row."""
        for where, line in lines_of(file):
            try:
                parse_wave(line, where)
            except ValueError as error:
                yield str(error)


def lines_of(file: str) -> Iterator[tuple[str, str]]:
    """Yield where a line is, and the line."""
    for number, line in enumerate(Path(file).read_text().splitlines(), start=1):
        yield f"{file}:{number}", line


def parse_wave(line: str, where: str) -> Wave:
    """Read a row.

    Raises:
        ValueError: it is none.
    """
    try:
        row = json.loads(line)
        numbers = tuple(float(number) for number in row["numbers"])
        pace = str(row["pace"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{where}: no wave ({error}); a row is {{"numbers": [0.1, …], "pace": "slow"}}') from None
    if len(numbers) < SHORTEST or not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"{where}: numbers must be {SHORTEST} or more finite numbers; they are {list(numbers)}")
    return Wave(where, numbers, pace)


@dataclass(frozen=True)
class WaveMaker:
    """Makes a task's files where they are missing.

    Attributes:
        folder: gets ``train.jsonl``, ``val.jsonl``, ``test.jsonl``.
        rows: split -> how many.
        seed: makes other waves.
    """

    folder: str
    rows: Mapping[str, int]
    seed: int

    def makes(self, files: Iterable[str]) -> bool:
        """A user's own files are never made."""
        return any(Path(self.folder) in Path(file).parents for file in files)

    def is_made(self) -> bool:
        """Whether they are there."""
        return all((Path(self.folder) / f"{split}.jsonl").is_file() for split in self.rows)

    def make(self) -> None:
        """Draw all of them."""
        Path(self.folder).mkdir(parents=True, exist_ok=True)
        for split, count in self.rows.items():
            draws = random.Random(f"{self.seed} {split}")
            rows = [json.dumps(draw_row(draws, ("slow", "fast")[number % 2])) for number in range(count)]
            (Path(self.folder) / f"{split}.jsonl").write_text("".join(f"{row}\n" for row in rows))


def draw_row(draws: random.Random, pace: str) -> dict[str, Any]:
    """Draw a wave of 5 to 12 numbers."""
    speed, phase = draws.uniform(0.3, 0.6) * (2 if pace == "fast" else 1), draws.uniform(0, 2 * math.pi)
    numbers = [round(0.95**step * math.sin(phase + speed * step), 4) for step in range(draws.randint(5, 12))]
    return {"numbers": numbers, "pace": pace}


def draw_wave(numbers: Sequence[float], guess: float | None = None) -> Image.Image:
    """Draw numbers from left to right, and in red what was guessed of the last one."""
    picture = Image.new("RGB", (20 * len(numbers) + 20, 100), "white")
    pen = ImageDraw.Draw(picture)
    points = [(20.0 * (place + 1), 50 - 40 * number) for place, number in enumerate(numbers)]
    pen.line(points, fill="black", width=2)
    if guess is not None:
        x, y = points[-1][0], 50 - 40 * guess
        pen.ellipse((x - 4, y - 4, x + 4, y + 4), fill="red")
    return picture
