"""Which part of a model a weight belongs to, by the names that its family gives."""

from collections.abc import Mapping
from typing import Any

from mirage_pl.engine.adapters.rows import Rows
from mirage_pl.engine.runs.identity import is_below

ROWS = "rows"
"""The part of trained rows of some tokens, in every family."""


def locate_parts(module: Any) -> dict[str, str]:
    """Dotted prefix of weights -> name of their part.

    Args:
        module: a stage, whose ``parts()`` names modules.
    """
    prefixes = {id(each): prefix for prefix, each in module.named_modules()}
    places = {prefixes[id(each)]: part for part, modules in module.parts().items() for each in modules}
    return places | {prefix: ROWS for prefix, each in module.named_modules() if isinstance(each, Rows)}


def part_of(name: str, places: Mapping[str, str]) -> str | None:
    """The part of a weight or module by its dotted name, the innermost one; ``None`` outside all parts."""
    around = [prefix for prefix in places if is_below(name, [prefix])]
    return places[max(around, key=len)] if around else None
