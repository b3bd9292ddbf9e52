"""Which of a row's choices is the right one: what a file's column of right answers means.

It may hold the choice itself, its letter, or its index. Where two of these readings name different choices nothing is
guessed; where a file's other rows allow one reading alone, it is that.
"""

import json
import re
from ast import literal_eval
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from string import ascii_uppercase
from typing import Any

from data_modules.rows.answers import undressed
from data_modules.rows.choices import split_choices

READINGS = {
    "itself": "the choice itself",
    "letter": "a letter",
    "index": "an index from 0",
    "index1": "an index from 1",
}
"""What ``task.columns.right_is`` may say; an index from 1 is never guessed."""

_LETTER = re.compile(r"[(\[]?\s*([A-Za-z])\s*[)\]]?\s*[.:)]?(?:\s+(.+))?")
_OWN = re.compile(r"\s*[(\[]?([A-Z])(?:[)\].:]+)\s*(.+)", re.DOTALL)


def list_choices(choices: object) -> list[Any]:
    """Return a row's choices, without letters of their own: ``A. left`` is ``left``, as are ``{A: left}`` and a text.

    Nulls at the end, with which tables fill rows up, are none.

    Raises:
        ValueError: there are none or too many, one is empty or no text, or two are equal.
    """
    if isinstance(choices, str) and choices.strip().startswith("["):
        choices = _parsed(choices)
    elif isinstance(choices, str):
        choices = split_choices(choices)[1] or choices
    if isinstance(choices, Mapping) and [*choices] == [*ascii_uppercase[: len(choices)]]:
        choices = list(choices.values())
    while isinstance(choices, list) and choices and choices[-1] is None:
        choices = choices[:-1]
    if not isinstance(choices, list) or not 1 < len(choices) <= len(ascii_uppercase):
        raise ValueError(f"choices must be a list of 2 to {len(ascii_uppercase)}, got {choices!r:.200}")
    check_texts(choices)
    own = [_OWN.fullmatch(choice) if isinstance(choice, str) else None for choice in choices]
    if all(match and match[1] == letter for match, letter in zip(own, ascii_uppercase, strict=False)):
        return [match[2] for match in own if match]
    return choices


def check_texts(choices: Sequence[object]) -> None:
    """Demand choices that can be written and told apart.

    Raises:
        ValueError: one is empty, or neither text nor a number, or two are equal.
    """
    for number, choice in enumerate(choices, start=1):
        if not isinstance(choice, str | int | float | Decimal) or not str(choice).strip():
            raise ValueError(f"choice {number} must be text or a number, got {choice!r:.200}; correct the row")
    if len({str(choice).strip() for choice in choices}) < len(choices):
        raise ValueError(f"two of the choices {choices!r:.200} are equal; remove one")


def _parsed(choices: str) -> object:
    """A list that was written as text, as JSON or Python do."""
    try:
        return json.loads(choices)
    except ValueError:
        try:
            return literal_eval(choices)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return choices


def read_right(right: object, choices: Sequence[object]) -> dict[str, int]:
    """Return the index of the right choice under each reading that is possible, ``index1`` aside.

    Raises:
        ValueError: it is equal to several choices.
    """
    readings = {"itself": _itself(right, choices), "letter": _letter(right, choices)}
    number = _whole(right)
    if number is not None and 0 <= number < len(choices):
        readings["index"] = number
    return {reading: index for reading, index in readings.items() if index is not None}


def find_right(right: object, choices: Sequence[object], right_is: str | None = None) -> int:
    """Find the right one of some choices.

    Args:
        right: what the row has for it.
        choices: of the row.
        right_is: how to read it, one of :data:`READINGS`; ``None``: as can be told.

    Raises:
        ValueError: it is none of them, or two readings differ.
    """
    readings = read_right(right, choices)
    if right_is in ("index", "index1"):
        number = _whole(int(right) if isinstance(right, str) and re.fullmatch(r"\s*\d{1,3}\s*", right) else right)
        index = -1 if number is None else number - int(right_is == "index1")
        readings = {right_is: index} if 0 <= index < len(choices) else {}
    elif right_is is not None:
        readings = {reading: index for reading, index in readings.items() if reading == right_is}
    if not readings:
        read = f" as {READINGS[right_is]}" if right_is else ""
        hint = "; an index from 1 is task.columns.right_is=index1" if right == len(choices) else ""
        if isinstance(right, str) and right.strip().isdecimal() and right_is is None:
            hint = "; if it is an index, task.columns.right_is=index or index1 says so"
        problem = f"the right answer {right!r:.200} is not among the choices {choices!r:.200}{read}"
        raise ValueError(f"{problem}; correct one of them{hint}")
    if len(set(readings.values())) > 1:
        raise ValueError(differing(right, choices, readings))
    return next(iter(readings.values()))


def settle_reading(cases: Iterable[tuple[str, object, Sequence[object]]]) -> str | None:
    """Tell from a file's rows how its column of right answers is read.

    Args:
        cases: where, right answer and choices of each row.

    Returns:
        A reading, if there is only one that fits all rows; ``None`` where several do and agree.

    Raises:
        ValueError: no reading fits all rows, or two do and differ; names rows and the key that says which.
    """
    fitting: dict[str, None] = dict.fromkeys(("itself", "letter", "index"))
    misfits: dict[str, str] = {}
    unclear: list[tuple[str, object, Sequence[object], dict[str, int]]] = []
    for where, right, choices in cases:
        readings = read_right(right, choices)
        if not readings:  # the row is bad, and will be named
            continue
        for reading in [reading for reading in fitting if reading not in readings]:
            misfits[reading] = where
            del fitting[reading]
        if not fitting:
            here = " or ".join(READINGS[reading] for reading in readings)
            there = next(other for reading, other in misfits.items() if reading in readings)
            raise ValueError(
                f"{where}: the right answer {right!r:.200} is {here}, but that of {there} is not; "
                f"say what it is with task.columns.right_is={', '.join(READINGS)}, and correct the other rows"
            )
        if len(set(readings.values())) > 1 and len(unclear) < 1_000:
            unclear.append((where, right, choices, readings))
    for where, right, choices, readings in unclear:
        left = {reading: index for reading, index in readings.items() if reading in fitting}
        if len(set(left.values())) > 1:
            raise ValueError(f"{where}: {differing(right, choices, left)}")
    return next(iter(fitting)) if len(fitting) == 1 else None


def differing(right: object, choices: Sequence[object], readings: dict[str, int]) -> str:
    """Say that two readings name different choices."""
    parts = [
        f"{ascii_uppercase[index]} ({choices[index]!r:.80}) as {READINGS[reading]}"
        for reading, index in readings.items()
    ]
    return (
        f"the right answer {right!r:.200} is {' but '.join(parts)}; "
        f"say which with task.columns.right_is={' or '.join(readings)}"
    )


def _itself(right: object, choices: Sequence[object]) -> int | None:
    """The one choice that is equal: as it is, as text, without dress and case, or as a number."""
    plain = undressed(str(right)).casefold()
    tests = [
        [type(choice) is type(right) and choice == right for choice in choices],
        [str(choice) == str(right) for choice in choices],
        [undressed(str(choice)).casefold() == plain for choice in choices],
        [_number(choice) is not None and _number(choice) == _number(right) for choice in choices],
    ]
    for equal in tests:
        if sum(equal) > 1:
            raise ValueError(f"the right answer {right!r:.200} is equal to two of the choices {list(choices)!r:.200}")
        if any(equal):
            return equal.index(True)
    return None


def _whole(value: object) -> int | None:
    """A whole number; tables hold indices as 1.0 where a row has none."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _letter(right: object, choices: Sequence[object]) -> int | None:
    match = _LETTER.fullmatch(right.strip()) if isinstance(right, str) else None
    index = ascii_uppercase.index(match[1].upper()) if match else len(choices)
    if match is None or index >= len(choices):
        return None
    said = match[2]
    fits = said is None or undressed(said).casefold() == undressed(str(choices[index])).casefold()
    return index if fits else None
