r"""Multiple choice: the letter in the last ``\boxed{…}`` of an answer.

The official rows are answered so, ``\boxed{B}``; a letter in brackets, ``\boxed{(B)}``, means the same.
"""

import re

from data_modules.samples import Grade

_BOXED = re.compile(r"\\boxed\{\s*\(?\s*([A-Za-z])\s*\)?\s*\}")


def choice(text: str) -> str | None:
    """The letter an answer settles on, as a capital; ``None`` without one."""
    found = _BOXED.findall(text)
    return found[-1].upper() if found else None


def grade_choice(expected: str | None, text: str, group: str) -> Grade:
    """Grade an answer against the right letter: ``success``, ``wrong``, or ``invalid`` where it settles on none."""
    given = choice(text)
    right = given is not None and given == expected
    return Grade(right, "success" if right else "wrong" if given else "invalid", right, group)
