"""A measure's numbers, how they are written, and what they mean."""

import numpy as np
import pytest

from mirage_pl.engine.evaluation.measures import (
    estimate_change,
    estimate_interval,
    is_gain,
    is_loss,
    judge_difference,
    list_groups,
    read_measures,
    reverse_difference,
    say_against,
    write_difference,
    write_extra,
    write_short,
    write_value,
)
from mirage_pl.engine.evaluation.statistics import STUDENT, Z, over_seeds, seeds_difference, student, wilson
from mirage_pl.engine.seams import Measure

SHARE, FEWER = Measure("share"), Measure("share", "lower")
ANGLE = Measure("mean", "lower", "°")
DECIBEL, DISTANCE, SET = Measure("mean", "higher", "dB"), Measure("mean", "lower"), Measure("set", "lower")


def number(mean, half):
    return {"mean": mean, "low": mean - half, "high": mean + half, "n": 9}


def difference(mean, half, **more):
    return {"difference": mean, "low": mean - half, "high": mean + half, "n": 9, **more}


@pytest.mark.parametrize(
    ("measure", "interval", "words"),
    [
        (SHARE, number(0.5, 0.1), ("50.0 %", "[40.0, 60.0]")),
        (DECIBEL, number(31.2, 0.43), ("31.20 dB", "[30.77, 31.63]")),
        (DISTANCE, number(0.1234, 0.0034), ("0.1234", "[0.1200, 0.1268]")),
        (DISTANCE, number(-152.3, 18.0), ("-152", "[-170, -134]")),
        (DISTANCE, number(1234567.0, 1000.0), ("1,234,567", "[1,233,567, 1,235,567]")),
        (DECIBEL, number(30.0, 0.0), ("30 dB", "[30, 30]")),
        (SET, {"mean": 138.25, "low": None, "high": None, "n": 9}, ("138.2", "")),
        (SHARE, {"mean": 0.76}, ("76.0 %", "")),
        (DISTANCE, {"mean": 0.0}, ("0", "")),
        (DISTANCE, {"mean": 3.2e-7}, ("3.2e-07", "")),
        (DISTANCE, {"mean": 12345.6}, ("12,346", "")),
        (DISTANCE, {"mean": 999.97}, ("1,000", "")),
        (DISTANCE, number(-1e-5, 0.02), ("0.000", "[-0.020, 0.020]")),
        (DISTANCE, number(1.23e-5, 1e-7), ("1.23e-05", "[1.22e-05, 1.24e-05]")),
        (DECIBEL, number(22.5, 4e-8), ("22.5 dB", "[22.5, 22.5]")),
        (SHARE, number(1.0, 0.0), ("100.0 %", "[100.0, 100.0]")),
        (ANGLE, number(20.4, 0.3), ("20.40°", "[20.10, 20.70]")),
    ],
)
def test_a_number_has_its_unit_and_as_many_digits_as_its_interval_allows(measure, interval, words):
    assert write_value(measure, interval) == words


@pytest.mark.parametrize(
    ("measure", "change", "words"),
    [
        (SHARE, difference(-0.142, 0.1), ("-14.2 points", "[-24.2, -4.2]")),
        (DECIBEL, difference(-0.42, 0.2), ("-0.42 dB", "[-0.62, -0.22]")),
        (DECIBEL, difference(-0.0156, 0.0085), ("-0.0156 dB", "[-0.0241, -0.0071]")),
        (DISTANCE, difference(-0.0001, 0.01), ("0.000", "[-0.010, +0.010]")),
        (DISTANCE, difference(0.2, 0.2), ("+0.20", "[0.00, +0.40]")),
        (DISTANCE, difference(0.2, 0.1999), ("+0.20", "[+0.00, +0.40]")),
        (DISTANCE, difference(-0.2, 0.1999), ("-0.20", "[-0.40, -0.00]")),
        (DECIBEL, difference(0.0, 0.0), ("0 dB", "[0, 0]")),
        (DECIBEL, difference(-0.0, 0.0), ("0 dB", "[0, 0]")),
        (DECIBEL, difference(0.5, 0.0), ("+0.5 dB", "[+0.5, +0.5]")),
        (DECIBEL, difference(1e-9, 4e-7), ("0 dB", "[-3.99e-07, +4.01e-07]")),
        (SHARE, difference(0.0, 0.0), ("0.0 points", "[0.0, 0.0]")),
        (SHARE, difference(0.0, 0.02), ("0.0 points", "[-2.0, +2.0]")),
        (SHARE, {"difference": 0.0, "low": None, "high": None, "n": 1}, ("0.0 points", "")),
        (SET, {"difference": 0.0, "low": None, "high": None, "n": 1}, ("0", "")),
        (SET, {"difference": -10.0, "low": None, "high": None, "n": 1}, ("-10", "")),
        (SHARE, {"difference": -0.1, "low": None, "high": None, "n": 1}, ("-10.0 points", "")),
    ],
)
def test_a_difference_has_a_sign_unless_it_is_0_and_a_unit(measure, change, words):
    assert write_difference(measure, change) == words


@pytest.mark.parametrize(
    ("measure", "change", "judged", "gain", "loss"),
    [
        (DECIBEL, difference(1.0, 0.5), "better", True, False),
        (DISTANCE, difference(1.0, 0.5), "worse", False, True),
        (DISTANCE, difference(-1.0, 0.5), "better", True, False),
        (FEWER, difference(-0.2, 0.1, p=0.01), "p = 0.010: better", True, False),
        (FEWER, difference(0.2, 0.1, p=0.06), "p = 0.060: borderline worse", False, True),
        (DISTANCE, difference(1.0, 1.5), "not distinguishable", False, False),
        (SET, {"difference": -10.0, "low": None, "high": None, "n": 1}, "no interval", False, False),
    ],
)
def test_better_and_worse_follow_the_direction(measure, change, judged, gain, loss):
    assert (judge_difference(measure, change), is_gain(measure, change), is_loss(measure, change)) == (
        judged,
        gain,
        loss,
    )


@pytest.mark.parametrize(
    ("measured", "shown"),
    [
        ([["steps_4", "all"]], []),
        ([["steps_4", "all"], ["steps_4", "all"]], []),
        ([["steps_4", "unseen", "all"]], ["unseen"]),
        ([["steps_4", "steps_5", "all"]], ["steps_4", "steps_5"]),
        ([["steps_4", "all"], ["steps_5", "all"]], ["steps_4", "steps_5"]),
        ([["all"], {}], []),
    ],
)
def test_a_group_of_all_items_is_not_shown_beside_all(measured, shown):
    assert list_groups([dict.fromkeys(groups, {"n": 4}) for groups in measured]) == shown


def test_shares_have_wilsons_interval_and_means_a_bootstrap_that_holds_their_mean():
    assert estimate_interval(SHARE, [True, False, True]) == wilson(2, 3)
    values = np.random.default_rng(0).normal(20, 2, 100)
    interval = estimate_interval(DECIBEL, values)
    assert interval["mean"] == pytest.approx(values.mean())
    half = 1.96 * values.std() / 10
    assert (interval["mean"] - interval["low"], interval["high"] - interval["mean"]) == pytest.approx(
        (half, half), rel=0.1
    )
    alone = estimate_interval(DECIBEL, [31.0])
    assert (alone["mean"], alone["low"], alone["high"]) == (31.0, None, None)


def test_a_change_is_paired_item_by_item_whatever_the_spread_of_items():
    values = np.random.default_rng(0).normal(0, 100, 50)
    change = estimate_change(DISTANCE, values, values + 0.5)
    assert (change["difference"], change["low"], change["high"]) == pytest.approx((0.5, 0.5, 0.5))
    with pytest.raises(ValueError, match="50 items can't be paired with 49"):
        estimate_change(DISTANCE, values, values[1:])


def test_students_t_goes_over_from_the_table_into_the_expansion():
    known = {1: 12.706, 5: 2.571, 10: 2.228, 11: 2.201, 15: 2.131, 20: 2.086, 30: 2.042, 120: 1.980}
    assert {freedom: round(student(freedom), 3) for freedom in known} == pytest.approx(known, abs=0.005)
    assert len(STUDENT) == 10
    assert student(10**6) == pytest.approx(Z, abs=1e-5)


def test_one_number_a_seed_has_an_interval_over_seeds_alone():
    interval = over_seeds(np.array([1.0, 2.0, 3.0]))
    assert (interval["mean"], interval["high"], interval["n"]) == pytest.approx((2, 2 + 4.303 / 3**0.5, 3))
    assert over_seeds(np.array([5.0])) == {"mean": 5.0, "low": None, "high": None, "n": 1}
    change = seeds_difference(np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0]))
    assert change["difference"] == 2.5
    assert change["high"] - 2.5 == pytest.approx(12.706 * (1 / 3 + 0.5 / 2) ** 0.5)
    assert seeds_difference(np.array([1.0]), np.array([2.0, 3.0]))["low"] is None


def test_a_rival_is_beaten_only_where_the_interval_says_so():
    behind = difference(-2.0, 1.0)
    assert say_against(DECIBEL, behind, "copying").startswith("beats copying: +2.0")
    assert say_against(DISTANCE, behind, "copying").startswith("is worse than copying: +2.0")
    assert say_against(DECIBEL, difference(-2.0, 2.5), "copying").startswith("isn't shown to beat copying: +2.0")


def test_a_further_number_of_a_condition_keeps_what_is_small_and_drops_what_says_nothing():
    means = [0.00004, 0.4, 153.4821, 8.0, 12345.6, 0.0, -0.0]
    written = [write_extra({"mean": mean, "n": 3}) for mean in means]
    assert written == ["4e-05", "0.4", "153.5", "8", "12,346", "0", "0"]
    assert write_extra({"mean": None, "n": 0}) == "–"
    assert write_extra({"mean": 0.25, "low": 0.1, "high": 0.4, "n": 3}) == "25.0 %"


def test_the_other_side_of_a_difference_is_the_same_number_with_the_other_sign():
    change = {"difference": -0.0156, "low": -0.0235, "high": -0.0066, "n": 9}
    assert write_difference(DECIBEL, change) == ("-0.0156 dB", "[-0.0235, -0.0066]")
    assert write_difference(DECIBEL, reverse_difference(change)) == ("+0.0156 dB", "[+0.0066, +0.0235]")
    assert write_difference(DECIBEL, reverse_difference(difference(0.0, 0.0))) == ("0 dB", "[0, 0]")


def test_a_short_number_has_no_exponent_where_people_write_none():
    written = [write_short(value) for value in (1000.0, 999.4, 999.6, 12345, -1024.0, 0.12345, 12.345, 0, -0.0, 2e7)]
    assert written == ["1,000", "999", "1,000", "12,345", "-1,024", "0.123", "12.3", "0", "0", "2e+07"]


def test_a_measure_may_not_have_the_name_of_what_stands_beside_it():
    facts = {"kind": "mean", "better": "lower", "unit": "steps", "meaning": "Length."}
    assert list(read_measures({"length": facts})) == ["length"]
    for name in ("steps", "seeds", "test"):
        with pytest.raises(ValueError, match=rf"measures.{name} has the name of another key"):
            read_measures({name: facts})
