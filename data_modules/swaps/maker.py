"""Make ``task=swaps``: a board of coloured cells, and swaps of two places each; where is the blue cell at the end?

Each swap has a latent block, whose helper image is the board after it. The answer is one letter. How many swaps move
the blue cell is given, and all places are the answer equally often.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from random import Random
from typing import Any

from data_modules.maker import Maker, Plan, in_order
from data_modules.rotation.pictures import COLORS, draw_board
from data_modules.swaps.board import ASKED, Places, Swap, follow, letter, shape, write_swaps


@dataclass(frozen=True)
class Question:
    """A row before it is drawn."""

    places: Places
    swaps: tuple[Swap, ...]

    @property
    def boards(self) -> list[Places]:
        """The board after each swap."""
        return follow(self.places, self.swaps)

    @property
    def answers(self) -> list[str]:
        """Where the blue cell is after each swap."""
        return [letter(board.index(ASKED)) for board in self.boards]


@dataclass(frozen=True, kw_only=True)
class Swaps(Maker):
    """Questions for train, val and test; no board with its swaps is in two rows.

    Attributes:
        rows: rows of each split and number of swaps.
        size: cells along a side of the board, 2 to 5.
        colors: coloured cells on it, one of each colour, 1 to 5; the first is the blue one.
        swaps: how many swaps a question may have.
        moving: share of the swaps that move the blue cell, rounded up; above 0.
        thoughts: ``none``, or ``rules``: the answer names after each block where the blue cell is.
        numbered: swaps have numbers, and the answer writes them before the blocks.
        cell_px: pixels a cell.
        prompt: ``text_input`` of every row; ``<image>`` is the board; ``{swaps}``, and where it is ``{start}``, the
            letter of the blue cell at the beginning, are filled in.
    """

    rows: Mapping[str, int]
    size: int
    colors: int
    swaps: Sequence[int]
    moving: float
    thoughts: str
    numbered: bool
    cell_px: int
    prompt: str

    def __post_init__(self) -> None:
        if not 2 <= self.size <= 5 or not 1 <= self.colors <= min(len(COLORS), self.size**2 - 2) or self.cell_px < 8:
            raise ValueError(
                f"task.size={self.size} must be 2 to 5, task.colors={self.colors} 1 to {len(COLORS)} and two fewer "
                f"than the board has cells, and task.cell_px={self.cell_px} 8 or more"
            )
        if not self.swaps or min(self.swaps) < 1 or not 0 < self.moving <= 1:
            raise ValueError(
                f"task.swaps={list(self.swaps)} must be numbers of 1 or more, such as [2, 4, 6], and "
                f"task.moving={self.moving} above 0 and at most 1"
            )
        if self.thoughts not in ("none", "rules"):
            raise ValueError(f"task.thoughts={self.thoughts} must be none or rules")
        if missing := [part for part in ("<image>", "{swaps}") if self.prompt.count(part) != 1]:
            raise ValueError(f"task.question={self.prompt!r} must hold {' and '.join(missing)} once")

    def plans(self) -> Iterator[Plan]:
        """Yield every question; test comes first, so that it doesn't change with the size of train.

        Raises:
            ValueError: there aren't as many questions.
        """
        random, met = Random(self.seed), set[Question]()
        for split in in_order(self.rows):
            for count in self.swaps:
                for number in range(self.rows[split]):
                    question = self._new_question(random, count, number % self.size**2, met)
                    yield Plan(split, f"{split}_{count}_{number}", question)

    def _new_question(self, random: Random, count: int, last: int, met: set[Question]) -> Question:
        for _ in range(1000):
            question = self._draw_question(random, count, last)
            if question not in met:
                met.add(question)
                return question
        raise ValueError(
            f"a board of size {self.size} has too few questions of {count} swap(s) for task.rows={dict(self.rows)}; "
            "lower them, or raise task.size or task.swaps"
        )

    def _draw_question(self, random: Random, count: int, last: int) -> Question:
        """Draw swaps, and name the places so that the blue cell ends at ``last``."""
        places = range(self.size**2)
        moved = set(random.sample(range(count), ceil(self.moving * count)))
        blue, swaps = 0, list[Swap]()
        for number in range(count):
            others = [place for place in places if place != blue]
            pair = [blue, random.choice(others)] if number in moved else random.sample(others, 2)
            blue = pair[1] if number in moved else blue
            swaps.append((pair[0], pair[1]) if random.random() < 0.5 else (pair[1], pair[0]))
        names = random.sample(places, len(places))
        at = names.index(last)
        names[at], names[blue] = names[blue], last
        start = [0] * len(places)
        for color, place in enumerate([names[0], *random.sample(sorted(names[1:]), self.colors - 1)], start=ASKED):
            start[place] = color
        return Question(tuple(start), tuple((names[first], names[second]) for first, second in swaps))

    def fill_prompt(self, question: Question) -> str:
        """Write a question's text."""
        words = {"{swaps}": write_swaps(question.swaps, self.numbered), "{start}": letter(question.places.index(ASKED))}
        text = self.prompt
        for name, word in words.items():
            text = text.replace(name, word)
        return text

    def draw(self, plan: Plan, folder: Path) -> dict[str, Any]:
        """Write the pictures of the board, at the beginning and after each swap."""
        question: Question = plan.content
        boards = [question.places, *question.boards]
        names = [f"images/{plan.name}_{number}.png" for number in range(len(boards))]
        for name, board in zip(names, boards, strict=True):
            draw_board(shape(board, self.size), self.cell_px).save(folder / name, compress_level=1)
        return {
            "text_input": self.fill_prompt(question),
            "text_output": write_answer(question.answers, self.thoughts, self.numbered),
            "image_input": names[0],
            "image_output": names[1:],
            "map_id": plan.name,
            "map_desc": shape(question.places, self.size),
            "steps": question.swaps,
        }


def write_answer(answers: Sequence[str], thoughts: str, numbered: bool = False) -> str:
    r"""Write ``text_output``: a block each swap, with ``rules`` the place after it; then the last place in a box.

    Args:
        answers: the place after each swap.
        thoughts: ``none`` or ``rules``.
        numbered: write the number of its swap before each block.
    """
    box = f"\\boxed{{{answers[-1]}}}"
    blocks = [f"{number}<output_image>" if numbered else "<output_image>" for number in range(1, len(answers) + 1)]
    # the line break keeps "\boxed" a token of its own; after ">" its backslash would be torn off
    if thoughts == "none":
        return "".join(blocks) + ("\n" if numbered else "") + box
    return "<think>" + "".join(f"{block} {at}" for block, at in zip(blocks, answers, strict=True)) + f"</think>\n{box}"
