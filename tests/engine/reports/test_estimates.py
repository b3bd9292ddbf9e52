"""Intervals of a method: those of `evaluate` for one seed, and a width even where all answers are alike."""

import numpy as np
import pytest

from mirage_pl.engine.evaluation.measures import estimate_interval
from mirage_pl.engine.evaluation.statistics import bootstrap, bootstrap_difference, paired_difference, wilson
from mirage_pl.engine.reports.estimates import estimate, estimate_change, estimate_difference
from mirage_pl.engine.seams import Measure

SHARE, MEAN = Measure("share"), Measure("mean")
ROWS = np.arange(40)


def right(count, seeds=1):
    """Answers of some seeds to forty questions, so many of which are right; other ones in each seed."""
    return np.stack([np.roll(count > ROWS, seed) for seed in range(seeds)]).astype(float)


def test_one_seed_has_the_intervals_that_evaluate_gives():
    one, other = right(3), right(20)
    assert estimate(SHARE, one, ROWS) == wilson(3, 40) == estimate_interval(SHARE, one[0].tolist())
    expected = paired_difference(one[0].tolist(), other[0].tolist())
    assert estimate_difference(SHARE, one, other, ROWS) == expected
    change = estimate_change(SHARE, one, other, ROWS)
    assert change == {key: expected[key] for key in ("difference", "low", "high", "n")}


@pytest.mark.parametrize("count", [0, 40])
def test_answers_that_are_all_alike_have_the_width_that_their_number_of_questions_gives(count):
    assert estimate(SHARE, right(count, seeds=3), ROWS) == wilson(count, 40)
    pairs = np.repeat(np.arange(20), 2)
    assert estimate(SHARE, right(count, seeds=3), pairs) == wilson(count // 2, 20) | {"n": 40}


def test_a_difference_from_answers_that_are_all_alike_has_a_width():
    none, all_right, some = right(0, 3), right(40, 3), right(20, 3)
    wide = estimate_difference(SHARE, none, all_right, ROWS)
    below = np.hypot(1 - wilson(40, 40)["low"], wilson(0, 40)["high"])
    assert (wide["difference"], wide["low"], wide["high"]) == pytest.approx((1, 1 - below, 1))
    alike = estimate_difference(SHARE, none, right(0, 2), ROWS)
    assert alike["difference"] == 0
    assert alike["low"] == pytest.approx(-wilson(0, 40)["high"]) == -alike["high"]
    drawn = bootstrap_difference(none, some, ROWS)
    half = estimate_difference(SHARE, none, some, ROWS)
    assert half["low"] < drawn["low"], "that none is right isn't certain"


def test_a_change_of_nothing_has_a_width_and_others_are_drawn():
    some = right(20, 3)
    nothing = estimate_change(SHARE, some, some, ROWS)
    assert nothing["difference"] == 0
    assert nothing["low"] < 0 < nothing["high"]
    assert estimate(SHARE, some, ROWS) == bootstrap(some, ROWS)


def test_means_are_drawn():
    lengths = np.linspace(0, 1, 40)[None]
    assert estimate(MEAN, lengths, ROWS) == bootstrap(lengths, ROWS)
    assert estimate_difference(MEAN, lengths, lengths + 1, ROWS) == bootstrap_difference(lengths, lengths + 1, ROWS)
