"""What a session is given: its kinds, and what is none of them."""

import json
from collections.abc import Mapping
from inspect import signature
from math import isfinite
from typing import Any

KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "text": ((str,), "text"),
    "number": ((int, float), "a finite number"),
    "image": ((str, list), "a path or a list of paths"),
    "clip": ((str, list), "a path or a list of paths"),
}
"""What a row may give for each kind of input, and in words."""


def check_kind(name: str, kind: str, value: Any) -> None:
    """Check that an input is of its kind.

    Raises:
        ValueError: it is of another type, or a number that isn't finite.
    """
    types, words = KINDS[kind]
    paths = value if isinstance(value, list) else []
    fits = isinstance(value, types) and not isinstance(value, bool) and all(isinstance(path, str) for path in paths)
    if not fits or (isinstance(value, float) and not isfinite(value)):
        raise ValueError(f"{name} must be {words}, got {json.dumps(value):.50}")


def check_count(key: str, value: Any, least: int) -> int:
    """A whole number.

    Raises:
        ValueError: it is none, or below the least.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1 or value < least:
        raise ValueError(f"{key}={value} must be a whole number, {least} or more")
    return int(value)


def list_steps(session: type, takes: Mapping[str, str]) -> dict[str, str]:
    """Those of a session's inputs that going on takes, with their kinds."""
    parameters = signature(session.step).parameters  # type: ignore[attr-defined]
    return {name: kind for name, kind in takes.items() if name in parameters}
