"""Policies of known strength, ranked by a model and by the simulator."""

import re

import numpy as np
import pytest
from hydra.utils import instantiate

from data_modules.worlds.world import WorldFailure
from mirage_pl.engine.seams import OWN
from mirage_pl.ivideogpt.control.report import verdict
from mirage_pl.ivideogpt.evaluations import ranking
from mirage_pl.ivideogpt.evaluations.ranking import Rank
from mirage_pl.ivideogpt.evaluations.ranks import compare_policies, estimate_ranking, spearman
from mirage_pl.ivideogpt.model.rollout import Sampling
from tests.conftest import compose
from tests.ivideogpt.playing import Line
from tests.ivideogpt.test_planning import Known, known_module


def test_rank_correlation_by_hand():
    assert spearman([1, 2, 3, 4], [10, 20, 40, 30]) == pytest.approx(0.8)
    assert spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert spearman([1, 1, 2], [1, 2, 3]) == pytest.approx(np.sqrt(3) / 2)  # tied: both have rank 0.5
    assert spearman([1, 1], [1, 2]) is None
    assert spearman([1], [1]) is None


def rows_of(imagined, earned):
    """Rows of policies a, b, c at starts 0, 1, …: one list of returns a start."""
    return [
        {"group": name, "unit": str(start), "imagined": imagined[start][place], "earned": earned[start][place]}
        for start in range(len(earned))
        for place, name in enumerate("abc")
    ]


def test_policies_are_ranked_by_means_and_the_interval_draws_starts():
    rows = rows_of([[1, 2, 3], [5, 6, 7]], [[1, 3, 2], [1, 5, 8]])
    assert compare_policies(rows)["spearman"] == pytest.approx(1)
    assert compare_policies(rows)["spearman_rows"] < 1
    low, high = estimate_ranking(rows)
    assert (low, high) == (
        pytest.approx(0.5),
        pytest.approx(1),
    )  # both starts are the first one in a quarter of samples
    assert estimate_ranking(rows[:3]) == (pytest.approx(0.5), pytest.approx(0.5))
    assert estimate_ranking(rows[:2] + rows[4:]) is None  # no start at which all policies acted
    assert compare_policies([row for row in rows if row["group"] == "a"]) == {}


def rank(world=Line, **options):
    given = {"conditions": ["other_actions"], "policies": [0, 1.5, "random"], "starts": 4, "before": [1, 3]}
    given |= {"steps": 6, "segment": 3, "at_once": 5, "sampling": Sampling()}
    return Rank(world=world, **given | options)


def score(evaluation, condition=OWN, module=None):
    trial = evaluation.open(module or known_module(), None, lambda name, make: make())
    return trial, [row for rows in trial.score(condition) for row in rows]


def test_a_model_that_makes_no_errors_expects_what_is_earned_unless_it_is_shown_other_actions(monkeypatch):
    monkeypatch.setattr(ranking, "LongRollout", Known)
    trial, rows = score(rank())
    assert len(rows) == 12
    assert [row["imagined"] for row in rows] == [row["earned"] for row in rows]
    assert trial.over_all(OWN, rows) == {"spearman": pytest.approx(1), "spearman_rows": pytest.approx(1)}
    assert trial.describe()["spearman_low"] == trial.summarize(rows)["spearman_interval"]["low"] == pytest.approx(1)
    means = {name: np.mean([row["earned"] for row in rows if row["group"] == name]) for name in ("noise 0", "random")}
    assert means["noise 0"] > means["random"]
    others = score(rank(), "other_actions")[1]
    assert [row["earned"] for row in others] == [row["earned"] for row in rows]
    assert [row["imagined"] for row in others] != [row["imagined"] for row in rows]
    ((_, frames),) = trial.draw(rows[-1])
    assert len(frames) == 7
    assert all(np.asarray(frame)[:, :128].mean() == np.asarray(frame)[:, -128:].mean() for frame in frames)


class Breaking(Line):
    def step(self, action):
        if self.number == 28:
            raise WorldFailure("line ended")
        return super().step(action)


def test_what_cant_be_played_is_listed_and_left_out(monkeypatch):
    monkeypatch.setattr(ranking, "LongRollout", Known)
    trial, rows = score(rank(world=Breaking))
    assert len(rows) + len(trial.failures) == 12
    assert trial.failures[0]["error"] == "line ended"
    assert rows


def test_what_cant_be_ranked_is_refused():
    for change, words in (
        ({"policies": [0, 1]}, "must be 3 or more that differ"),
        ({"policies": [0, 1, "best"]}, "policies=.*must be noises"),
        ({"before": [3, 1]}, r"before=\[3, 1\] must be the least and the most"),
        ({"conditions": ["copy"]}, r"conditions=\['copy'\] are unknown"),
    ):
        with pytest.raises(ValueError, match=words):
            rank(**change)
    for module in (known_module(action_dim=0), known_module(has_reward=False)):
        with pytest.raises(ValueError, match="needs a model that takes actions and predicts rewards"):
            score(rank(), module=module)
    with pytest.raises(ValueError, match=r"takes actions of 2 number\(s\), the world's have 1"):
        score(rank(), module=known_module(action_dim=2))


def test_the_config_builds_it_and_its_verdict_says_whether_the_goal_is_met():
    cfg = compose("evaluate", "evaluation=ivideogpt/ranking", "ckpt=RUN", "task=pushing")
    assert instantiate(cfg.evaluation).steps == 20
    groups = dict.fromkeys(["noise 0", "noise 1", "random"], {"mean": None})
    for low, words in (
        (0.85, "ranks 3 policies .*, above 0.8"),
        (0.5, "ranks .* not shown"),
        (-0.5, "isn't shown to rank"),
    ):
        metrics = {"evaluation": "ranking", "spearman": groups | {"all": {"mean": 0.9}}}
        (sentence,) = verdict(metrics | {"spearman_interval": {"low": low, "high": 1.0}})
        assert re.search(words, sentence)
