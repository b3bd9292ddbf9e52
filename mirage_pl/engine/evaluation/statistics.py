"""Intervals and tests for shares and means.

Shapes: S seeds (runs of one method), Q questions, B draws of a bootstrap.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Z = 1.959963984540054
"""97.5 % point of the normal distribution: all intervals are 95 %."""
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Student's t at 97.5 %, by degrees of freedom from 1."""
DRAWS = 2000
"""Draws of a bootstrap; they are the same at every call, so that equal answers give equal intervals."""


def wilson(successes: int, n: int) -> dict[str, float]:
    """Share of successes with its Wilson score interval (Wilson 1927, JASA 22:209-212, eq. 1 solved for p).

    Args:
        successes: right answers.
        n: answers.

    Returns:
        ``mean``, ``low`` and ``high`` between 0 and 1, and ``n``.

    Raises:
        ValueError: no answers, or a count outside 0 to n.
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
    """Two-sided p of the exact McNemar test: are the two kinds of discordant pairs equally likely?

    Args:
        only_a: pairs in which only the first is right.
        only_b: pairs in which only the second is right.
    """
    discordant = only_a + only_b
    tail = ways = 1  # with 0 pairs of the rarer kind, then 1, 2, …
    for k in range(min(only_a, only_b)):
        ways = ways * (discordant - k) // (k + 1)
        tail += ways
    return min(1.0, 2 * tail / 2**discordant)


def paired_difference(a: Sequence[bool], b: Sequence[bool]) -> dict[str, float]:
    """Difference of two shares over the same questions: mean(b) - mean(a).

    The interval is Newcombe's paired score interval (Newcombe 1998, Statistics in Medicine 17:2635-2650, method 10):
    the Wilson limits of both shares, combined with the continuity-corrected correlation phi of the pairs.

    Args:
        a: whether each question was answered right.
        b: the same for the other model, in the same order.

    Returns:
        ``difference``, ``low`` and ``high`` between -1 and 1, ``n``, and ``p`` of the exact McNemar test.

    Raises:
        ValueError: no pairs, or the two sides differ in length.
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


def bootstrap(values_SQ: Array, units_Q: Sequence[Any] | Array | None = None) -> dict[str, Any]:
    """Mean over seeds and questions, with an interval that holds for other seeds and other questions.

    Questions and seeds are drawn with replacement, crossed: all seeds of a draw answer the same questions. Noise that
    belongs neither to a seed nor to a question alone counts up to three times (Owen 2007, Annals of Applied Statistics
    1:386-411), so the interval is conservative. With a single seed only questions are drawn, and the interval says
    nothing about other seeds.

    Args:
        values_SQ: the score of each seed's answer to each question, e.g. 1 if it is right and 0 if not.
        units_Q: of each question; questions with the same one aren't independent, and are drawn together.

    Returns:
        ``mean``, ``low``, ``high``, and ``n``, the number of questions; no interval for a single unit.

    Raises:
        ValueError: no answers.
    """
    values_SQ = _answers(values_SQ)
    num_seeds, n = values_SQ.shape
    interval = {"mean": float(values_SQ.mean()), "low": None, "high": None, "n": n}
    if _is_single(n, units_Q):
        return interval
    draws_B = resample(values_SQ, _draw_questions(n, units_Q), _weights(num_seeds, 1))
    low, high = np.clip(np.quantile(draws_B, (0.025, 0.975)), values_SQ.min(), values_SQ.max())
    return interval | {"low": float(low), "high": float(high)}


def bootstrap_units(values_Q: Array, units: Sequence[Any]) -> dict[str, Any]:
    """Mean over questions, with an interval that draws units: all questions of one are drawn together.

    Args:
        values_Q: the score of each answer.
        units: of each question; questions with the same one aren't independent.

    Returns:
        ``mean``, ``low``, ``high``, and ``n``, the number of questions; no interval for a single unit.

    Raises:
        ValueError: no answers.
    """
    values_Q = _answers(values_Q[None])[0]
    interval = {"mean": float(values_Q.mean()), "low": None, "high": None, "n": len(values_Q)}
    if _is_single(len(values_Q), units):
        return interval
    draws_B = _draw_questions(len(values_Q), units) @ values_Q
    low, high = np.clip(np.quantile(draws_B, (0.025, 0.975)), values_Q.min(), values_Q.max())
    return interval | {"low": float(low), "high": float(high)}


def bootstrap_difference(a_SQ: Array, b_SQ: Array, units_Q: Sequence[Any] | Array | None = None) -> dict[str, Any]:
    """Difference of two methods over the same questions: mean(b) - mean(a).

    Both answer the questions of a draw; the seeds of each are drawn independently.

    Args:
        a_SQ: the score of each answer: 0 or 1, a distance, a return.
        b_SQ: the same for the other method, with the same questions in the same order; any number of seeds.
        units_Q: as of :func:`bootstrap`.

    Returns:
        ``difference``, ``low``, ``high``, and ``n``, the number of questions; no interval for a single unit. With an
        interval ``p``, two-sided: twice the share of draws that lie on the other side of 0.

    Raises:
        ValueError: no answers, or a different number of questions.
    """
    a_SQ, b_SQ = _answers(a_SQ), _answers(b_SQ)
    n = a_SQ.shape[1]
    if n != b_SQ.shape[1]:
        raise ValueError(f"answers to {n} questions can't be paired with answers to {b_SQ.shape[1]}")
    interval = {"difference": float(b_SQ.mean() - a_SQ.mean()), "low": None, "high": None, "n": n}
    if _is_single(n, units_Q):
        return interval
    questions_BQ = _draw_questions(n, units_Q)
    draws_B = resample(b_SQ, questions_BQ, _weights(len(b_SQ), 2)) - resample(
        a_SQ, questions_BQ, _weights(len(a_SQ), 1)
    )
    bounds = b_SQ.min() - a_SQ.max(), b_SQ.max() - a_SQ.min()
    low, high = np.clip(np.quantile(draws_B, (0.025, 0.975)), *bounds)
    beyond = min(int((draws_B <= 0).sum()), int((draws_B >= 0).sum()))
    p = min(1.0, 2 * (beyond + 1) / (DRAWS + 1))  # what was seen is one more draw, so that it is never 0
    return interval | {"low": float(low), "high": float(high), "p": p}


def bootstrap_change(before_SQ: Array, after_SQ: Array, units_Q: Sequence[Any] | Array | None = None) -> dict[str, Any]:
    """Difference of the same runs after and before a change: like :func:`bootstrap_difference`, with paired seeds."""
    change = bootstrap(_answers(after_SQ) - _answers(before_SQ), units_Q)
    return {"difference": change.pop("mean")} | change


def over_seeds(values_S: Array) -> dict[str, Any]:
    """Mean of one number per seed, with Student's interval; ``low`` and ``high`` are ``None`` for a single seed.

    Returns:
        ``mean``, ``low``, ``high``, and ``n``, the number of seeds.
    """
    mean, n = float(values_S.mean()), len(values_S)
    if n < 2:
        return {"mean": mean, "low": None, "high": None, "n": n}
    half = student(n - 1) * float(values_S.std(ddof=1)) / sqrt(n)
    return {"mean": mean, "low": mean - half, "high": mean + half, "n": n}


def seeds_difference(a_S: Array, b_S: Array) -> dict[str, Any]:
    """Difference of two methods with one number per seed: mean(b) - mean(a), with Welch's interval.

    The degrees of freedom are those of the smaller side, which is conservative. ``low`` and ``high`` are ``None`` where
    a side has a single seed.
    """
    difference, n = float(b_S.mean() - a_S.mean()), min(len(a_S), len(b_S))
    if n < 2:
        return {"difference": difference, "low": None, "high": None, "n": n}
    half = student(n - 1) * sqrt(float(a_S.var(ddof=1)) / len(a_S) + float(b_S.var(ddof=1)) / len(b_S))
    return {"difference": difference, "low": difference - half, "high": difference + half, "n": n}


def student(freedom: int) -> float:
    """97.5 % point of Student's t: from a table up to 10 degrees of freedom, then by an expansion (error < 0.004)."""
    if freedom <= len(STUDENT):
        return STUDENT[freedom - 1]
    return Z + (Z**3 + Z) / (4 * freedom) + (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * freedom**2)


def resample(values_SQ: Array, questions_BQ: Array, seeds_BS: Array) -> Array:
    """Mean of each draw, ``[B]``.

    Seeds drawn with replacement vary by (S-1)/S of the unbiased variance, which is far too little for 3 seeds; each
    draw's distance from the mean of all seeds is stretched to make up for it.

    Args:
        values_SQ: scores.
        questions_BQ: how often each draw has each question, as shares that sum to 1.
        seeds_BS: the same for seeds.
    """
    means_BS = questions_BQ @ values_SQ.T
    center_B = means_BS.mean(axis=1)
    num_seeds = len(values_SQ)
    stretch = sqrt(num_seeds / (num_seeds - 1)) if num_seeds > 1 else 1.0
    stretched_B: Array = center_B + stretch * ((seeds_BS * means_BS).sum(axis=1) - center_B)
    return stretched_B


def _combine(x: float, y: float, phi: float) -> float:
    """Length of the difference of two errors whose correlation is phi."""
    return sqrt(max(0.0, x * x - 2 * phi * x * y + y * y))


def _answers(values_SQ: Array) -> Array:
    """Check that there are answers, and convert them to floats."""
    if values_SQ.ndim != 2 or not values_SQ.size:
        raise ValueError(f"expected answers of seeds x questions, got an array of shape {values_SQ.shape}")
    return values_SQ.astype(float)


def _is_single(n: int, units_Q: Sequence[Any] | Array | None) -> bool:
    """Whether all questions are of one unit, which says nothing about others."""
    return n == 1 or (units_Q is not None and len(set(map(str, units_Q))) == 1)


def _draw_questions(n: int, units_Q: Sequence[Any] | Array | None) -> Array:
    """How often each draw has each question, as shares that sum to 1, ``[DRAWS, n]``; those of a unit come together."""
    if units_Q is None:
        return _weights(n, 0)
    units_U, places_Q = np.unique([str(unit) for unit in units_Q], return_inverse=True)
    if len(units_U) == n:
        return _weights(n, 0)
    drawn_BQ: Array = _weights(len(units_U), 0)[:, places_Q]
    return drawn_BQ / drawn_BQ.sum(1, keepdims=True)


@lru_cache(maxsize=32)
def _weights(n: int, stream: int) -> Array:
    """How often each of n things comes up in n draws with replacement, as shares: ``[DRAWS, n]``.

    Questions use stream 0, the seeds of two methods streams 1 and 2, so that two methods share only the questions.
    """
    return np.random.default_rng((0, stream)).multinomial(n, np.full(n, 1 / n), size=DRAWS) / n
