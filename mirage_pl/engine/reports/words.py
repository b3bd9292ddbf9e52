"""A family's words in a report, found by the dotted path that an evaluation names."""

import importlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from mirage_pl.engine.seams import Words

OURS = re.compile(r"mirage_pl(\.\w+)+")


class PlainWords:
    """No words: a report then shows its tables with plain names."""

    CONDITIONS: Mapping[str, str] = {}
    NUMBERS: Mapping[str, str] = {}

    @staticmethod
    def sections(results: Sequence[Any]) -> Mapping[str, str]:
        """Return no section."""
        return {}

    @staticmethod
    def verdict(metrics: Mapping[str, Any]) -> Sequence[str]:
        """Return no sentence."""
        return ()

    @staticmethod
    def describe_method(method: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return nothing further."""
        return {}

    @staticmethod
    def judge_methods(methods: Mapping[str, Mapping[str, Any]], baseline: str) -> Sequence[str]:
        """Return no sentence."""
        return ()


def load_words(path: Any, trusted: str | None = None) -> Words:
    """Load the words that an evaluation's ``metrics.json`` names.

    A run folder may come from anywhere, so that what it names is imported only from this package, or if the user's own
    command names the same.

    Args:
        path: dotted path, as ``mirage_pl.mirage.report``.
        trusted: the path that the command names; ``None`` for none.

    Returns:
        The module; :class:`PlainWords` where it isn't to be trusted, isn't there, or has none of the words.
    """
    if not isinstance(path, str) or not (OURS.fullmatch(path) or path == trusted):
        return cast(Words, PlainWords)
    try:
        module = importlib.import_module(path)
    except ImportError:
        return cast(Words, PlainWords)
    return cast(Words, module if all(hasattr(module, name) for name in WORDS) else PlainWords)


WORDS = [name for name in vars(PlainWords) if not name.startswith("_")]
"""What a family's module must have."""
