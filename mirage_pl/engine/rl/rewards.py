"""The parts of a reward: what the data set's grade says of an answer, and whether it has the form asked for."""

import re
from collections.abc import Mapping
from math import isfinite
from typing import Any, Protocol

from data_modules.scores import Scores
from mirage_pl.engine.evaluation.answers import measure_answer
from mirage_pl.engine.seams import Located


class Grader(Protocol):
    """What grades: a data set, or a part of the stage that has the truth at hand."""

    def grade(self, sample: Any, answer: Any) -> Scores:
        """Grade what a policy did; without values where there is no truth."""


class Part(Protocol):
    """A part of a reward.

    Attributes:
        weight: what it is multiplied by.
    """

    weight: float

    def __call__(self, grade: Mapping[str, float], answer: Any) -> float:
        """Return the part's value.

        Args:
            grade: measure -> value, as evaluation has it.
            answer: what was graded.
        """


class ByGrade:
    """A measure of the data set's grade: ``success`` (accuracy), ``optimal``.

    Args:
        measure: its name.
        weight: of the part.
    """

    def __init__(self, measure: str, weight: float) -> None:
        self.measure, self.weight = measure, weight

    def __call__(self, grade: Mapping[str, float], answer: Any) -> float:
        """Return the measure.

        Raises:
            ValueError: the grade has no such measure.
        """
        if (value := grade.get(self.measure)) is None:
            have = ", ".join(name for name, each in grade.items() if each is not None) or "nothing"
            raise ValueError(f"there is no {self.measure} in its grade, which says {have}; see the keys below rewards")
        return float(value)


class ByForm:
    """1 where a text has a form, else 0.

    Args:
        pattern: regular expression, found somewhere in the text.
        weight: of the part.

    Raises:
        ValueError: it is none.
    """

    def __init__(self, pattern: str, weight: float) -> None:
        try:
            self.pattern = re.compile(pattern, re.DOTALL)
        except re.error as error:
            raise ValueError(f"rewards: pattern {pattern!r} is no regular expression: {error}") from None
        self.weight = weight

    def __call__(self, grade: Mapping[str, float], answer: Any) -> float:
        """Look for the form."""
        return float(self.pattern.search(answer) is not None)


def reward_answer(
    parts: Mapping[str, Part], grader: Grader, sample: Located, answer: Any
) -> tuple[dict[str, float], dict[str, float]]:
    """Grade an answer; return each part of its reward, weighed, and its ``success`` where the grade says so.

    Raises:
        ValueError: the row has no truth to grade by, or a part isn't finite; names the row.
    """
    scores = grader.grade(sample, answer)
    if not scores.values:
        raise ValueError(
            f"{sample.where}: the row holds no truth, so that answers can't be graded; leave it out of task.train_file"
        )
    grade: dict[str, float] = dict(scores.values) | measure_answer(scores)
    values: dict[str, float] = {}
    for name, part in parts.items():
        try:
            values[name] = part.weight * part(grade, answer)
        except ValueError as error:
            raise ValueError(f"{sample.where}: reward {name}: {error}") from None
        if not isfinite(values[name]):
            raise ValueError(f"{sample.where}: reward {name} is {values[name]}; rewards must be finite numbers")
    return values, {"success": float(grade["success"])} if grade.get("success") is not None else {}


def check_grader(grader: Any) -> None:
    """Refuse what grades nothing, such as a data set without a truth, before anything is asked.

    Raises:
        ValueError: says what to do.
    """
    if not callable(getattr(grader, "grade", None)):
        raise ValueError(
            f"rewards need a task that grades answers, and {type(grader).__name__} doesn't; choose another task=, or "
            "give its data set grade(sample, answer)"
        )
