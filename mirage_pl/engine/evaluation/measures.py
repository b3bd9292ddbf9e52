"""A measure's numbers by its kind: intervals, differences, how they are written, and what they mean.

An interval is ``mean``, ``low``, ``high``, ``n``; a difference has ``difference`` for ``mean``. ``low`` and ``high``
are ``None`` where nothing says how far the number is to be trusted, as of a whole set within one run.
"""

from collections.abc import Mapping, Sequence
from math import floor, isfinite, log10
from typing import Any

import numpy as np

from mirage_pl.engine.evaluation.statistics import (
    Array,
    bootstrap,
    bootstrap_change,
    judge,
    paired_difference,
    percent,
    points,
    wilson,
)
from mirage_pl.engine.seams import Measure

Number = Mapping[str, Any]
"""An interval or a difference."""


def read_measures(content: Any) -> dict[str, Measure]:
    """Make measures of what ``metrics.json`` says of them, in order.

    Raises:
        ValueError: none, or one whose kind or direction is unknown; names it.
    """
    if not isinstance(content, dict) or not content:
        raise ValueError(f"measures must be an object with one measure or more, got {content!r}")
    measures = {}
    for name, facts in content.items():
        try:
            measure = Measure(**facts)
        except TypeError:
            raise ValueError(f"measures.{name} must have kind, better, unit, meaning; got {facts!r}") from None
        if measure.kind not in ("share", "mean", "set") or measure.better not in ("higher", "lower"):
            wanted = "kind share, mean or set, and better higher or lower"
            raise ValueError(f"measures.{name} needs {wanted}; got {measure.kind} and {measure.better}")
        measures[name] = measure
    return measures


def estimate(measure: Measure, values: Sequence[float]) -> dict[str, Any]:
    """Interval of a share (Wilson) or of a mean (bootstrap over items).

    Args:
        measure: of kind ``share`` or ``mean``.
        values: one an item.

    Raises:
        ValueError: no values.
    """
    if measure.kind == "share":
        return wilson(sum(map(bool, values)), len(values))
    interval: dict[str, Any] = bootstrap(np.array([values], dtype=float))
    return interval if len(values) > 1 else interval | {"low": None, "high": None}


def estimate_change(measure: Measure, before: Sequence[float] | Array, after: Sequence[float] | Array) -> Number:
    """By how much the same items score otherwise: after minus before, item by item.

    Shares have Newcombe's paired interval and the exact McNemar test's ``p``, means a paired bootstrap.

    Raises:
        ValueError: no items, or a different number on the two sides.
    """
    if measure.kind == "share":
        return paired_difference([bool(value) for value in before], [bool(value) for value in after])
    if len(before) != len(after):
        raise ValueError(f"{len(before)} items can't be paired with {len(after)}")
    change: dict[str, Any] = bootstrap_change(np.array([before], dtype=float), np.array([after], dtype=float))
    return change if len(before) > 1 else change | {"low": None, "high": None}


def write_value(measure: Measure, interval: Number) -> tuple[str, str]:
    """Write a number with its unit, and its interval: ``("81.5 %", "[77.4, 85.0]")``, ``("31.20 dB", "[30.9, 31.5]")``.

    The interval is empty where there is none.
    """
    if not has_interval(interval):
        mean = interval["mean"]
        return (f"{100 * mean:.1f} %" if measure.kind == "share" else with_unit(write_number(mean), measure)), ""
    if measure.kind == "share":
        return percent(interval)
    digits = count_digits(interval)
    mean, low, high = (write_number(interval[key], digits) for key in ("mean", "low", "high"))
    return with_unit(mean, measure), f"[{low}, {high}]"


def write_difference(measure: Measure, difference: Number) -> tuple[str, str]:
    """Write a difference with its unit, and its interval: ``("+2.3 points", "[-1.1, +5.7]")``.

    An end just below 0 is written -0.0, so that one sees that the interval excludes 0.
    """
    if not has_interval(difference):
        change = difference["difference"]
        share = f"{100 * change + 0.0:+.1f} points"
        return (share if measure.kind == "share" else with_unit(write_number(change, sign="+"), measure)), ""
    if measure.kind == "share":
        return points(difference)
    digits = count_digits(difference)
    low, high = (write_number(difference[key], digits, "+") for key in ("low", "high"))
    change = round(difference["difference"], 8 if digits is None else digits) + 0.0  # no -0.0
    return with_unit(write_number(change, digits, "+"), measure), f"[{low}, {high}]"


def judge_difference(measure: Measure, difference: Number) -> str:
    """Say whether a difference is one, and in which direction: ``p = 0.01: better``, ``not distinguishable``."""
    if not has_interval(difference):
        return "no interval"
    return judge(difference if measure.better == "higher" else negate(difference))


def negate(difference: Number) -> dict[str, Any]:
    """Turn a difference round."""
    low, high = difference["low"], difference["high"]
    return {**difference, "difference": -difference["difference"], "low": -high, "high": -low}


def is_loss(measure: Measure, difference: Number) -> bool:
    """Whether something is shown to be worse."""
    if not has_interval(difference):
        return False
    return bool(difference["high"] < 0 if measure.better == "higher" else difference["low"] > 0)


def is_gain(measure: Measure, difference: Number) -> bool:
    """Whether something is shown to be better."""
    if not has_interval(difference):
        return False
    return bool(difference["low"] > 0 if measure.better == "higher" else difference["high"] < 0)


def has_interval(number: Number) -> bool:
    """Whether a number has two ends."""
    return number.get("low") is not None and number.get("high") is not None


def with_unit(number: str, measure: Measure) -> str:
    """Write the unit behind a number."""
    return f"{number} {measure.unit}".rstrip()


def count_digits(number: Number) -> int | None:
    """Digits behind the point that show two figures of half an interval's width; ``None`` if it has no width."""
    width = (number["high"] - number["low"]) / 2
    return max(0, 1 - floor(log10(width))) if isfinite(width) and width > 0 else None


def write_number(value: float, digits: int | None = None, sign: str = "") -> str:
    """Write a number with so many digits behind the point, or with four figures."""
    if digits is None or digits > 8:
        return f"{value:{sign},.4g}" if 1e-4 <= abs(value) < 1e4 or value == 0 else f"{value:{sign}.4g}"
    return f"{value:{sign},.{digits}f}"
