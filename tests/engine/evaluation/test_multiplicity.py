"""Adjusted p, against values by hand."""

import pytest

from mirage_pl.engine.evaluation.multiplicity import holm, normal_p


def test_the_smallest_p_counts_for_all_tests_and_none_becomes_smaller_than_one_before_it():
    assert holm({"b": 0.04, "a": 0.01, "c": 0.03}) == pytest.approx({"b": 0.06, "a": 0.03, "c": 0.06})
    assert list(holm({"b": 0.04, "a": 0.01})) == ["b", "a"]
    assert holm({"a": 0.6, "b": 0.9}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_a_single_test_stays_as_it_is():
    assert holm({"a": 0.03}) == {"a": 0.03}


def test_an_interval_that_ends_at_0_has_a_p_of_one_in_twenty():
    assert normal_p({"difference": 0.2, "low": 0.0, "high": 0.4}) == pytest.approx(0.05)
    assert normal_p({"difference": -0.2, "low": -0.4, "high": 0.0}) == pytest.approx(0.05)
    assert normal_p({"difference": 0.2, "low": 0.15, "high": 0.25}) < 1e-10


def test_what_has_no_interval_or_no_difference_shows_nothing():
    assert normal_p({"difference": 0.2, "low": None, "high": None}) == 1.0
    assert normal_p({"difference": 0.0, "low": 0.0, "high": 0.0}) == 1.0
