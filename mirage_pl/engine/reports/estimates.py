"""Intervals of a method, over its seeds and the questions that they answer.

Of one seed they are those that ``evaluate`` gives. A bootstrap draws from what was seen: answers that are all alike
would have an interval without a width, so there it is taken from a score interval.

Shapes: S seeds, Q questions.
"""

from math import hypot

import numpy as np

from mirage_pl.engine.evaluation import measures
from mirage_pl.engine.evaluation.measures import Number
from mirage_pl.engine.evaluation.multiplicity import normal_p
from mirage_pl.engine.evaluation.statistics import Array, bootstrap, bootstrap_change, bootstrap_difference, wilson
from mirage_pl.engine.seams import Measure


def estimate(measure: Measure, values_SQ: Array, units_Q: Array) -> Number:
    """The mean over seeds and questions.

    Args:
        measure: of kind ``share`` or ``mean``.
        values_SQ: one of each answer.
        units_Q: questions with the same one aren't independent.
    """
    if measure.kind != "share":
        return bootstrap(values_SQ, units_Q)
    if len(values_SQ) == 1 and are_apart(units_Q):
        return measures.estimate_interval(measure, values_SQ[0].tolist())
    if not is_constant(values_SQ):
        return bootstrap(values_SQ, units_Q)
    units = count_units(units_Q)
    return wilson(round(float(values_SQ.mean()) * units), units) | {"n": values_SQ.shape[1]}


def estimate_difference(measure: Measure, theirs_SQ: Array, ours_SQ: Array, units_Q: Array) -> Number:
    """The difference of two methods over the same questions: ours less theirs, each with its own seeds; with ``p``."""
    if measure.kind != "share":
        return bootstrap_difference(theirs_SQ, ours_SQ, units_Q)
    if len(theirs_SQ) == len(ours_SQ) == 1 and are_apart(units_Q):
        return measures.estimate_change(measure, theirs_SQ[0], ours_SQ[0])
    if not (is_constant(theirs_SQ) or is_constant(ours_SQ)):
        return bootstrap_difference(theirs_SQ, ours_SQ, units_Q)
    # what is all alike isn't correlated with anything
    theirs, ours = (estimate(measure, each_SQ, units_Q) for each_SQ in (theirs_SQ, ours_SQ))
    difference = ours["mean"] - theirs["mean"]
    if theirs["low"] is None or ours["low"] is None:
        return {"difference": difference, "low": None, "high": None, "n": ours["n"]}
    below = hypot(ours["mean"] - ours["low"], theirs["high"] - theirs["mean"])
    above = hypot(ours["high"] - ours["mean"], theirs["mean"] - theirs["low"])
    found = {"difference": difference, "low": difference - below, "high": difference + above, "n": ours["n"]}
    return found | {"p": normal_p(found)}


def estimate_change(measure: Measure, own_SQ: Array, changed_SQ: Array, units_Q: Array) -> Number:
    """The difference of the same runs under a condition: changed less own."""
    if measure.kind != "share" or not are_apart(units_Q) or (len(own_SQ) > 1 and not is_constant(changed_SQ - own_SQ)):
        return bootstrap_change(own_SQ, changed_SQ, units_Q)
    seeds = [measures.estimate_change(measure, *each) for each in zip(own_SQ, changed_SQ, strict=True)]
    kept = {key: each for key, each in seeds[0].items() if key != "p"}
    return kept | {"low": min(each["low"] for each in seeds), "high": max(each["high"] for each in seeds)}


def is_constant(values_SQ: Array) -> bool:
    """Whether all values are the same."""
    return bool((values_SQ == values_SQ.flat[0]).all())


def count_units(units_Q: Array) -> int:
    """How many different units questions have."""
    return len(np.unique([str(unit) for unit in units_Q]))


def are_apart(units_Q: Array) -> bool:
    """Whether each question is a unit of its own."""
    return count_units(units_Q) == len(units_Q)
