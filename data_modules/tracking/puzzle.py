"""What a puzzle is: boards, steps that change them, and what is asked of the last one."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from string import ascii_uppercase
from typing import ClassVar

from PIL import Image, ImageDraw

from data_modules.rotation.polyomino import Board

Places = tuple[int, ...]
"""What each cell of a square board shows, row by row."""

Step = tuple[int, ...]
"""A change of a board; each puzzle says what its numbers mean."""


@dataclass(frozen=True, kw_only=True)
class Puzzle(ABC):
    """Boards and steps. Boards are square and say all that is known, so a puzzle's own values are for drawing new ones.

    Attributes:
        size: cells along a side of new boards.
    """

    kinds: ClassVar[int]
    """Cells are from 0 to this."""
    sizes: ClassVar[range]
    """What ``size`` may be."""
    form: ClassVar[str]
    """What a step is in a row's ``steps``."""
    asks_place: ClassVar[bool] = False
    """Whether answers are letters of places."""
    takes_room: ClassVar[bool] = False
    """Whether steps use up the board, so that with more of them there aren't always more questions."""

    size: int

    def __post_init__(self) -> None:
        if self.size not in self.sizes:
            wanted = f"{self.sizes[0]} to {self.sizes[-1]}" if len(self.sizes) > 1 else str(self.sizes[0])
            raise ValueError(f"task.size={self.size} must be {wanted}")

    @abstractmethod
    def answers(self, count: int) -> Sequence[str]:
        """What can be the answer after ``count`` steps; new questions have each equally often."""

    @abstractmethod
    def begin(self, random: Random) -> Places:
        """Draw a board to begin with."""

    @abstractmethod
    def check(self, places: Places) -> None:
        """Demand a board that can be.

        Raises:
            ValueError: what it lacks.
        """

    @abstractmethod
    def steps(self, places: Places) -> Sequence[Step]:
        """All steps that a board allows."""

    @abstractmethod
    def apply(self, places: Places, step: Step) -> Places:
        """The board after a step that it allows."""

    @abstractmethod
    def answer(self, places: Places) -> str:
        """What is asked: a letter or a number."""

    @abstractmethod
    def write(self, step: Step) -> str:
        """A step in words."""

    def normalize(self, step: Step) -> Step:
        """One step in place of all that do the same, so that a question in other words is known to be the same."""
        return step

    @abstractmethod
    def draw(self, places: Places, cell_px: int) -> Image.Image:
        """The picture of a board, ``cell_px`` pixels a cell."""

    def describe(self, places: Places) -> str:
        """All of a board that the answer depends on, in few characters."""
        return self.answer(places)

    def choose_step(self, random: Random, places: Places) -> Step | None:
        """Draw a step; ``None``: the board allows none."""
        steps = self.steps(places)
        return random.choice(steps) if steps else None

    def draw_question(self, random: Random, count: int, answer: str) -> tuple[Places, tuple[Step, ...]] | None:
        """Draw a board and ``count`` steps; ``None``: this draw doesn't end with ``answer``."""
        places = start = self.begin(random)
        steps = list[Step]()
        while len(steps) < count and (step := self.choose_step(random, places)) is not None:
            steps.append(step)
            places = self.apply(places, step)
        return (start, tuple(steps)) if len(steps) == count and self.answer(places) == answer else None


def follow(puzzle: Puzzle, places: Places, steps: Sequence[Step]) -> list[Places]:
    """Return the board after each step.

    Raises:
        ValueError: a board doesn't allow the next step.
    """
    boards = [places]
    for number, step in enumerate(steps):
        if step not in puzzle.steps(boards[-1]):
            raise ValueError(f"steps[{number}]={list(step)} can't be done there; expected {puzzle.form}")
        boards.append(puzzle.apply(boards[-1], step))
    return boards[1:]


def normalize_steps(puzzle: Puzzle, steps: Sequence[Step]) -> tuple[Step, ...]:
    """Steps in one writing in place of all that mean the same."""
    return tuple(puzzle.normalize(step) for step in steps)


def side(places: Places) -> int:
    """Cells along a side of a board."""
    return round(len(places) ** 0.5)


def shape(places: Places) -> Board:
    """Return the board as rows of cells."""
    return tuple(places[first : first + side(places)] for first in range(0, len(places), side(places)))


def letter(place: int) -> str:
    """The letter of a place: A, B, … row by row."""
    return ascii_uppercase[place]


def frame_place(picture: Image.Image, places: Places, named: str | None) -> None:
    """Frame the place of a letter in the picture of a board; one that it hasn't leaves it as it is."""
    place = ascii_uppercase.find(named) if named and len(named) == 1 else -1
    if 0 <= place < len(places):
        width = picture.width // side(places)
        x, y = place % side(places) * width, place // side(places) * width
        ImageDraw.Draw(picture).rectangle((x, y, x + width - 1, y + width - 1), None, (0, 0, 0), max(2, width // 10))
