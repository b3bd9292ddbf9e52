"""What a policy did is shown once a round, with what it was worth."""

from types import SimpleNamespace

import pytest

from callbacks import rollouts as shown
from callbacks.rollouts import Rollouts


def rollout(number, answer, **rewards):
    return SimpleNamespace(where=f"a:1, answer {number}", answer=answer, rewards=rewards, advantage=0.5 - number)


@pytest.fixture
def tables(monkeypatch):
    calls = []
    monkeypatch.setattr(shown, "show_table", lambda loggers, *call: calls.append(call))
    return calls


def run(callback, numbers, rank_zero=True, answers=("RIGHT", "DOWN", "UP")):
    rollouts = [rollout(number, answer, accuracy=float(number)) for number, answer in enumerate(answers)]
    for step, number in enumerate(numbers):
        trainer = SimpleNamespace(is_global_zero=rank_zero, loggers=[], global_step=step)
        module = SimpleNamespace(round=SimpleNamespace(number=number, rollouts=rollouts))
        callback.on_train_batch_start(trainer, module, None, step)


def test_a_round_is_shown_once_with_its_answers_and_what_they_were_worth(tables):
    run(Rollouts(num_shown=2, every=2), [0, 0, 1, 1, 2, 2])
    assert [step for *_, step in tables] == [0, 4]
    tag, columns, rows, _ = tables[0]
    assert tag == "rollouts"
    assert columns == ["where", "answer", "accuracy", "reward", "advantage"]
    assert rows == [["a:1, answer 0", "RIGHT", 0.0, 0.0, 0.5], ["a:1, answer 1", "DOWN", 1.0, 1.0, -0.5]]


def test_nothing_is_shown_by_other_ranks_of_no_rollout_or_where_there_are_no_rounds(tables):
    run(Rollouts(2, 1), [0], rank_zero=False)
    run(Rollouts(0, 1), [0])
    Rollouts(2, 1).on_train_batch_start(SimpleNamespace(is_global_zero=True), SimpleNamespace(), None, 0)
    assert not tables


def test_rollouts_without_rewards_and_those_graded_by_numbers_are_shown_too(tables):
    run(Rollouts(1, 1), [0], answers=({"l1": 0.123456, "mse": 1.0},))
    assert tables[0][2][0][1] == "l1 0.1235, mse 1"
    assert shown.lay_out([rollout(0, "x")]) == (
        ["where", "answer", "reward", "advantage"],
        [["a:1, answer 0", "x", None, 0.5]],
    )
