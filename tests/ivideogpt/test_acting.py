"""A policy is scored by what it brings from fixed starts, beside random actions and the expert."""

from types import SimpleNamespace

import pytest
import torch

from mirage_pl.engine.seams import OWN
from mirage_pl.ivideogpt.control.playing import Policy
from mirage_pl.ivideogpt.evaluations.acting import Act
from mirage_pl.ivideogpt.evaluations.acting_words import verdict
from mirage_pl.ivideogpt.sessions import act
from tests.ivideogpt.playing import SIDE, Line, small_agent

LENGTH = 5


def open_trial(action, starts=6, **options):
    policy = Policy(small_agent(), lambda *_: torch.tensor([[action]]))
    return Act(Line, LENGTH, starts, **options).open(SimpleNamespace(policy=policy), None, lambda _, make: make())


def rows_of(trial, condition=OWN):
    return [row for batch in trial.score(condition) for row in batch]


def test_an_episode_is_scored_by_its_rewards_and_by_whether_the_goal_was_reached():
    trial = open_trial(-1.0)
    rows = rows_of(trial)
    first = [int(trial.frames[row["where"]][0, 0, 0, 0]) for row in rows]
    assert [row["return"] for row in rows] == [4 * start - 10 for start in first]
    assert not any(row["success"] for row in rows)
    up = rows_of(open_trial(1.0))
    assert [row["success"] for row in up] == [start + LENGTH - 1 >= 30 for start in first]
    assert len(set(first)) > 1


def test_all_begin_at_the_same_starts_and_the_expert_is_who_goes_up():
    trial = open_trial(1.0)
    own = rows_of(trial)
    assert rows_of(trial) == own
    expert = rows_of(trial, "expert")
    assert [row["where"] for row in expert] == [row["where"] for row in own]
    not_reached = [pair for pair in zip(own, expert, strict=True) if not pair[0]["success"]]
    assert not_reached
    assert all(one["return"] == other["return"] for one, other in not_reached)
    assert rows_of(trial, "random") == rows_of(trial, "random") != own


def test_a_run_scores_as_many_starts_as_it_picks_and_draws_the_episode():
    evaluation = Act(Line, LENGTH, 6)
    module = SimpleNamespace(policy=Policy(small_agent()))
    trial = evaluation.open(module, None, lambda _, make: make(), "val", picks=[3, 9])
    rows = rows_of(trial)
    assert [row["where"] for row in rows] == ["start:0", "start:1"]
    ((name, frames),) = trial.draw(rows[0])
    assert (name, len(frames), frames[0].height % SIDE) == ("", LENGTH, 0)


def test_what_there_isnt_is_refused():
    with pytest.raises(ValueError, match="conditions=\\['nobody'\\]"):
        Act(Line, LENGTH, 6, conditions=["nobody"])
    with pytest.raises(ValueError, match="starts=0"):
        Act(Line, LENGTH, 0)


@pytest.mark.parametrize(("low", "high", "how"), [(-3.0, -1.0, "less"), (1.0, 3.0, "more"), (-1.0, 1.0, "neither")])
def test_the_verdict_says_whether_random_actions_bring_less(low, high, how):
    measures = {name: vars(measure) for name, measure in Act.measures.items()}
    change = {"difference": (low + high) / 2, "low": low, "high": high, "n": 50, "p": 0.5}
    conditions = {"random": {"measures": {"return": {"difference": change}}}}
    (sentence,) = verdict({"measures": measures, "conditions": conditions})
    assert sentence.startswith(f"Random actions bring {how}")
    assert not verdict({"measures": measures, "conditions": {}})


def test_a_session_plays_what_is_scored_and_goes_on_to_the_next_start():
    trial = open_trial(1.0)
    module = SimpleNamespace(policy=trial.module.policy, simulator=Line(), playing=SimpleNamespace(actions=LENGTH - 1))
    session = act.Act(SimpleNamespace(module=module), {"start": "number"})
    told = [list(session.begin(start=2)), list(session.step())]
    for start, pieces in zip((2, 3), told, strict=True):
        row = rows_of(trial)[start]
        words = "the goal was reached" if row["success"] else "the goal wasn't reached"
        assert pieces[0].content == f"start {start}: return {row['return']:.2f}, {words}\n"
        assert [piece.name for piece in pieces[1:]] == ["played.mp4", "played.gif"]
        assert len(pieces[1].content.frames_THWC) == LENGTH
    with pytest.raises(ValueError, match="start=-1"):
        list(session.begin(start=-1))
