"""A family's words for reports and the console, loaded from the dotted path that its evaluation names."""

import importlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from mirage_pl.engine.seams import Words

OURS = re.compile(r"mirage_pl(\.\w+)+")


class PlainWords:
    """No words: reports show plain names and draw no conclusions."""

    CONDITIONS: Mapping[str, str] = {}
    NUMBERS: Mapping[str, str] = {}

    @staticmethod
    def sections(results: Sequence[Any]) -> Mapping[str, str]:
        """Return no sections."""
        return {}

    @staticmethod
    def verdict(metrics: Mapping[str, Any]) -> Sequence[str]:
        """Return no sentences."""
        return ()

    @staticmethod
    def describe_method(method: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return nothing to add."""
        return {}

    @staticmethod
    def judge_methods(methods: Mapping[str, Mapping[str, Any]], baseline: str) -> Sequence[str]:
        """Return no sentences."""
        return ()


def load_words(path: Any, trusted: str | None = None) -> Words:
    """Load the words that an evaluation's ``metrics.json`` names.

    A run folder may come from anywhere, and importing a module runs its code. So the module is imported only if it
    belongs to this package, or if the user's own command names the same path.

    Args:
        path: dotted path, such as ``mirage_pl.mirage.report``.
        trusted: the path that the command names; ``None`` for none.

    Returns:
        The module; :class:`PlainWords` if it isn't trusted, can't be imported, or lacks one of the words.
    """
    if not isinstance(path, str) or not (OURS.fullmatch(path) or path == trusted):
        return cast(Words, PlainWords)
    try:
        module = importlib.import_module(path)
    except ImportError:
        return cast(Words, PlainWords)
    return cast(Words, module if all(hasattr(module, name) for name in WORDS) else PlainWords)


def order_names(words: Mapping[str, str], collections: Iterable[Iterable[str]]) -> list[str]:
    """List every name in some collections once: those with words first, in their order, then the others."""
    names = dict.fromkeys(name for collection in collections for name in collection)
    return [name for name in words if name in names] + [name for name in names if name not in words]


WORDS = [name for name in vars(PlainWords) if not name.startswith("_")]
"""What a family's module must define."""
