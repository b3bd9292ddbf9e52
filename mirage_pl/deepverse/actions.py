"""The language of actions: ``(FN)(fRL)`` is a step forward, then one to the front right while turning left.

A step lasts one unit. Codes and sentences are those of the release: its embeddings are stored under the sentences.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from data_modules.worlds.walking import ACTIONS, MOVES, TURNS

EMPTY = "empty"
"""What is said where nothing is: of the first unit of a window, and of what guidance departs from."""
MOVING = {
    "S": "Stay where you are.",
    "F": "Move forward.",
    "B": "Move backward.",
    "L": "Move to the left.",
    "R": "Move to the right.",
    "fL": "Move to the front left.",
    "fR": "Move to the front right.",
    "rL": "Move to the rear left.",
    "rR": "Move to the rear right.",
}
TURNING = {
    "N": "The perspective hasn't changed.",
    "L": "Rotate the perspective counterclockwise.",
    "R": "Rotate the perspective clockwise.",
}
SENTENCES = {code: f"{MOVING[code[:-1]]} {TURNING[code[-1]]}" for code in ACTIONS}
"""Code -> what is said of it."""
STEP = re.compile(r"\(([^()]*)\)")
VALID = f"a step is (MOVE TURN) without the space, MOVE one of {', '.join(MOVES)} and TURN one of {', '.join(TURNS)}"


@dataclass(frozen=True)
class ActionProgram:
    """Steps, by their codes.

    Attributes:
        codes: out of ``ACTIONS``, at least one.
    """

    codes: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a program.

        Raises:
            ValueError: it isn't one; names the step that is wrong, where it is, and what a step may be.
        """
        codes, place = list[str](), 0
        while place < len(text) or not codes:
            step = STEP.match(text, place)
            if step is None or step[1] not in ACTIONS:
                wrong = text[place : place + 12] if step is None else step[0]
                raise ValueError(
                    f"actions={text!r}: step {len(codes) + 1}, {wrong!r} at character {place + 1}, is none; {VALID}"
                )
            codes.append(step[1])
            place = step.end()
        return cls(tuple(codes))

    def __str__(self) -> str:
        return "".join(f"({code})" for code in self.codes)

    @property
    def prompts(self) -> list[str]:
        """What is said of each unit: nothing of the first one, which is where the walk begins."""
        return [EMPTY, *(SENTENCES[code] for code in self.codes)]


def divide_prompts(prompts: Sequence[str], units: int = 8, given: int = 4) -> list[list[str]]:
    """What is said in each window: the last prompt comes again until the last window is full.

    Args:
        prompts: of each unit, in order.
        units: of a window.
        given: of them, those that a window takes over from the one before.

    Returns:
        A list for each window, one prompt for each of its units; of its first one nothing is said.
    """
    new = units - given
    total = units + max(0, -(-(len(prompts) - units) // new)) * new
    padded = [*prompts, *[prompts[-1]] * (total - len(prompts))]
    return [[EMPTY, *padded[first + 1 : first + units]] for first in range(0, total - given, new)]


def count_frames(units: int, stride: int = 8) -> int:
    """Frames of so many units: the first one is one frame, every other ``stride``."""
    return stride * (units - 1) + 1
