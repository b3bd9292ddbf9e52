"""Values of a request's JSON, and what a client is told of one that is none."""

import json
from collections.abc import Mapping
from typing import Any

from mirage_pl.engine.serving.refusals import Refusal


def read_object(body: bytes) -> dict[str, Any]:
    """Read strict JSON.

    Raises:
        Refusal: it is none, or no object.
    """
    try:
        content = json.loads(body, parse_constant=lambda name: 1 / 0)
    except (ValueError, ZeroDivisionError, RecursionError) as error:
        reason = str(error) if isinstance(error, json.JSONDecodeError) else "it must be UTF-8, finite, not too deep"
        raise Refusal(f"the body is no JSON ({reason})", code="invalid_json") from None
    if not isinstance(content, dict):
        raise Refusal(f"the body must be a JSON object, got {name_type(content)}", code="invalid_json")
    return {name: value for name, value in content.items() if value is not None}


def name_type(value: Any) -> str:
    """A value's type in JSON's words."""
    if isinstance(value, bool) or value is None:
        return "null" if value is None else "a boolean"
    kinds = {str: "a string", int: "a number", float: "a number", list: "an array", dict: "an object"}
    return next(name for kind, name in kinds.items() if isinstance(value, kind))


def expect(given: Mapping[str, Any], name: str, kind: Any, words: str, default: Any = None, at: str = "") -> Any:
    """Return a parameter, or its default where it isn't given.

    Raises:
        Refusal: another type.
    """
    value = given.get(name)
    if value is None:
        return default
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise Refusal(f"{at}{name} must be {words}, got {name_type(value)}", code="invalid_type", param=f"{at}{name}")
    return value
