"""Intervals and tests against hand-computed and published values."""

from math import sqrt

import numpy as np
import pytest

from mirage_pl.engine.evaluation.phrases import judge_interval, write_percent, write_points
from mirage_pl.engine.evaluation.statistics import (
    bootstrap,
    bootstrap_change,
    bootstrap_difference,
    bootstrap_units,
    mcnemar,
    paired_difference,
    resample,
    wilson,
)


def pairs(both: int, only_a: int, only_b: int, neither: int) -> tuple[list[bool], list[bool]]:
    a = [True] * (both + only_a) + [False] * (only_b + neither)
    b = [True] * both + [False] * only_a + [True] * only_b + [False] * neither
    return a, b


def test_wilson_gives_the_hand_computed_interval_of_8_of_10() -> None:
    # z² = 3.841459; centre (0.8 + 0.192073) / 1.384146 = 0.716740; half 1.959964 / 1.384146 · √(0.016 + 0.00960365)
    interval = wilson(8, 10)
    assert list(interval) == ["mean", "low", "high", "n"]
    assert interval["mean"] == 0.8
    assert interval["n"] == 10
    assert interval["low"] == pytest.approx(0.716740 - 0.226578, abs=2e-6)
    assert interval["high"] == pytest.approx(0.716740 + 0.226578, abs=2e-6)


def test_wilson_reaches_exactly_0_and_1_at_the_ends() -> None:
    # 0 of n: high = z² / (n + z²) = 3.841459 / 13.841459
    assert wilson(0, 10) == {"mean": 0.0, "low": 0.0, "high": pytest.approx(0.277533, abs=1e-6), "n": 10}
    assert wilson(10, 10) == {"mean": 1.0, "low": pytest.approx(0.722467, abs=1e-6), "high": 1.0, "n": 10}


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_counts_that_are_none(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"n={n}"):
        wilson(successes, n)


def test_mcnemar_counts_the_binomial_tail_by_hand() -> None:
    assert mcnemar(1, 5) == pytest.approx(2 * (1 + 6) / 64)
    assert mcnemar(5, 1) == mcnemar(1, 5)
    assert mcnemar(0, 4) == pytest.approx(2 / 16)
    assert mcnemar(3, 3) == 1.0
    assert mcnemar(0, 0) == 1.0


def test_mcnemar_of_thousands_of_pairs_does_not_overflow() -> None:
    assert mcnemar(2000, 3000) < 1e-40


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        ((36, 2, 12, 0), 0.0569, 0.3404),  # phi < 0
        ((20, 2, 12, 16), 0.0562, 0.3292),  # phi > 0, corrected
        ((18, 2, 12, 18), 0.0562, 0.3290),
        ((36, 0, 14, 0), 0.1528, 0.4167),  # an empty margin
        ((35, 0, 14, 1), 0.1461, 0.4175),  # phi corrected to 0
        ((18, 0, 14, 18), 0.1441, 0.3963),
        ((54, 0, 0, 0), -0.0664, 0.0664),
        ((30, 0, 0, 24), -0.0358, 0.0358),
    ],
)
def test_paired_interval_is_that_of_newcombe_s_table_iii(table: tuple[int, ...], low: float, high: float) -> None:
    found = paired_difference(*pairs(*table))
    assert (found["low"], found["high"]) == pytest.approx((low, high), abs=6e-5)


def test_paired_interval_uses_the_corrected_correlation() -> None:
    # Altman 2000, table 6.2: 14 both, 5 only a, 0 only b, 22 neither
    # phi = (14·22 - 41/2) / √(19·22·14·27) = 287.5 / 397.497
    found = paired_difference(*pairs(14, 5, 0, 22))
    a, b, phi = wilson(19, 41), wilson(14, 41), 287.5 / sqrt(19 * 22 * 14 * 27)
    x, y = b["mean"] - b["low"], a["high"] - a["mean"]
    assert found["difference"] == pytest.approx(-5 / 41)
    assert found["low"] == pytest.approx(-5 / 41 - sqrt(x * x - 2 * phi * x * y + y * y))
    assert (found["low"], found["high"]) == pytest.approx((-0.226493, -0.011483), abs=1e-6)
    assert found["p"] == pytest.approx(2 / 32)
    assert found["n"] == 41


def test_swapping_the_two_sides_mirrors_the_interval() -> None:
    a, b = pairs(20, 3, 9, 8)
    forth, back = paired_difference(a, b), paired_difference(b, a)
    assert (forth["low"], forth["high"]) == pytest.approx((-back["high"], -back["low"]))
    assert forth["p"] == back["p"]


def test_equal_answers_differ_by_nothing_within_an_interval_that_holds_0() -> None:
    found = paired_difference(*pairs(300, 0, 0, 100))
    assert found["difference"] == 0
    assert found["low"] < 0 < found["high"]
    assert found["p"] == 1


def test_extreme_answers_stay_within_minus_1_and_1() -> None:
    found = paired_difference([False] * 10, [True] * 10)
    assert found["high"] == 1.0
    assert found["difference"] == 1.0
    assert found["low"] == pytest.approx(1 - sqrt(2) * 0.277533, abs=1e-5)


def test_paired_difference_refuses_sides_of_different_length_and_none_at_all() -> None:
    with pytest.raises(ValueError, match="2 answers can't be paired with 1"):
        paired_difference([True, False], [True])
    with pytest.raises(ValueError, match="n=0"):
        paired_difference([], [])


def test_numbers_are_written_in_percent_and_points() -> None:
    assert write_percent({"mean": 0.815, "low": 0.7742, "high": 0.85}) == ("81.5 %", "[77.4, 85.0]")
    assert write_points({"difference": 0.023, "low": -0.011, "high": 0.0571}) == ("+2.3 points", "[-1.1, +5.7]")
    assert write_points({"difference": -0.0002, "low": -0.1, "high": -0.0001}) == ("0.0 points", "[-10.0, -0.0]")
    assert write_points({"difference": 0.0, "low": -0.0, "high": 0.0}) == ("0.0 points", "[0.0, 0.0]")


@pytest.mark.parametrize(
    ("low", "high", "p", "words"),
    [
        (-0.011, 0.057, 0.21, "p = 0.21: not distinguishable"),
        (-0.057, 0.0, 0.04, "p = 0.040: not distinguishable"),
        (0.01, 0.2, 0.0313, "p = 0.031: better"),
        (-0.2, -0.1, 0.00001, "p < 0.001: worse"),
        (0.01, 0.2, 0.0625, "p = 0.062: borderline better"),
    ],
)
def test_a_difference_is_called_one_only_if_its_interval_excludes_0(
    low: float, high: float, p: float, words: str
) -> None:
    found = {"difference": (low + high) / 2, "low": low, "high": high, "n": 400}
    assert judge_interval({**found, "p": p}) == words
    assert judge_interval(found) == words.partition(": ")[2].removeprefix("borderline ")


def loop_bootstrap(values_SQ: np.ndarray, questions_BQ: np.ndarray, seeds_BS: np.ndarray) -> list[float]:
    """The crossed bootstrap said slowly: counts of a draw become lists of indices."""
    means = []
    for asked, trained in zip(questions_BQ, seeds_BS, strict=True):
        drawn_questions = [q for q, count in enumerate(asked) for _ in range(count)]
        drawn_seeds = [s for s, count in enumerate(trained) for _ in range(count)]
        by_seed = [sum(row[q] for q in drawn_questions) / len(drawn_questions) for row in values_SQ.tolist()]
        center = sum(by_seed) / len(by_seed)
        mean = sum(by_seed[s] for s in drawn_seeds) / len(drawn_seeds)
        stretch = sqrt(len(by_seed) / (len(by_seed) - 1)) if len(by_seed) > 1 else 1
        means.append(center + stretch * (mean - center))
    return means


@pytest.mark.parametrize("num_seeds", [1, 2, 5])
def test_resampling_by_weights_equals_a_loop_over_drawn_seeds_and_questions(num_seeds: int) -> None:
    rng = np.random.default_rng(0)
    values_SQ = rng.integers(-1, 2, (num_seeds, 7))
    questions_BQ = rng.multinomial(7, [1 / 7] * 7, size=20)
    seeds_BS = rng.multinomial(num_seeds, [1 / num_seeds] * num_seeds, size=20)
    fast = resample(values_SQ, questions_BQ / 7, seeds_BS / num_seeds)
    np.testing.assert_allclose(fast, loop_bootstrap(values_SQ, questions_BQ, seeds_BS), atol=1e-12)


def test_bootstrap_of_seeds_alone_has_the_unbiased_variance_of_their_mean() -> None:
    seeds_S = np.array([0.2, 0.5, 0.6])  # the same for every question, so only seeds vary
    draws_BS = np.random.default_rng(0).multinomial(3, [1 / 3] * 3, size=200_000) / 3
    draws_B = resample(np.repeat(seeds_S[:, None], 4, axis=1), np.full((200_000, 4), 1 / 4), draws_BS)
    assert draws_B.var() == pytest.approx(seeds_S.var(ddof=1) / 3, rel=0.01)


def test_bootstrap_of_one_seed_has_the_width_of_a_binomial_interval() -> None:
    found = bootstrap(np.array([[True] * 300 + [False] * 100]))
    half = 1.96 * sqrt(0.75 * 0.25 / 400)
    assert (found["mean"], found["n"]) == (0.75, 400)
    assert (found["low"], found["high"]) == pytest.approx((0.75 - half, 0.75 + half), abs=0.004)
    assert found == bootstrap(np.array([[True] * 300 + [False] * 100])), "the same answers, the same interval"


def test_paired_changes_cancel_what_runs_and_questions_have_in_common() -> None:
    rng = np.random.default_rng(0)
    before_SQ = rng.random((3, 200)) < rng.random(200)
    after_SQ = before_SQ.copy()
    after_SQ[:, :20] = False
    lost = (before_SQ.sum() - after_SQ.sum()) / before_SQ.size
    change, apart = bootstrap_change(before_SQ, after_SQ), bootstrap_difference(before_SQ, after_SQ)
    assert change["difference"] == pytest.approx(-lost)
    assert apart["difference"] == pytest.approx(-lost)
    assert change["high"] < 0
    assert change["high"] - change["low"] < apart["high"] - apart["low"]
    same = bootstrap_change(before_SQ, before_SQ)
    assert (same["difference"], same["low"], same["high"]) == (0, 0, 0)
    assert judge_interval(same) == "not distinguishable"


def test_two_methods_share_questions_but_not_seeds() -> None:
    hard_Q = np.arange(200) % 2 == 0
    seeds_S = np.array([0.3, 0.5, 0.7])
    same = np.repeat(hard_Q[None], 3, axis=0)
    assert bootstrap_difference(same, same)["high"] == pytest.approx(0, abs=1e-9), "what questions do cancels"
    apart = np.repeat(seeds_S[:, None], 200, axis=1)
    found = bootstrap_difference(apart, apart)
    assert found["low"] < -0.1 < 0.1 < found["high"], "what seeds do doesn't"


def test_questions_of_a_unit_are_drawn_together() -> None:
    rng = np.random.default_rng(0)
    units_SU, other_SU = rng.random((3, 40)), rng.random((3, 40))
    units_Q = [f"episode {number:02}" for number in range(40) for _ in range(5)]
    values_SQ, other_SQ = (np.repeat(each, 5, axis=1) for each in (units_SU, other_SU))
    for found, of_units in (
        (bootstrap(values_SQ, units_Q), bootstrap(units_SU)),
        (bootstrap_difference(other_SQ, values_SQ, units_Q), bootstrap_difference(other_SU, units_SU)),
        (bootstrap_change(other_SQ, values_SQ, units_Q), bootstrap_change(other_SU, units_SU)),
    ):
        assert {**found, "n": 40} == pytest.approx(of_units), "five copies of a question say no more than one"
    assert bootstrap(values_SQ, range(200)) == bootstrap(values_SQ), "units of one question each change nothing"
    uneven = bootstrap_units(np.array([0.0, 0.0, 0.0, 1.0]), ["a", "a", "a", "b"])
    assert (uneven["mean"], uneven["low"], uneven["high"]) == (0.25, 0, 1)


@pytest.mark.parametrize("num_seeds", [1, 3])
@pytest.mark.parametrize(("num_questions", "units"), [(1, None), (1, ["a"]), (4, ["a"] * 4)])
def test_a_single_unit_says_nothing_about_others_and_has_no_interval(num_seeds, num_questions, units) -> None:
    values_SQ = np.full((num_seeds, num_questions), 22.61) + np.arange(num_seeds)[:, None]
    mean = {"mean": pytest.approx(values_SQ.mean()), "low": None, "high": None, "n": num_questions}
    change = {"difference": pytest.approx(1.0), "low": None, "high": None, "n": num_questions}
    assert bootstrap(values_SQ, units) == mean
    assert bootstrap_difference(values_SQ - 1, values_SQ, units) == change
    assert bootstrap_change(values_SQ - 1, values_SQ, units) == change
    assert bootstrap_units(values_SQ[0], units or ["a"])["low"] is None


def test_p_of_a_difference_is_below_a_twentieth_just_where_its_interval_excludes_none() -> None:
    rng = np.random.default_rng(0)
    shown = []
    for shift in np.linspace(-0.2, 0.2, 21):
        ours_SQ, theirs_SQ = rng.random((3, 100)) < 0.5 + shift, rng.random((3, 100)) < 0.5
        found = bootstrap_difference(theirs_SQ, ours_SQ)
        shown.append(found["p"] < 0.05)
        assert shown[-1] == (found["low"] > 0 or found["high"] < 0)
    assert shown[0]
    assert shown[-1]
    assert not all(shown)
    assert bootstrap_difference(np.zeros((3, 50)), np.ones((3, 50)))["p"] == pytest.approx(2 / 2001)
    assert bootstrap_difference(theirs_SQ, theirs_SQ)["p"] > 0.9


def test_intervals_of_simulated_studies_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    hits = []
    for _ in range(300):  # two methods that are equally good, of three seeds
        hard_Q = rng.normal(0, 1.2, 200)
        a, b = (rng.random((3, 200)) < 1 / (1 + np.exp(-hard_Q - rng.normal(0, 0.2, (3, 1)))) for _ in range(2))
        mean, difference = bootstrap(a), bootstrap_difference(a, b)
        hits.append((mean["low"] <= 0.5 <= mean["high"], difference["low"] <= 0 <= difference["high"]))
    coverage = np.mean(hits, axis=0)
    assert (coverage > 0.92).all()
    assert (coverage < 1).all()


def test_bootstraps_refuse_no_answers_and_other_questions() -> None:
    with pytest.raises(ValueError, match=r"got an array of shape \(0, 3\)"):
        bootstrap(np.zeros((0, 3)))
    with pytest.raises(ValueError, match="3 questions can't be paired with answers to 4"):
        bootstrap_difference(np.zeros((1, 3)), np.zeros((2, 4)))


def test_an_interval_that_draws_units_is_wider_where_their_questions_are_alike():
    alone = bootstrap_units(np.array([0.0, 1.0] * 20), range(40))
    assert alone == pytest.approx(bootstrap(np.array([[0.0, 1.0] * 20])))
    alike = bootstrap_units(np.repeat([0.0, 1.0] * 4, 5), np.repeat(range(8), 5).tolist())
    assert (alike["mean"], alike["n"]) == (0.5, 40)
    assert alike["high"] - alike["low"] > 1.5 * (alone["high"] - alone["low"])


def test_units_of_several_sizes_leave_the_mean_over_questions_and_a_single_one_has_no_interval():
    uneven = bootstrap_units(np.array([1.0, 1.0, 1.0, 0.0]), ["a", "a", "a", "b"])
    assert uneven["mean"] == 0.75
    assert (uneven["low"], uneven["high"]) == (0, 1)
    single = bootstrap_units(np.array([1.0, 0.0]), ["a", "a"])
    assert single == {"mean": 0.5, "low": None, "high": None, "n": 2}
