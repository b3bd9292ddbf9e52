r"""Graders by name: what ``task.grader`` may be. Each compares a model's answer with the row's own.

A grader is a function ``(sample, text) -> Scores``; it raises ``ValueError`` where a row gives nothing to compare with.
"""

import re
from collections.abc import Callable
from importlib import import_module
from typing import cast

from data_modules.rows.answers import has_box, same, settled, stated, undressed
from data_modules.rows.choices import choice, find_letter, grade_choice, listed
from data_modules.rows.mathematics import equal
from data_modules.rows.numbers import read_number
from data_modules.samples import Sample, Text
from data_modules.scores import Scores

Grader = Callable[[Sample, str], Scores]

GROUP = "rows"
"""The group of a row that names none."""

LETTERED = "task.columns.lettered"
"""Key in ``meta`` of a row's choices as they are asked."""

_WORDS = re.compile(r"[A-Za-z][A-Za-z' -]{2,}")


def exact(sample: Sample, text: str) -> Scores:
    r"""Compare what answers settle on (:func:`settled`), or whole texts; case, spacing and dress don't matter.

    Raises:
        ValueError: the row has no answer.
    """
    expected, given = _pair(sample, text)
    return _graded(any(same(expected, one) for one in given), bool(given))


def boxed_letter(sample: Sample, text: str) -> Scores:
    r"""Compare the letters that answers settle on; in ``\boxed{…}``, unless the row's own letter isn't.

    Raises:
        ValueError: the row's answer has none.
    """
    choices = choices_of(sample)
    expected = find_letter(sample.answer_text, choices)
    if expected is None:
        raise ValueError(r"nothing to grade against; give the row an answer with a \boxed{letter}")
    find = choice if has_box(sample.answer_text) else find_letter
    return grade_choice(expected, find(text, choices), GROUP)


def boxed_number(sample: Sample, text: str) -> Scores:
    r"""Compare numbers: 0.5, .50 and 1/2 are one. In ``\boxed{…}``, unless the row's own isn't.

    Raises:
        ValueError: the row's answer is no number.
    """
    expected, given = _pair(sample, text)
    truth, numbers = read_number(expected), list(filter(None, map(read_number, given)))
    if truth is None:
        raise ValueError(r"nothing to grade against; give the row an answer with one number in \boxed{…}")
    return _graded(bool(numbers) and truth.same(numbers[0]), bool(numbers))


def mathematical(sample: Sample, text: str) -> Scores:
    r"""Compare mathematical answers: numbers, pairs, intervals, sets, expressions, equations.

    Raises:
        ValueError: the row's answer can't be read.
    """
    expected, given = _pair(sample, text)
    truth = read_number(expected)
    for one in given:
        if _WORDS.fullmatch(undressed(expected)) or _WORDS.fullmatch(undressed(one)):  # not a product of letters
            if len(given) == 1 or same(expected, one):
                return _graded(same(expected, one), True)
            continue
        number = read_number(one)
        if truth is not None and number is not None:
            return _graded(truth.same(number), True)
        if (verdict := equal(undressed(expected), undressed(one))) is not None:
            return _graded(verdict, True)
    return _graded(False, False)


def choices_of(sample: Sample) -> list[str]:
    """Return the choices of a row, in the order in which they are asked; none where nothing lists them."""
    question = sample.meta.get(LETTERED) or "".join(part.text for part in sample.question if isinstance(part, Text))
    return listed(question)


def _pair(sample: Sample, text: str) -> tuple[str, list[str]]:
    """What the row's answer settles on, and what a model's may have for its own; nothing where that is invalid.

    Raises:
        ValueError: the row has no answer.
    """
    own = sample.answer_text
    if not own.strip():
        raise ValueError("nothing to grade against; give the row an answer")
    expected, given = settled(own), settled(text)
    if given is not None or has_box(text) or expected is not None:
        return own if expected is None else expected, [] if given is None else [given]
    return own, [one for one in (*stated(text), text) if one.strip()]


def _graded(right: bool, valid: bool) -> Scores:
    return Scores({"success": right}, "success" if right else "wrong" if valid else "invalid", GROUP)


GRADERS: dict[str, Grader] = {
    "exact": exact,
    "choice": boxed_letter,
    "boxed_number": boxed_number,
    "math": mathematical,
}


def find_grader(name: str) -> Grader:
    """Return a grader by its name, or by the dotted path of a function, such as ``mine.grading.grade``.

    Raises:
        ValueError: there is none.
    """
    if name in GRADERS:
        return GRADERS[name]
    module, _, function = name.rpartition(".")
    known = f"choose one of {', '.join(GRADERS)}, or a dotted path such as mine.grading.grade"
    if not module:
        raise ValueError(f"task.grader={name} is unknown; {known}")
    try:
        grader = getattr(import_module(module), function)
    except (ImportError, AttributeError, TypeError) as error:  # TypeError: a path that starts with dots
        raise ValueError(f"task.grader={name} can't be imported ({error}); {known}") from None
    if not callable(grader):
        raise ValueError(f"task.grader={name} is a {type(grader).__name__}, no function; {known}")
    return cast(Grader, grader)
