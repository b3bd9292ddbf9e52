"""Make the tasks in which steps are followed: a picture of a board, a list of steps, a question about the last board.

Each step has a latent block, whose helper image is the board after it. All answers are equally often right.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from data_modules.maker import Maker, Plan, check_repeats, in_order, write_value
from data_modules.tracking.puzzle import Places, Puzzle, Step, follow, normalize_steps, shape

THOUGHTS = "none", "rules", "cells"
"""What answers say after each block: nothing; what the answer depends on; what each cell shows."""
MAX_MISSES = 3000
"""Draws without a new question that has the wanted answer after which there are taken to be no more."""


@dataclass(frozen=True)
class Question:
    """A row before it is drawn."""

    places: Places
    steps: tuple[Step, ...]


class Met:
    """The questions so far; of those that are held out, what they mean, so that train has them in no other writing."""

    def __init__(self, puzzle: Puzzle) -> None:
        self.puzzle = puzzle
        self.written, self.meant = set[Question](), set[Question]()

    def add(self, question: Question, held_out: bool) -> None:
        """Remember a question."""
        self.written.add(question)
        if held_out:
            self.meant.add(self.normalize(question))

    def __contains__(self, question: Question) -> bool:
        """Whether there is one like it."""
        return question in self.written or self.normalize(question) in self.meant

    def normalize(self, question: Question) -> Question:
        """One writing in place of all that mean the same."""
        return Question(question.places, normalize_steps(self.puzzle, question.steps))


@dataclass(frozen=True, kw_only=True)
class Questions(Maker):
    """Questions for train, val and test, each in one row; none is in two splits.

    Where steps can be written in several ways (``A E`` and ``E A``), train may have a question in each of them.

    Attributes:
        puzzle: what they are about.
        rows: rows of each split and number of steps.
        steps: how many steps a question may have, each number once.
        thoughts: one of :data:`THOUGHTS`.
        numbered: steps have numbers, and the answer writes them before the blocks.
        cell_px: pixels a cell.
        prompt: ``text_input`` of every row; ``<image>`` is the board; ``{steps}``, and where it is ``{start}``, what
            there is at the beginning, are filled in.
    """

    keys: ClassVar[Mapping[str, str]] = {**Maker.keys, "prompt": "question"}

    puzzle: Puzzle
    rows: Mapping[str, int]
    steps: Sequence[int]
    thoughts: str
    numbered: bool
    cell_px: int
    prompt: str

    def __post_init__(self) -> None:
        if self.cell_px < 8:
            raise ValueError(f"task.cell_px={self.cell_px} must be 8 or more")
        if not self.steps or min(self.steps) < 1:
            raise ValueError(f"task.steps={list(self.steps)} must be numbers of 1 or more, such as [2, 4, 6]")
        check_repeats("task.steps", self.steps)
        if self.thoughts not in THOUGHTS:
            raise ValueError(f"task.thoughts={self.thoughts} is unknown; choose one of {', '.join(THOUGHTS)}")
        if missing := [part for part in ("<image>", "{steps}") if self.prompt.count(part) != 1]:
            raise ValueError(f"task.question={self.prompt!r} must hold {' and '.join(missing)} once")

    def settings(self) -> dict[str, Any]:
        """Also which puzzle it is."""
        return super().settings() | {"puzzle": {"kind": type(self.puzzle).__name__, **asdict(self.puzzle)}}

    def name_key(self, path: Sequence[str]) -> str:
        """A puzzle's own values are keys of the task; which one it is, is ``task.puzzle``."""
        if path[0] != "puzzle":
            return super().name_key(path)
        return super().name_key(path[:1] if path[1:] == ("kind",) else path[1:])

    def plans(self) -> Iterator[Plan]:
        """Yield every question; test comes first, so that it doesn't change with the size of train.

        Raises:
            ValueError: there aren't as many questions.
        """
        random, met = Random(self.seed), Met(self.puzzle)
        for split in in_order(self.rows):
            for count in self.steps:
                answers = self.puzzle.answers(count)
                for number in range(self.rows[split]):
                    question = self._new_question(random, count, answers[number % len(answers)], met)
                    met.add(question, held_out=split != "train")
                    yield Plan(split, f"{split}_{count}_{number}", question)

    def _new_question(self, random: Random, count: int, answer: str, met: Met) -> Question:
        found = False
        for _ in range(MAX_MISSES):
            drawn = self.puzzle.draw_question(random, count, answer)
            if drawn is not None and (question := Question(*drawn)) not in met:
                return question
            found = found or drawn is not None
        raise ValueError(self._explain_lack(count, answer, found))

    def _explain_lack(self, count: int, answer: str, found: bool) -> str:
        """Say what helps where no new question is found, though others with its answer were or weren't."""
        size, sizes = self.puzzle.size, self.puzzle.sizes
        larger = ["raise task.size"] * (size < sizes[-1])
        if not found:
            remedies = " or ".join([*larger, "lower task.steps"])
            return f"no board of size {size} that takes {count} step(s) and ends with {answer} was found; {remedies}"
        steps = "take other task.steps" if self.puzzle.takes_room else "raise task.steps"
        return (
            f"a board of size {size} has too few questions of {count} step(s) for task.rows={write_value(self.rows)}; "
            f"{', '.join(['lower these', *larger])} or {steps}"
        )

    def fill_prompt(self, question: Question) -> str:
        """Write a question's text."""
        steps, start = write_steps(self.puzzle, question.steps, self.numbered), self.puzzle.describe(question.places)
        return self.prompt.replace("{steps}", steps).replace("{start}", start)

    def draw(self, plan: Plan, folder: Path) -> dict[str, Any]:
        """Write the pictures of the board, at the beginning and after each step."""
        question: Question = plan.content
        boards = [question.places, *follow(self.puzzle, question.places, question.steps)]
        names = [f"images/{plan.name}_{number}.png" for number in range(len(boards))]
        for name, board in zip(names, boards, strict=True):
            self.puzzle.draw(board, self.cell_px).save(folder / name, compress_level=1)
        return {
            "text_input": self.fill_prompt(question),
            "text_output": write_answer(self.puzzle, boards[1:], self.thoughts, self.numbered),
            "image_input": names[0],
            "image_output": names[1:],
            "map_id": plan.name,
            "map_desc": shape(question.places),
            "steps": question.steps,
        }


def write_steps(puzzle: Puzzle, steps: Sequence[Step], numbered: bool = False) -> str:
    """Write steps: ``A E, C B``, or ``1 A E, 2 C B``."""
    texts = [puzzle.write(step) for step in steps]
    return ", ".join(f"{number} {text}" if numbered else text for number, text in enumerate(texts, start=1))


def write_answer(puzzle: Puzzle, boards: Sequence[Places], thoughts: str, numbered: bool = False) -> str:
    r"""Write ``text_output``: a block each step, with thoughts what there is after it; then the answer in a box.

    Args:
        puzzle: what it is about.
        boards: the board after each step.
        thoughts: one of :data:`THOUGHTS`.
        numbered: write the number of its step before each block.
    """
    box = f"\\boxed{{{puzzle.answer(boards[-1])}}}"
    blocks = [f"{number}<output_image>" if numbered else "<output_image>" for number in range(1, len(boards) + 1)]
    # the line break keeps "\boxed" a token of its own; after ">" its backslash would be torn off
    if thoughts == "none":
        return "".join(blocks) + ("\n" if numbered else "") + box
    describe = write_cells if thoughts == "cells" else puzzle.describe
    said = [f"{block} {describe(board)}" for block, board in zip(blocks, boards, strict=True)]
    return "<think>" + (" " if numbered else "").join(said) + f"</think>\n{box}"


def write_cells(places: Places) -> str:
    """What each cell shows, a digit each."""
    return "".join(map(str, places))
