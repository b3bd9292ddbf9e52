"""An evaluation of plain numbers: no model, two measures of items and one of the set, two conditions."""

import json
import sys
from collections import Counter
from functools import partial
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf
from PIL import Image

from mirage_pl.engine.evaluation.journal import Journal
from mirage_pl.engine.evaluation.publishing import choose_rows
from mirage_pl.engine.evaluation.scoring import Scoring, check_other_file, check_other_kind, score
from mirage_pl.engine.evaluation.summary import describe_evaluation
from mirage_pl.engine.evaluation.test_set import TestSet
from mirage_pl.engine.seams import Measure, Trial
from mirage_pl.engine.words import PlainWords

OWN_MISSES = {2, 7}
BLIND_MISSES = {0, 1, 2, 3, 7, 8}


class Throws:
    """Ten throws at a wall: was it hit, and how far from the middle?"""

    name, words = "throws", None
    measures = {
        "hit": Measure("share", "higher", meaning="The wall was hit."),
        "distance": Measure("mean", "lower", "cm"),
        "widest": Measure("set", "lower", "cm"),
    }
    conditions_in, numbers_in = "conditions", "numbers"
    facts = {"ball": "red"}

    def __init__(self, wanted=("blind", "windy"), unknown=(), lost=()):
        self.wanted, self.unknown, self.lost, self.thrown, self.stop = wanted, unknown, lost, Counter(), None

    def open(self, module, data, once, split="test", picks=None):
        return Series(self, once)


class Series(Trial):
    def __init__(self, evaluation, once):
        self.evaluation, self.once = evaluation, once
        self.failures = [{"where": f"wall:{number}", "error": "no ball"} for number in evaluation.lost]
        self.distances = {}

    @property
    def conditions(self):
        return self.evaluation.wanted

    def score(self, condition):
        for first in (0, 4, 8):
            numbers = [number for number in range(first, min(first + 4, 10)) if number not in self.evaluation.lost]
            make = partial(self.throw, condition, numbers)
            yield self.once(f"{condition}-{first}", make)["rows"]

    def throw(self, condition, numbers):
        if self.evaluation.stop == (condition, numbers[0]):
            raise KeyboardInterrupt
        self.evaluation.thrown[condition] += 1
        return {"rows": [self.row(condition, number) for number in numbers]}

    def row(self, condition, number):
        group = "left" if number < 5 else "right"
        row = {"where": f"wall:{number}", "id": f"{number:012d}", "group": group}
        if number in self.evaluation.unknown:
            return row | {"hit": None}
        misses = {"own": OWN_MISSES, "blind": BLIND_MISSES, "windy": OWN_MISSES}[condition]
        distance = (10.0 if number % 2 else 0.0) + (2.0 if condition == "windy" else 0.0)
        return row | {"hit": number not in misses, "distance": distance}

    def over_all(self, condition, rows):
        known = [row["distance"] for row in rows if "distance" in row]
        return {"widest": max(known)} if known else {}

    def summarize(self, rows):
        return {"thrown": len(rows)}

    def contrast(self, condition, own, rows):
        moved = sum(before["hit"] != after["hit"] for before, after in zip(own, rows, strict=True))
        return {"moved": {"mean": moved / len(rows), "n": len(rows)}}

    def describe(self):
        return {"mass": float("nan"), "size": 3}

    def pictures(self, rows):
        yield "wall", Image.new("L", (4, 4))
        yield "flight", [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]

    def draw(self, row):
        if row["where"] == "wall:6":
            raise StopIteration
        yield "", Image.new("L", (2, 2))
        yield "truth", [Image.new("RGB", (2, 2), color) for color in ("red", "blue")]


def throw(folder, evaluation=None, seen=0, shown=4):
    evaluation = evaluation or Throws()
    facts = {"file": "wall", "rows": 10, "digest": "x", "train_file": "other wall", "seen": seen}
    test = TestSet(facts, frozenset(f"{number:012d}" for number in range(seen)))
    journal = Journal(folder / "unfinished", {})
    known = (
        {"name": "me", "ckpt": "last.ckpt", "steps": 7}
        | describe_evaluation(evaluation)
        | evaluation.facts
        | {"test": facts}
    )
    scoring = Scoring(folder, evaluation, evaluation.open(None, None, journal.once), known)
    score(scoring, test, journal, OmegaConf.create({"num_shown": shown, "num_pictured": 2}))
    return scoring.publish(finished=True)


def test_finished_scores_are_not_replaced_by_scores_under_fewer_conditions(tmp_path):
    throw(tmp_path)
    before = (tmp_path / "metrics.json").read_text()
    with pytest.raises(ValueError, match=r"holds finished scores under windy, which this.*label=NAME.*conditions="):
        throw(tmp_path, Throws(wanted=("blind",)))
    assert (tmp_path / "metrics.json").read_text() == before
    throw(tmp_path, Throws(wanted=("windy", "blind")))
    trained_on = json.loads(before) | {"steps": 5}
    (tmp_path / "metrics.json").write_text(json.dumps(trained_on))
    assert list(throw(tmp_path, Throws(wanted=("blind",)))["conditions"]) == ["blind"], "those were of other weights"


def test_finished_scores_are_not_replaced_by_those_of_another_kind(tmp_path):
    throw(tmp_path)
    before, other = (tmp_path / "metrics.json").read_text(), Throws()
    check_other_kind(tmp_path, other)
    other.name = "catches"
    with pytest.raises(ValueError, match=r"another kind, evaluation=throws, which this catches .*give label=NAME"):
        check_other_kind(tmp_path, other)
    (tmp_path / "metrics.json").write_text(json.dumps(json.loads(before) | {"finished": False}))
    check_other_kind(tmp_path, other)
    check_other_kind(tmp_path / "elsewhere", other)


def test_a_broken_file_of_scores_is_replaced(tmp_path):
    throw(tmp_path)
    (tmp_path / "metrics.json").write_text('{"finished": tr')
    check_other_kind(tmp_path, Throws())
    assert list(throw(tmp_path, Throws(wanted=("blind",)))["conditions"]) == ["blind"]


def read(folder):
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    return json.loads((folder / "metrics.json").read_text(), parse_constant=pytest.fail), rows


def test_measures_have_intervals_by_group_and_over_all(tmp_path):
    metrics = throw(tmp_path)
    assert metrics["hit"].keys() == metrics["distance"].keys() == metrics["widest"].keys() == {"left", "right", "all"}
    # 8 of 10: tests/engine/evaluation/test_statistics.py has it by hand
    assert metrics["hit"]["all"] == pytest.approx({"mean": 0.8, "low": 0.490162, "high": 0.943318, "n": 10}, abs=2e-6)
    # as often 10 as 0: of ten drawn ones at least 2 and at most 8 are 10, in 95 of 100 draws
    assert metrics["distance"]["all"] == {"mean": 5.0, "low": 2.0, "high": 8.0, "n": 10}
    assert metrics["distance"]["left"]["mean"] == 4.0
    assert metrics["widest"]["all"] == {"mean": 10.0, "low": None, "high": None, "n": 10}
    assert (metrics["evaluation"], list(metrics["measures"]), metrics["ball"]) == (
        "throws",
        list(Throws.measures),
        "red",
    )
    assert metrics["measures"]["distance"] == {"kind": "mean", "better": "lower", "unit": "cm", "meaning": ""}
    assert (metrics["thrown"], metrics["ungraded"], metrics["failures"]) == (10, 0, [])


def test_a_condition_is_compared_with_own_item_by_item(tmp_path):
    conditions = throw(tmp_path)["conditions"]
    assert list(conditions) == ["blind", "windy"]
    blind = conditions["blind"]
    # 4 both, 4 own alone, 0 blind alone, 2 neither: phi = (4·2 - 10/2) / √(8·2·4·6) = 0.153093; Wilson's limits of
    # 4 of 10 are 0.168180 and 0.687326; low = -0.4 - √(0.231820² - 2·phi·0.231820·0.143318 + 0.143318²)
    expected = {"difference": -0.4, "low": -0.653196, "high": -0.011030, "n": 10, "p": 2 / 16}
    assert blind["difference"] == pytest.approx(expected, abs=2e-6)
    assert (blind["mean"], blind["n"], blind["groups"]["left"]["mean"]) == (0.4, 10, 0.2)
    assert blind["measures"]["hit"] == {key: blind[key] for key in blind["measures"]["hit"]}
    assert blind["moved"] == {"mean": 0.4, "n": 10}
    windy = conditions["windy"]
    assert windy["difference"]["difference"] == 0
    # every throw goes 2 further, so every draw of throws does
    assert windy["measures"]["distance"]["difference"] == {"difference": 2.0, "low": 2.0, "high": 2.0, "n": 10}
    assert windy["measures"]["distance"]["mean"] == 7.0
    assert windy["measures"]["widest"]["difference"] == {"difference": 2.0, "low": None, "high": None, "n": 10}


def test_rows_hold_their_values_under_every_condition(tmp_path):
    throw(tmp_path)
    metrics, rows = read(tmp_path)
    assert [row["where"] for row in rows] == [f"wall:{number}" for number in range(10)]
    assert (rows[0]["hit"], rows[0]["distance"], rows[0]["group"]) == (True, 0.0, "left")
    assert rows[0]["conditions"] == {"blind": {"hit": False, "distance": 0.0}, "windy": {"hit": True, "distance": 2.0}}
    for condition in ("blind", "windy"):
        hits = sum(row["conditions"][condition]["hit"] for row in rows)
        assert hits == metrics["conditions"][condition]["mean"] * 10


def test_numbers_and_pictures_are_kept_and_what_is_not_finite_is_null(tmp_path):
    throw(tmp_path)
    metrics, _ = read(tmp_path)
    assert metrics["numbers"] == {"mass": None, "size": 3}
    assert sorted(file.name for file in (tmp_path / "numbers").iterdir()) == ["flight.gif", "wall.png"]
    gallery = sorted(file.name for file in (tmp_path / "gallery").iterdir())
    assert gallery == ["0.png", "0_truth.gif", "3.png", "3_truth.gif", "9.png", "9_truth.gif"], "6 can't be drawn"
    with Image.open(tmp_path / "gallery" / "0_truth.gif") as clip:
        assert clip.n_frames == 2


def test_rows_that_are_shown_are_spread_and_not_in_step_with_answers_that_take_turns():
    shown = choose_rows(48, 12)
    assert [row // 4 for row in shown] == list(range(12)), "one of each share"
    assert {row % 4 for row in shown} == {0, 1, 2, 3}
    assert shown == choose_rows(48, 12)
    assert (choose_rows(3, 5), choose_rows(0, 3), choose_rows(5, 0)) == ([0, 1, 2], [], [])


@pytest.mark.parametrize("stop", [("own", 4), ("own", 8), ("blind", 0), ("windy", 8)])
def test_an_interrupted_evaluation_goes_on_and_keeps_what_was_scored(tmp_path, stop):
    whole = throw(tmp_path / "whole")
    evaluation = Throws()
    evaluation.stop = stop
    with pytest.raises(KeyboardInterrupt):
        throw(tmp_path / "broken", evaluation)
    if stop[0] == "own":
        kept = (tmp_path / "broken" / "unfinished" / "predictions.jsonl").read_text().splitlines()
        assert len(kept) == stop[1]
    else:
        metrics, rows = read(tmp_path / "broken")
        made = ["blind"] if stop[0] == "windy" else []
        assert metrics["finished"] is False
        assert metrics["hit"] == whole["hit"]
        assert list(metrics.get("conditions", {})) == list(rows[0].get("conditions", {})) == made
    evaluation.stop = None
    assert throw(tmp_path / "broken", evaluation) == whole
    assert evaluation.thrown == {"own": 3, "blind": 3, "windy": 3}, "nothing is thrown twice"
    assert read(tmp_path / "broken") == read(tmp_path / "whole")


def test_conditions_may_follow_from_what_own_has_brought(tmp_path, monkeypatch):
    scored = []
    score_all = Series.score
    monkeypatch.setattr(Series, "score", lambda trial, name: (scored.append(name), score_all(trial, name))[1])
    monkeypatch.setattr(Series, "conditions", property(lambda trial: trial.evaluation.wanted if scored else ()))
    assert list(throw(tmp_path)["conditions"]) == ["blind", "windy"]


def test_no_condition_leaves_no_key(tmp_path):
    throw(tmp_path, Throws(wanted=()))
    metrics, rows = read(tmp_path)
    assert "conditions" not in metrics
    assert not any("conditions" in row for row in rows)


def test_items_without_a_grade_are_counted_and_are_in_no_measure(tmp_path, capsys):
    throw(tmp_path, Throws(unknown=(0, 1, 2)))
    metrics, rows = read(tmp_path)
    assert metrics["ungraded"] == 3
    assert (metrics["hit"]["all"]["n"], metrics["hit"]["left"]["n"], metrics["distance"]["all"]["n"]) == (7, 2, 7)
    assert metrics["conditions"]["blind"]["difference"]["n"] == 7
    assert [row["hit"] for row in rows][:4] == [None, None, None, True]
    assert "3 item(s) have nothing to be graded against" in capsys.readouterr().out


def test_where_nothing_can_be_graded_every_number_is_null_and_rows_are_written(tmp_path):
    throw(tmp_path, Throws(unknown=range(10)))
    metrics, rows = read(tmp_path)
    nothing = {"mean": None, "low": None, "high": None, "n": 0}
    assert metrics["ungraded"] == len(rows) == 10
    assert metrics["hit"]["all"] == metrics["distance"]["left"] == metrics["widest"]["all"] == nothing
    assert metrics["conditions"]["blind"]["difference"] == {"difference": None, "low": None, "high": None, "n": 0}


def test_what_was_trained_on_is_a_group_less(tmp_path, capsys):
    throw(tmp_path, seen=4)
    metrics, rows = read(tmp_path)
    assert [row["seen"] for row in rows] == [True] * 4 + [False] * 6
    assert metrics["hit"]["unseen"] == {**metrics["hit"]["unseen"], "mean": 5 / 6, "n": 6}
    assert "4 of the test items are in other wall; see group unseen" in capsys.readouterr().out


def test_what_can_not_be_scored_is_named_and_the_rest_is_not_lost(tmp_path, capsys):
    throw(tmp_path, Throws(lost=(3, 9)))
    metrics, rows = read(tmp_path)
    assert [failure["where"] for failure in metrics["failures"]] == ["wall:3", "wall:9"]
    assert len(rows) == metrics["hit"]["all"]["n"] == 8
    assert "2 item(s) could not be scored and are left out; the first: no ball" in capsys.readouterr().out


def test_a_condition_that_scores_other_items_is_an_error(tmp_path):
    evaluation = Throws()
    series = evaluation.open(None, None, lambda name, make: make())
    rows = {"own": series.row("own", 0), "blind": series.row("blind", 1)}
    series.score = lambda condition: iter([[rows[condition]]])
    scoring = Scoring(tmp_path, evaluation, series, describe_evaluation(evaluation) | {"name": "me"})
    test = TestSet({"file": "wall", "rows": 1, "seen": None, "train_file": "x"}, None)
    with pytest.raises(RuntimeError, match="blind scored other items than own"):
        score(scoring, test, Journal(tmp_path / "work", {}), OmegaConf.create({"num_shown": 0, "num_pictured": 0}))


def test_the_console_has_every_measure_and_every_condition(tmp_path, capsys):
    throw(tmp_path)
    printed = capsys.readouterr().out
    for word in ("hit", "distance", "widest", "left", "right", "80.0 %", "blind", "windy", "-40.0 points", "0.4 "):
        assert word in printed
    assert "worse" in printed


def test_where_all_items_were_trained_on_no_group_unseen_is_pointed_to(tmp_path, capsys):
    throw(tmp_path, seen=10)
    assert "unseen" not in read(tmp_path)[0]["hit"]
    assert "all test items are in other wall: none of them is unseen" in capsys.readouterr().out


def test_the_familys_verdict_is_printed_below_the_conditions(tmp_path, capsys, monkeypatch):
    words = SimpleNamespace(**vars(PlainWords))
    words.verdict = lambda metrics: [f"This checkpoint sees {metrics['conditions']['blind']['mean']:.0%}."]
    monkeypatch.setitem(sys.modules, "words_of_throws", words)
    evaluation = Throws()
    evaluation.words = "words_of_throws"
    throw(tmp_path, evaluation)
    assert capsys.readouterr().out.splitlines()[-1] == "This checkpoint sees 40%."
    throw(tmp_path / "none", Throws(wanted=()))
    assert "This checkpoint" not in capsys.readouterr().out


def test_finished_scores_are_not_replaced_by_those_of_another_file(tmp_path):
    throw(tmp_path)
    kept = json.loads((tmp_path / "metrics.json").read_text())
    had = {"file": "test.jsonl", "digest": "1"}
    other = {"file": "train.jsonl", "digest": "2"}
    (tmp_path / "metrics.json").write_text(json.dumps(kept | {"test": None}))
    check_other_file(tmp_path, other)  # nothing is known of what was scored
    (tmp_path / "metrics.json").write_text(json.dumps(kept | {"test": had}))
    check_other_file(tmp_path, had | {"digest": "3"})  # the same file, made anew
    check_other_file(tmp_path, had | {"file": "elsewhere/test.jsonl"})  # the same questions, under another path
    with pytest.raises(ValueError, match=r"finished scores of test.jsonl, which those of train.jsonl .*label=NAME"):
        check_other_file(tmp_path, other)
    (tmp_path / "metrics.json").write_text(json.dumps(kept | {"test": had, "finished": False}))
    check_other_file(tmp_path, other)
