"""Make ``task=rotation``: a piece, how it is to be turned, and candidates of which one is the turned piece.

The helper image is the turned piece. A distractor is the turned piece turned further, or mirrored, or its partner, a
piece that differs by the place of one cell, or several of these at once. All distractors there could be are as likely
as each other, and chance says which of piece and partner is asked, so that the candidates alone don't tell the answer.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from math import prod
from pathlib import Path
from random import Random
from string import ascii_uppercase
from typing import Any, ClassVar

from data_modules.maker import Maker, Plan, check_repeats, in_order
from data_modules.rotation.pictures import COLORS, draw_board
from data_modules.rotation.polyomino import DEGREES, Board, mirror, random_pieces, turn

KINDS = {"turn": 4, "mirror": 2, "cell": 2}
"""What may be wrong with a candidate, and by how much each multiplies the possible ones."""


@dataclass(frozen=True)
class Instruction:
    """What is to be done with a piece.

    Attributes:
        turns: degrees clockwise, one after the other.
        mirrored: whether left and right are swapped at the end.
    """

    turns: tuple[int, ...]
    mirrored: bool

    def apply(self, board: Board) -> Board:
        """Do it."""
        board = turn(board, sum(self.turns))
        return mirror(board) if self.mirrored else board

    def __str__(self) -> str:
        words = ", then by ".join(f"{degrees} degrees" for degrees in self.turns)
        return words + ", then mirror left to right" * self.mirrored

    @property
    def group(self) -> str:
        """Name of the questions with this instruction, ``turn_90_mirror`` for instance."""
        return "_".join(["turn", *map(str, self.turns)]) + "_mirror" * self.mirrored


@dataclass(frozen=True)
class Question:
    """A row before it is drawn; ``right`` is the index of the right one of ``candidates``."""

    piece: Board
    instruction: Instruction
    candidates: tuple[Board, ...]
    right: int


def possible(versions: Iterable[Board], kinds: Sequence[str]) -> list[Board]:
    """List the candidates there could be, the right one first.

    Args:
        versions: the turned piece; with ``cell`` in ``kinds`` also its partner, turned in the same way.
        kinds: keys of :data:`KINDS`: ``turn`` adds the other turns of each, ``mirror`` the mirror image of each.
    """
    boards = list(versions)
    if "mirror" in kinds:
        boards += [mirror(board) for board in boards]
    return [turn(board, degrees) for board in boards for degrees in (DEGREES if "turn" in kinds else (0,))]


@dataclass(frozen=True, kw_only=True)
class Rotations(Maker):
    """Rotation questions for train, val and test; no piece is in two rows, asked or as a distractor, in any view.

    Attributes:
        rows: rows of each split; instructions and right letters take turns.
        size: cells along a side of the board, 2 to 8.
        cells: how many cells a piece may have.
        colors: colours of the cells, 1 to 5.
        candidates: pictures to choose from.
        turns: degrees clockwise, of 0, 90, 180 and 270; 0 asks for no more than comparing.
        num_turns: how many turns are made one after the other, 1 to 4.
        mirrors: whether every second round of instructions also swaps left and right.
        distractors: what wrong candidates may be: ``turn``, ``mirror``, ``cell`` (a cell lies elsewhere), or several of
            them at once.
        cell_px: pixels a cell.
        prompt: ``text_input`` of every row; ``<image>`` is the piece, ``{turn}`` and ``{candidates}`` are filled in.
    """

    keys: ClassVar[Mapping[str, str]] = {**Maker.keys, "prompt": "question"}

    rows: Mapping[str, int]
    size: int
    cells: Sequence[int]
    colors: int
    candidates: int
    turns: Sequence[int]
    num_turns: int
    mirrors: bool
    distractors: Sequence[str]
    cell_px: int
    prompt: str

    def __post_init__(self) -> None:
        self._check_pieces()
        self._check_questions()
        for key in ("cells", "turns", "distractors"):
            check_repeats(f"task.{key}", getattr(self, key))

    def _check_pieces(self) -> None:
        if not 2 <= self.size <= 8 or not 1 <= self.colors <= len(COLORS) or self.cell_px < 8:
            raise ValueError(
                f"task.size={self.size} must be 2 to 8, task.colors={self.colors} 1 to {len(COLORS)} "
                f"and task.cell_px={self.cell_px} 8 or more"
            )
        most = self.size**2 - ("cell" in self.distractors)  # a cell needs a place to move to
        if not self.cells or not set(self.cells) <= set(range(2, most + 1)):
            raise ValueError(
                f"task.cells={list(self.cells)} must be numbers from 2 to {most} at task.size={self.size}, "
                f"e.g. task.cells=[{most - 1}]"
            )

    def _check_questions(self) -> None:
        if not self.turns or not set(self.turns) <= set(DEGREES) or not 1 <= self.num_turns <= 4:
            raise ValueError(
                f"task.turns={list(self.turns)} must be of 0, 90, 180 and 270, e.g. task.turns=[90], "
                f"and task.num_turns={self.num_turns} from 1 to 4"
            )
        if unknown := set(self.distractors) - KINDS.keys():
            raise ValueError(f"task.distractors has unknown {sorted(unknown)}; choose from {', '.join(KINDS)}")
        most = prod(KINDS[kind] for kind in set(self.distractors))
        if not 2 <= self.candidates <= most:
            raise ValueError(
                f"task.candidates={self.candidates} must be 2 or more, and at most {most} with "
                f"task.distractors={list(self.distractors)}; choose more of {', '.join(KINDS)}, or fewer candidates"
            )
        if missing := [part for part in ("<image>", "{turn}", "{candidates}") if self.prompt.count(part) != 1]:
            raise ValueError(f"task.question={self.prompt!r} must hold {' and '.join(missing)} once")

    def instructions(self) -> list[Instruction]:
        """List what is asked for; rows go through it again and again."""
        sides = (False, True) if self.mirrors else (False,)
        return [Instruction(turns, side) for side in sides for turns in product(self.turns, repeat=self.num_turns)]

    def plans(self) -> Iterator[Plan]:
        """Yield every question; test comes first, so that it doesn't change with the size of train."""
        random = Random(self.seed)
        pieces = random_pieces(random, self.size, self.cells, self.colors, "cell" in self.distractors)
        instructions = self.instructions()
        for split in in_order(self.rows):
            for number, versions in enumerate(islice(pieces, self.rows[split])):
                instruction = instructions[number % len(instructions)]
                right = number // len(instructions) % self.candidates
                yield Plan(split, f"{split}_{number}", self._question(random, versions, instruction, right))

    def _question(self, random: Random, versions: tuple[Board, ...], instruction: Instruction, right: int) -> Question:
        piece, *partner = random.sample(versions, len(versions))
        first, *others = possible(map(instruction.apply, (piece, *partner)), self.distractors)
        candidates = random.sample(others, self.candidates - 1)
        candidates.insert(right, first)
        return Question(piece, instruction, tuple(candidates), right)

    def draw(self, plan: Plan, folder: Path) -> dict[str, Any]:
        """Write the pictures of piece, candidates and helper image."""
        question: Question = plan.content
        letters = ascii_uppercase[: self.candidates]
        boards = {
            "piece": question.piece,
            **dict(zip(letters, question.candidates, strict=True)),
            "turned": question.instruction.apply(question.piece),
        }
        names = {key: f"images/{plan.name}_{key}.png" for key in boards}
        for key, board in boards.items():
            draw_board(board, self.cell_px).save(folder / names[key], compress_level=1)
        offered = " ".join(f"{letter}<image>" for letter in letters)
        return {
            "text_input": self.prompt.replace("{turn}", str(question.instruction)).replace("{candidates}", offered),
            "text_output": f"\\boxed{{{letters[question.right]}}}",
            "image_input": [names["piece"], *(names[letter] for letter in letters)],
            "image_output": names["turned"],
            "map_id": plan.name,
            "map_desc": question.piece,
            "level": question.instruction.group,
        }
