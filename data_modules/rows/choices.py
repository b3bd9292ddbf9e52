r"""Multiple choice: the letter in the last ``\boxed{…}`` of an answer.

The official rows are answered so, ``\boxed{B}``; a letter in brackets, ``\boxed{(B)}``, means the same.
"""

import re
from collections.abc import Sequence
from string import ascii_uppercase

from data_modules.scores import Scores

_BOXED = re.compile(r"\\boxed\{\s*\(?\s*([A-Za-z])\s*\)?\s*\}")
_LETTER = re.compile(r"\(?([A-Za-z])\)?\.?")


def choice(text: str) -> str | None:
    """The letter an answer settles on, as a capital; ``None`` without one."""
    found = _BOXED.findall(text)
    return found[-1].upper() if found else None


def grade_choice(expected: str | None, text: str, group: str) -> Scores:
    """Grade an answer against the right letter: ``success``, ``wrong``, or ``invalid`` where it settles on none."""
    given = choice(text)
    right = given is not None and given == expected
    return Scores({"success": right}, "success" if right else "wrong" if given else "invalid", group)


def lettered(choices: Sequence[object]) -> str:
    """Write choices as lines, ``(A) left``."""
    return "\n".join(f"({letter}) {text}" for letter, text in zip(ascii_uppercase, choices, strict=False))


def find_right(right: object, choices: object) -> int:
    """Find the right one of some choices.

    Args:
        right: the choice itself, or its letter (``(B)``, ``B``), or its index from 0.
        choices: a list.

    Raises:
        ValueError: there are none or too many, two are equal, or the right one is not among them.
    """
    if not isinstance(choices, list) or not 1 < len(choices) <= len(ascii_uppercase):
        raise ValueError(f"choices must be a list of 2 to {len(ascii_uppercase)}, got {choices!r:.200}")
    texts = [str(text) for text in choices]
    if len(set(texts)) < len(texts):
        raise ValueError(f"two of the choices {choices!r:.200} are equal; remove one")
    if isinstance(right, str) and right in texts:
        return texts.index(right)
    letter = _LETTER.fullmatch(right) if isinstance(right, str) else None
    index = ascii_uppercase.index(letter[1].upper()) if letter else right
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(choices):
        raise ValueError(
            f"the right answer {right!r:.200} is not among the choices {choices!r:.200}; correct one of them"
        )
    return index
