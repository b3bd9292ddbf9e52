r"""Graders by name: what ``task.grader`` may be. Each compares a model's answer with the row's own.

A grader is a function ``(sample, text) -> Scores``; it raises ``ValueError`` where a row gives nothing to compare with.
"""

import re
from collections.abc import Callable
from fractions import Fraction
from importlib import import_module
from typing import cast

from data_modules.rows.choices import choice, grade_choice
from data_modules.samples import Sample
from data_modules.scores import Scores

Grader = Callable[[Sample, str], Scores]

GROUP = "rows"
"""The group of a row that names none."""

_NUMBER = re.compile(r"[-+]?(?:\d[\d,]{0,40}(?:\.\d{0,40})?|\.\d{1,40})(?:/\d{1,40})?")

_FINAL = re.compile(r"(?i)\bfinal answer(?: is)?:(.*)")


def boxed(text: str) -> str | None:
    r"""Return what the last ``\boxed{…}`` of a text holds, braces within included; ``None`` without a closed one."""
    start = text.rfind(r"\boxed{") + len(r"\boxed{")
    depth = 1
    for end in range(start, len(text)) if start >= len(r"\boxed{") else ():
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if not depth:
            return text[start:end]
    return None


def number(text: str) -> Fraction | None:
    r"""Return the one number in the last ``\boxed{…}``; a comma parts thousands. ``None`` for no or several numbers."""
    found = _NUMBER.findall(boxed(text) or "")
    try:
        return Fraction(found[0].replace(",", "").rstrip(".")) if len(found) == 1 else None
    except (ValueError, ZeroDivisionError):  # such as 1./2 or 1/0
        return None


def final(text: str) -> str | None:
    r"""Return what the last ``\boxed{…}`` holds, or what the last line ``The final answer is: …`` says."""
    said = _FINAL.findall(text)
    return boxed(text) or (said[-1] if said else None)


def exact(sample: Sample, text: str) -> Scores:
    r"""Compare final answers (:func:`final`), or whole texts where the row's has none; case and spacing don't matter.

    Raises:
        ValueError: the row has no answer.
    """
    if not sample.answer_text.strip():
        raise ValueError("nothing to grade against; give the row an answer")
    expected = final(sample.answer_text)
    given = text if expected is None else final(text)
    expected = sample.answer_text if expected is None else expected
    return _graded(given is not None and _plain(given) == _plain(expected), given is not None)


def boxed_letter(sample: Sample, text: str) -> Scores:
    r"""Compare the letters in ``\boxed{…}``.

    Raises:
        ValueError: the row's answer has none.
    """
    expected = choice(sample.answer_text)
    if expected is None:
        raise ValueError(r"nothing to grade against; give the row an answer with a \boxed{letter}")
    return grade_choice(expected, text, GROUP)


def boxed_number(sample: Sample, text: str) -> Scores:
    r"""Compare the numbers in ``\boxed{…}``: 0.5, .50 and 1/2 are one.

    Raises:
        ValueError: the row's answer has none.
    """
    expected, given = number(sample.answer_text), number(text)
    if expected is None:
        raise ValueError(r"nothing to grade against; give the row an answer with one number in \boxed{…}")
    return _graded(given == expected, given is not None)


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _graded(right: bool, valid: bool) -> Scores:
    return Scores({"success": right}, "success" if right else "wrong" if valid else "invalid", GROUP)


GRADERS: dict[str, Grader] = {"exact": exact, "choice": boxed_letter, "boxed_number": boxed_number}


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
