"""Intervals and tests for shares of right answers, and the words for them. Pure Python."""

from collections.abc import Mapping, Sequence
from math import sqrt

Z = 1.959963984540054
"""The normal distribution's 97.5 % point: all intervals here are 95 %."""


def wilson(successes: int, n: int) -> dict[str, float]:
    """Share of successes with its Wilson score interval (Wilson 1927, JASA 22:209-212, eq. 1 solved for p).

    Args:
        successes: right answers.
        n: answers.

    Returns:
        ``mean``, ``low`` and ``high`` between 0 and 1, and ``n``.

    Raises:
        ValueError: no answers, or a count that is not within 0 and n.
    """
    if n < 1:
        raise ValueError(f"n={n} answers have no mean; score at least one sample")
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of n={n} answers; expected 0 to {n}")
    mean = successes / n
    center = (mean + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * sqrt(mean * (1 - mean) / n + Z * Z / (4 * n * n))
    low = 0.0 if successes == 0 else center - half  # exactly 0 and 1 at the ends, whatever the rounding
    return {"mean": mean, "low": low, "high": 1.0 if successes == n else center + half, "n": n}


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided p of the exact McNemar test: are both sides of the discordant pairs equally likely?

    Args:
        only_a: pairs of which only the first is right.
        only_b: pairs of which only the second is right.
    """
    discordant = only_a + only_b
    tail = ways = 1  # of 0 pairs on the rarer side, then 1, 2, …
    for k in range(min(only_a, only_b)):
        ways = ways * (discordant - k) // (k + 1)
        tail += ways
    return min(1.0, 2 * tail / 2**discordant)


def paired_difference(a: Sequence[bool], b: Sequence[bool]) -> dict[str, float]:
    """By how much ``b`` answers the same questions better than ``a``: mean(b) - mean(a).

    The interval is Newcombe's paired score interval (Newcombe 1998, Statistics in Medicine 17:2635-2650, method 10):
    the Wilson limits of both shares, combined with the continuity-corrected correlation phi of the pairs.

    Args:
        a: right or wrong, one a question.
        b: the same for the other model, in the same order.

    Returns:
        ``difference``, ``low`` and ``high`` between -1 and 1, ``n``, and ``p`` of the exact McNemar test.

    Raises:
        ValueError: no pairs, or a different number on the two sides.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} answers can't be paired with {len(b)}; give one of each for every question")
    n = len(a)
    both = sum(bool(x and y) for x, y in zip(a, b, strict=True))
    only_a, only_b = sum(map(bool, a)) - both, sum(map(bool, b)) - both
    neither = n - both - only_a - only_b
    first, second = wilson(both + only_a, n), wilson(both + only_b, n)
    covariance: float = both * neither - only_a * only_b
    if covariance > 0:
        covariance = max(covariance - n / 2, 0.0)
    margins = (both + only_a) * (neither + only_b) * (both + only_b) * (neither + only_a)
    phi = covariance / sqrt(margins) if margins else 0.0
    difference = second["mean"] - first["mean"]
    below = _combine(second["mean"] - second["low"], first["high"] - first["mean"], phi)
    above = _combine(second["high"] - second["mean"], first["mean"] - first["low"], phi)
    p = mcnemar(only_a, only_b)
    return {"difference": difference, "low": difference - below, "high": difference + above, "n": n, "p": p}


def percent(share: Mapping[str, float]) -> tuple[str, str]:
    """Write a share and its interval: ``("81.5 %", "[77.4, 85.0]")``."""
    return f"{100 * share['mean']:.1f} %", f"[{100 * share['low']:.1f}, {100 * share['high']:.1f}]"


def points(difference: Mapping[str, float]) -> tuple[str, str]:
    """Write a paired difference and its interval: ``("+2.3 points", "[-1.1, +5.7]")``."""
    value, low, high = (f"{round(100 * difference[key], 1) + 0.0:+.1f}" for key in ("difference", "low", "high"))
    return f"{value} points", f"[{low}, {high}]"


def judge(difference: Mapping[str, float]) -> str:
    """Put a paired difference in words: it is one only if its interval excludes 0, and borderline unless p < 0.05."""
    p = difference["p"]
    written = "p < 0.001" if p < 0.001 else f"p = {p:.{2 if p >= 0.095 else 3}f}"
    if difference["low"] <= 0 <= difference["high"]:
        return f"{written}: not distinguishable"
    return f"{written}: {'' if p < 0.05 else 'borderline '}{'better' if difference['low'] > 0 else 'worse'}"


def _combine(x: float, y: float, phi: float) -> float:
    """Length of the difference of two errors whose correlation is phi."""
    return sqrt(max(0.0, x * x - 2 * phi * x * y + y * y))
