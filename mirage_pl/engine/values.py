"""Which values an annotation allows, and what it asks for in words. Imports no torch.

``Annotated[int, Ge(1)]`` bounds a number (:mod:`annotated_types`). Numbers must be finite. What can't be judged fits.
"""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import Enum
from math import isfinite
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, GroupedMetadata, Gt, Le, Lt, MaxLen, MinLen

LISTS = (list, tuple, set, frozenset, Sequence, Iterable, Collection)
"""Types for which a list is given."""
WORDS = {NoneType: "null", bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
ITEMS = {int: "whole numbers", float: "numbers", str: "texts"}


def fits(value: Any, annotation: Any) -> bool:
    """Whether a plain value may be given where a parameter has an annotation."""
    kind, options = get_origin(annotation) or annotation, get_args(annotation)
    if kind is Annotated:
        return fits(value, options[0]) and all(holds(value, rule) for rule in list_rules(options[1:]))
    if kind in (Union, UnionType):
        return any(fits(value, option) for option in options)
    if kind is Literal:
        return any(value == option and type(value) is type(option) for option in options)
    if value is None or kind in (None, NoneType):
        return value is None and (kind in (None, NoneType, Any, object) or not is_known(kind))
    return fits_class(value, kind, options) if isinstance(kind, type) else True


def fits_class(value: Any, kind: type, options: Sequence[Any]) -> bool:
    """Whether a value that isn't ``null`` fits a class, with the types of its entries."""
    if kind is bool or isinstance(value, bool):
        return isinstance(value, bool) and (kind in (bool, object) or not is_plain(kind))
    if kind in (int, float):
        return isinstance(value, int | kind) and isfinite(value)
    if kind is str:
        return isinstance(value, str)
    if issubclass(kind, Mapping):
        return isinstance(value, Mapping) and all(fits(entry, options[1]) for entry in value.values() if options[1:])
    if kind in LISTS:
        return isinstance(value, list | tuple) and fits_items(value, kind, options)
    return not isinstance(value, int | float | str) or isinstance_of(value, kind) or takes_text(kind, value)


def fits_items(values: Sequence[Any], kind: type, options: Sequence[Any]) -> bool:
    """Whether the items of a list fit those of an annotation: one for all, or one for each of a fixed number."""
    if is_fixed(kind, options):
        return len(values) == len(options) and all(map(fits, values, options))
    return not options or all(fits(value, options[0]) for value in values)


def is_fixed(kind: Any, options: Sequence[Any]) -> bool:
    """Whether an annotation is a tuple of a fixed length."""
    return kind is tuple and len(options) > 0 and options[-1] is not ...


def is_known(kind: Any) -> bool:
    """Whether a kind of annotation says what is allowed: a class does, a type variable doesn't."""
    return isinstance(kind, type)


def is_plain(kind: type) -> bool:
    """Whether values of a class are written in YAML as they are."""
    return kind in (bool, int, float, str, *LISTS) or issubclass(kind, Mapping)


def is_built(annotation: Any) -> bool:
    """Whether YAML can't hold what an annotation asks for, so that a ``_target_`` has to make it."""
    bare = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    kind = get_origin(bare) or bare
    return isinstance(kind, type) and kind is not NoneType and not is_plain(kind) and not takes_text(kind)


def takes_text(kind: type, value: Any = "") -> bool:
    """Whether a plain value may stand for a class: a path, a word of an enumeration, a protocol."""
    return (issubclass(kind, os.PathLike | Enum) and isinstance(value, str)) or getattr(kind, "_is_protocol", False)


def isinstance_of(value: Any, kind: type) -> bool:
    """``isinstance`` for a class that may refuse to answer."""
    try:
        return isinstance(value, kind)
    except TypeError:
        return True


def list_rules(rules: Iterable[Any]) -> list[Any]:
    """The bounds in an annotation; ``Interval`` and ``Len`` are several."""
    return [one for rule in rules for one in (rule if isinstance(rule, GroupedMetadata) else [rule])]


def holds(value: Any, rule: Any) -> bool:
    """Whether a value of the right type is within a bound."""
    match rule:
        case Ge():
            return bool(value >= rule.ge)
        case Gt():
            return bool(value > rule.gt)
        case Le():
            return bool(value <= rule.le)
        case Lt():
            return bool(value < rule.lt)
        case MinLen():
            return len(value) >= rule.min_length
        case MaxLen():
            return len(value) <= rule.max_length
    return True


def describe(annotation: Any) -> str:
    """What an annotation asks for, in words: ``a whole number of 1 or more, or null``."""
    kind, options = get_origin(annotation) or annotation, get_args(annotation)
    if kind is Annotated:
        rules = list_rules(options[1:])
        counted = (get_origin(options[0]) or options[0]) in LISTS and any(isinstance(rule, MaxLen) for rule in rules)
        return " ".join([describe(list if counted else options[0]), *describe_rules(rules)])
    if kind in (Union, UnionType):
        written = [option for option in options if not is_built(option)] or options
        parts = dict.fromkeys(describe(option) for option in written if option not in (None, NoneType))
        return ", or ".join([*parts, *(["null"] if NoneType in options else [])])
    if kind is Literal:
        return f"one of {', '.join(map(str, options))}"
    if kind in LISTS:
        if is_fixed(kind, options):
            return f"a list of {len(options)}"
        items = ITEMS.get(options[0]) if options else None
        return f"a list of {items}" if items else "a list"
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return "keys with their values, in braces"
    if isinstance(kind, type) and issubclass(kind, os.PathLike):
        kind = str
    known = WORDS.get(NoneType if kind is None else kind)
    return known or f"a {getattr(kind, '__name__', 'function')}, which its _target_ makes"


def describe_rules(rules: Sequence[Any]) -> list[str]:
    """Bounds in words."""
    least = next((rule.ge for rule in rules if isinstance(rule, Ge)), None)
    most = next((rule.le for rule in rules if isinstance(rule, Le)), None)
    words = [f"above {rule.gt}" for rule in rules if isinstance(rule, Gt)]
    words += [f"below {rule.lt}" for rule in rules if isinstance(rule, Lt)]
    lengths = [rule.max_length for rule in rules if isinstance(rule, MaxLen)]
    words += [f"of {length}" for length in lengths]
    words += ["that isn't empty" for rule in rules if isinstance(rule, MinLen) and not lengths]
    if least is not None and most is not None:
        return [f"from {least} to {most}", *words]
    if least is not None:
        return [f"of {least} or more", *words]
    return [f"of at most {most}", *words] if most is not None else words
