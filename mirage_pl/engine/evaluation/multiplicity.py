"""Several tests at once: what each is worth beside the others."""

from collections.abc import Mapping
from math import erfc, sqrt
from typing import Any

from mirage_pl.engine.evaluation.statistics import Z

LEVEL = 0.05
"""A p below it is called a difference."""


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Adjust the p of several tests for being several (Holm 1979, Scandinavian Journal of Statistics 6:65-70).

    Args:
        p: by name of the test.

    Returns:
        By name, in the same order: below :data:`LEVEL` are those that stay true if all are claimed together at 5 %.
    """
    adjusted, least = dict(p), 0.0
    for number, name in enumerate(sorted(p, key=lambda name: p[name])):
        least = max(least, min(1.0, (len(p) - number) * p[name]))
        adjusted[name] = least
    return adjusted


def normal_p(difference: Mapping[str, Any]) -> float:
    """Two-sided p of a difference that has an interval alone, as if it were normal; 1 without an interval."""
    low, high = difference["low"], difference["high"]
    if low is None or difference["difference"] == 0:
        return 1.0
    return erfc(abs(difference["difference"]) * Z * sqrt(2) / (high - low)) if high > low else 0.0
