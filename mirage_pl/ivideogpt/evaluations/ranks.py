"""How well two returns agree on which policies are better: Spearman's rank correlation, and its interval.

A row has ``group`` (the policy), ``unit`` (the start), and the returns ``imagined`` and ``earned``.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mirage_pl.engine.seams import Row

RETURNS = ("imagined", "earned")
DRAWS = 2000
"""Samples of the bootstrap."""


def spearman(one: Sequence[float] | NDArray[Any], other: Sequence[float] | NDArray[Any]) -> float | None:
    """Spearman's rank correlation; ties share their mean rank; ``None`` where all are alike on a side."""
    first, second = rank(np.asarray(one, np.float64)), rank(np.asarray(other, np.float64))
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(first, second)[0, 1])


def rank(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The place of each value in order, from 0; equal ones share the mean of their places."""
    less = (values[:, None] > values[None]).sum(1)
    alike = (values[:, None] == values[None]).sum(1)
    ranks: NDArray[np.float64] = less + (alike - 1) / 2
    return ranks


def compare_policies(rows: Sequence[Row]) -> dict[str, float]:
    """Rank correlation of the policies' mean returns, and of all single ones; without those that have none."""
    groups = sorted({row["group"] for row in rows})
    means = [
        [float(np.mean([row[key] for row in rows if row["group"] == group])) for group in groups] for key in RETURNS
    ]
    singles = [[row[key] for row in rows] for key in RETURNS]
    values = {"spearman": spearman(*means), "spearman_rows": spearman(*singles) if len(groups) > 1 else None}
    return {name: value for name, value in values.items() if value is not None}


def estimate_ranking(rows: Sequence[Row], seed: int = 0) -> tuple[float, float] | None:
    """The 95 % interval of the correlation of the policies' means: a bootstrap that draws whole starts.

    Samples in which all policies are alike say nothing and are left out; ``None``: all are.
    """
    starts, groups = (sorted({row[key] for row in rows}) for key in ("unit", "group"))
    totals = np.full((2, len(starts), len(groups)), np.nan)
    for row in rows:
        totals[:, starts.index(row["unit"]), groups.index(row["group"])] = [row[key] for key in RETURNS]
    whole = totals[:, ~np.isnan(totals).any((0, 2))]
    if not whole.shape[1]:
        return None
    draws = np.random.default_rng(seed).integers(whole.shape[1], size=(DRAWS, whole.shape[1]))
    samples = [spearman(*whole[:, chosen].mean(1)) for chosen in draws]
    values = [value for value in samples if value is not None]
    if not values:
        return None
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
