"""Used, useful, readable: decided by hand-made differences, and said on a page."""

import re

import pytest

from mirage_pl.engine.evaluation.statistics import paired_difference
from mirage_pl.mirage.audit.terms import judge_words, list_numbers, list_tests
from mirage_pl.mirage.audit.words import describe_method, judge_methods, verdict, write_leak


def change(lost, won, n=100):
    """The difference of n answers of which some are lost and some won; half of the rest is right."""
    stay = n - lost - won
    before = [True] * lost + [False] * won + [True] * (stay // 2) + [False] * (stay - stay // 2)
    after = [False] * lost + [True] * won + [True] * (stay // 2) + [False] * (stay - stay // 2)
    return paired_difference(before, after)


COSTS = change(30, 2)


def metrics(zero=COSTS, shuffled=COSTS, lift=None, gain=None, against=()):
    conditions = {name: {"n": 100, "difference": each} for name, each in (("zero", zero), ("shuffled", shuffled))}
    if lift:
        conditions["donor"] = {"n": 100, "difference": change(1, 1), "lift": lift}
    runs = {str(number): {"name": "sft", "steps": 9, "difference": each} for number, each in enumerate(against)}
    return {
        "interventions": conditions,
        "audit": {"against": runs, **({"decodability": {"gain": gain}} if gain else {})},
    }


GAIN = {"difference": 0.2, "low": 0.1, "high": 0.3, "n": 100, "p": 1e-4}
LOSS = {"difference": -0.2, "low": -0.3, "high": -0.1, "n": 100, "p": 1e-4}


def words(found):
    return judge_words(list_tests(found))


def test_latents_are_used_if_zeros_and_another_samples_both_cost():
    assert words(metrics())["used"] is True
    assert words(metrics(zero=change(5, 5)))["used"] is False
    assert words(metrics(shuffled=change(5, 5)))["used"] is False
    assert words(metrics(zero=change(2, 30)))["used"] is False, "better with zeros"
    missing = metrics()
    del missing["interventions"]["shuffled"]
    assert words(missing)["used"] is None


def test_they_are_useful_if_every_baseline_is_worse():
    assert words(metrics())["useful"] is None
    assert words(metrics(against=[change(2, 30)]))["useful"] is True
    assert words(metrics(against=[change(2, 30), change(20, 20)]))["useful"] is False
    assert words(metrics(against=[change(30, 2)]))["useful"] is False
    last = list_tests(metrics(against=[change(2, 30)]) | {"steps": 5})[-1]
    assert last.what == "against sft (its stage took 9 steps, this one's 5): success"


def test_they_are_readable_if_a_probe_reads_more_than_from_the_picture_before():
    assert words(metrics())["readable"] is None
    assert words(metrics(gain=GAIN))["readable"] is True
    assert words(metrics(gain=LOSS))["readable"] is False
    retrieved = metrics()
    retrieved["audit"]["writing"] = {"measures": {"block_retrieved": {"gain": GAIN}}}
    assert words(retrieved)["readable"] is True


def test_a_difference_that_holds_alone_may_not_hold_among_several():
    weak = change(14, 4)
    assert weak["high"] < 0
    assert 0.02 < weak["p"] < 0.05
    assert not words(metrics(zero=weak, shuffled=weak, gain={**GAIN, "low": -0.1, "p": 0.5}))["used"]
    tests = {test.what: test for test in list_tests(metrics(zero=weak))}
    zero = tests["zeros against its own: success"]
    assert zero.difference["p"] == zero.adjusted, "the largest p of two stays"
    first, second, third = list_tests(metrics(zero=weak, lift=change(1, 60)))
    assert first.adjusted == weak["p"]
    assert third.adjusted == pytest.approx(3 * third.difference["p"])
    assert (third.word, third.holds) == ("", True)
    assert second.holds


def test_the_verdict_says_the_words_and_how_useful_can_be_told():
    first, *others = verdict(metrics(gain=GAIN))
    assert first.startswith("Latents: used: yes, useful: not tested, readable: yes.")
    assert "against=[RUN]" in first
    assert not others
    (said,) = verdict(metrics(against=[change(20, 20)]))
    assert said.startswith("Latents: used: yes, useful: not shown, readable: not tested. Readable needs helper images")
    (said,) = verdict(metrics(against=[change(30, 2), change(20, 20), change(2, 30)]))
    assert said.startswith("Latents: used: yes, useful: not shown, ")
    assert said.count("against sft") == 1
    assert re.search(r"The opposite is shown: against sft \(.*\): success, -28\.0 points \[-\S+, -\S+\]\.$", said)
    assert verdict({"audit": {"emitted": 0.0}}) == [
        "No answer has latents: there is nothing that could be used, useful or readable."
    ]
    assert verdict({"interventions": {}, "audit": {}}) == []


def test_the_leak_is_said_by_place_beside_free_running_and_a_copy():
    def number(mean):
        return {"mean": mean, "low": mean, "high": mean, "n": 9}

    forced = {"all": number(0.5), "places": [number(0.0), number(0.6), number(0.9)]}
    sources = {"free": {"all": number(0.1)}, "last": {"all": number(0.0)}, "gain": GAIN}
    audit = {"writing": {"measures": {"changed": {"forced": forced, "chance": 0.25, **sources}}}}
    said = write_leak(audit)
    assert said == (
        "Changed parts (that show what they should, by the nearest target of all), teacher-forced: 0.0 % [0.0, 0.0] in "
        "the first place of a block, 90.0 % [90.0, 90.0] in the last; free-running: 10.0 % [10.0, 10.0]; if the "
        "picture before is copied: 0.0 % [0.0, 0.0]; by chance: 25.0 %."
    )
    assert write_leak({}) == ""
    numbers = list_numbers(audit | {"decodability": {"gain": GAIN}})
    assert numbers.pop("read_more_low") == GAIN["low"]
    assert numbers == {"forced": 0.5, "forced_first": 0.0, "free": 0.1, "copied": 0.0, "read_more": 0.2}
    assert list_numbers({}) == {}


def test_a_method_is_readable_if_it_is_in_every_seed():
    entry = {"interventions": {}, "useful": None}
    methods = {"a": {"min": 0.1}, "b": {"min": -0.1}, "sft": None}
    methods = {name: entry | ({"latents": {"read_more_low": low}} if low else {}) for name, low in methods.items()}
    methods = {name: method | describe_method(method) for name, method in methods.items()}
    assert [method["readable"] for method in methods.values()] == [True, False, None]
    assert judge_methods(methods, "sft")[-1] == "Latents readable, by the interval of every seed: a."
