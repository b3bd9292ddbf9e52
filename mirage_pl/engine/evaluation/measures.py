"""Intervals and differences of a measure, by its kind: computed, written as text, and judged.

An interval has the keys ``mean``, ``low``, ``high``, ``n``; a difference has ``difference`` instead of ``mean``.
``low`` and ``high`` are ``None`` where there is no interval, as for one number of a whole set.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import floor, isfinite, log10
from typing import Any

import numpy as np

from mirage_pl.engine.evaluation.phrases import judge_interval, write_percent, write_points
from mirage_pl.engine.evaluation.statistics import Array, bootstrap_units, paired_difference, wilson
from mirage_pl.engine.seams import Measure

Number = Mapping[str, Any]
"""An interval or a difference."""

DECIMALS = 6
"""A number is written with so many decimals at most; smaller ones have an exponent."""
TAKEN = frozenset(
    ["name", "command", "task", "ckpt", "evaluation", "measures", "conditions_in", "numbers_in", "words", "test"]
    + ["ungraded", "failures", "finished", "seconds", "seeds", "pooled", "by_seed", "difference", "differences"]
    + ["useful", "hours", "device", "steps", "paper"]
)
"""Keys of ``metrics.json`` and of a method in ``results.json``, beside which measures stand by name."""


def read_measures(content: Any) -> dict[str, Measure]:
    """Read the ``measures`` of ``metrics.json``, in order.

    Raises:
        ValueError: there are none, one has the name of another key, or its kind or direction is unknown; names it.
    """
    if not isinstance(content, dict) or not content:
        raise ValueError(f"measures must be an object with one measure or more, got {content!r}")
    measures = {}
    for name, facts in content.items():
        if name in TAKEN:
            raise ValueError(f"measures.{name} has the name of another key; give it one of its own")
        try:
            measure = Measure(**facts)
        except TypeError:
            raise ValueError(f"measures.{name} must have kind, better, unit, meaning; got {facts!r}") from None
        if measure.kind not in ("share", "mean", "set") or measure.better not in ("higher", "lower"):
            expected = "kind share, mean or set, and better higher or lower"
            raise ValueError(f"measures.{name} needs {expected}; got {measure.kind} and {measure.better}")
        measures[name] = measure
    return measures


def list_groups(measured: Iterable[Mapping[str, Number]]) -> list[str]:
    """List the groups to be shown beside ``all``: none where all items are of one, whose numbers are those of ``all``.

    Args:
        measured: group -> number, of each run or method.
    """
    names = dict.fromkeys(name for numbers in measured for name in numbers if name != "all")
    whole = [name for name in names if name != "unseen"]  # a part of the items of any group
    return [name for name in names if len(whole) > 1 or name == "unseen"]


def estimate_interval(measure: Measure, values: Sequence[float], units: Sequence[Any] | None = None) -> dict[str, Any]:
    """Compute the interval of a share (Wilson) or of a mean (bootstrap over units).

    Args:
        measure: of kind ``share`` or ``mean``.
        values: one per item.
        units: of each item; ``None``: each is one of its own.

    Raises:
        ValueError: no values.
    """
    if measure.kind == "share":
        return wilson(sum(map(bool, values)), len(values))
    return bootstrap_units(np.array(values, dtype=float), range(len(values)) if units is None else units)


def estimate_change(
    measure: Measure,
    before: Sequence[float] | Array,
    after: Sequence[float] | Array,
    units: Sequence[Any] | None = None,
) -> Number:
    """Compute the paired difference of the same items: after minus before.

    Shares get Newcombe's paired interval and ``p`` of the exact McNemar test, means a paired bootstrap over units.

    Raises:
        ValueError: no items, or the two sides differ in length.
    """
    if measure.kind == "share":
        return paired_difference([bool(value) for value in before], [bool(value) for value in after])
    if len(before) != len(after):
        raise ValueError(f"{len(before)} items can't be paired with {len(after)}")
    change = estimate_interval(measure, np.subtract(after, before, dtype=float).tolist(), units)
    return {"difference": change.pop("mean")} | change


def write_value(measure: Measure, interval: Number) -> tuple[str, str]:
    """Write a number with its unit, and its interval: ``("81.5 %", "[77.4, 85.0]")``, ``("31.20 dB", "[30.9, 31.5]")``.

    Without an interval the second text is empty.
    """
    if not has_interval(interval):
        mean = interval["mean"]
        return (f"{100 * mean:.1f} %" if measure.kind == "share" else add_unit(write_number(mean), measure)), ""
    if measure.kind == "share":
        return write_percent(interval)
    digits = count_digits(interval)
    mean, low, high = (write_number(interval[key], digits) for key in ("mean", "low", "high"))
    return add_unit(mean, measure), f"[{low}, {high}]"


def write_difference(measure: Measure, difference: Number) -> tuple[str, str]:
    """Write a difference with its unit, and its interval: ``("+2.3 points", "[-1.1, +5.7]")``.

    0 has no sign: ends of +0.0 and -0.0 show that the interval just excludes it.
    """
    change = difference["difference"]
    if not has_interval(difference):
        points = f"{write_signed(round(100 * change, 1), 1)} points"
        return (points if measure.kind == "share" else add_unit(write_signed(change), measure)), ""
    if measure.kind == "share":
        return write_points(difference)
    digits = count_digits(difference)
    low, high = (write_signed(difference[key], digits) for key in ("low", "high"))
    rounded = change if digits is None else round(change, digits)
    return add_unit(write_signed(rounded, digits), measure), f"[{low}, {high}]"


def write_extra(value: Any) -> str:
    """Write a further number of a condition: a share in percent, a difference of shares in points, others plainly."""
    if isinstance(value, Mapping):
        if value.get("mean") is None:
            return "–"
        if "difference" in value:
            return write_points(value)[0]
        return write_percent(value)[0] if "low" in value else write_number(value["mean"])
    return write_short(value) if isinstance(value, int | float) else str(value)


def judge_difference(measure: Measure, difference: Number) -> str:
    """Judge a difference by its interval: ``p = 0.01: better``, ``worse``, ``not distinguishable``, ``no interval``."""
    if not has_interval(difference):
        return "no interval"
    return judge_interval(difference if measure.better == "higher" else reverse_difference(difference))


def reverse_difference(difference: Number) -> dict[str, Any]:
    """Swap the two sides of a difference."""
    ends = {"low": -difference["high"], "high": -difference["low"]} if has_interval(difference) else {}
    return {**difference, "difference": -difference["difference"], **ends}


def say_against(measure: Measure, change: Number, rival: str) -> str:
    """Say whether a model beats a rival, and by how much: "beats copying the first frame: +8.4 dB [+7.9, +8.8]".

    Args:
        measure: what is compared.
        change: the rival's value minus the model's own.
        rival: what it is.
    """
    words = (
        "beats" if is_loss(measure, change) else "is worse than" if is_gain(measure, change) else "isn't shown to beat"
    )
    return f"{words} {rival}: {' '.join(write_difference(measure, reverse_difference(change)))}"


def read_changes(metrics: Mapping[str, Any], name: str) -> dict[str, Number]:
    """Condition -> how a measure differs there from the model's own value; those for which it is known.

    Args:
        metrics: of an evaluation whose conditions are in ``conditions``.
        name: of the measure.
    """
    changes = {}
    for key, condition in (metrics.get("conditions") or {}).items():
        number = (condition.get("measures") or {}).get(name) or {}
        if (change := number.get("difference") or {}).get("difference") is not None:
            changes[key] = change
    return changes


def is_loss(measure: Measure, difference: Number) -> bool:
    """Whether the interval lies wholly on the worse side of 0."""
    if not has_interval(difference):
        return False
    return bool(difference["high"] < 0 if measure.better == "higher" else difference["low"] > 0)


def is_gain(measure: Measure, difference: Number) -> bool:
    """Whether the interval lies wholly on the better side of 0."""
    if not has_interval(difference):
        return False
    return bool(difference["low"] > 0 if measure.better == "higher" else difference["high"] < 0)


def has_interval(number: Number) -> bool:
    """Whether a number has an interval."""
    return number.get("low") is not None and number.get("high") is not None


def add_unit(number: str, measure: Measure) -> str:
    """Append the unit to a number; the sign of degrees touches it."""
    return f"{number}{'' if measure.unit.startswith('°') else ' '}{measure.unit}".rstrip()


def count_digits(number: Number) -> int | None:
    """Decimals that show two significant digits of half the interval's width; ``None`` if the width is 0."""
    width = (number["high"] - number["low"]) / 2
    return max(0, 1 - floor(log10(width))) if isfinite(width) and width > 0 else None


def write_short(value: float) -> str:
    """Write a number with three significant digits, or whole: ``0.123``, ``1,000``; 0 has no sign."""
    value += 0.0
    return f"{value:,.0f}" if 999.5 <= abs(value) < 1e6 else f"{value:.3g}"


def write_number(value: float, digits: int | None = None) -> str:
    """Write a number with the given decimals, see :func:`format_number`; what is rounded to 0 has no sign."""
    return format_number((value if digits is None else round(value, digits)) + 0.0, digits)


def write_signed(value: float, digits: int | None = None) -> str:
    """Write a difference, or an end of its interval, with its sign, which 0 alone hasn't; see :func:`format_number`."""
    return format_number(value, digits, "+") if value else format_number(0.0, digits)


def format_number(value: float, digits: int | None, sign: str = "") -> str:
    """Format a number with the given decimals; if they are ``None`` or too many, with four significant digits or whole.

    An exponent is left to what is below 0.0001, or a million and more.
    """
    if digits is not None and digits <= DECIMALS:
        return f"{value:{sign},.{digits}f}"
    if 999.95 <= abs(value) < 1e6:
        return f"{value:{sign},.0f}"
    return f"{value:{sign}.4g}"
