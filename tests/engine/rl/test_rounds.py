"""Rewards by part, what is kept of a round, and what is said of it."""

from types import SimpleNamespace

import pytest
import torch

from data_modules.scores import Scores
from mirage_pl.engine.rl.policy import Rollout
from mirage_pl.engine.rl.rewards import ByForm, ByGrade, check_grader, reward_answer
from mirage_pl.engine.rl.rounds import Judged, Round, judge, reward

PARTS = {"accuracy": ByGrade("success", 1.0), "optimality": ByGrade("optimal", 0.5), "format": ByForm(r"^\[.*\]$", 0.1)}


class Rows(list):
    """Questions whose right answer is known; one of them withholds it."""

    def grade(self, sample, answer):
        if sample.truth is None:
            return Scores({}, "ungraded", "all")
        right = sample.truth in answer
        return Scores({"success": right, "optimal": right and len(answer) < 5}, "success" if right else "wrong", "all")


ROWS = Rows(SimpleNamespace(where=f"rows.jsonl:{row}", truth=truth) for row, truth in enumerate(["a", "b", None]))


def rollouts_of(index, *answers):
    old = {"text": torch.zeros(2)}
    return [
        Rollout(ROWS[index], index, number, answer, {"tokens": [1, 2]}, old, {"length": float(len(answer))})
        for number, answer in enumerate(answers)
    ]


def judge_two(rollouts):
    return judge(reward(rollouts, PARTS, ROWS), 2, True)


@pytest.mark.parametrize(
    ("answer", "rewards"),
    [("[a]", (1.0, 0.5, 0.1)), ("a", (1.0, 0.5, 0.0)), ("[a, a]", (1.0, 0.0, 0.1)), ("[x]", (0.0, 0.0, 0.1))],
)
def test_a_reward_has_its_parts_weighed(answer, rewards):
    assert tuple(reward_answer(PARTS, ROWS, ROWS[0], answer)[0].values()) == rewards


def test_a_task_that_does_not_tell_how_short_an_answer_is_calls_every_right_one_so():
    rows = SimpleNamespace(grade=lambda sample, answer: Scores({"success": True}, "success", "all"))
    assert reward_answer(PARTS, rows, ROWS[0], "x")[0]["optimality"] == 0.5


def test_a_row_without_truth_is_refused_by_its_name():
    with pytest.raises(ValueError, match=r"rows\.jsonl:2: the row holds no truth"):
        reward(rollouts_of(2, "a", "b"), PARTS, ROWS)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_part_that_is_no_number_is_refused_by_name_and_row(value):
    rows = SimpleNamespace(grade=lambda sample, answer: Scores({"success": value}, "success", "all"))
    with pytest.raises(ValueError, match=r"rows\.jsonl:0: reward accuracy is (nan|inf)"):
        reward_answer(PARTS, rows, ROWS[0], "x")


def test_a_measure_that_the_grade_lacks_and_a_pattern_that_is_none_are_refused():
    with pytest.raises(ValueError, match=r"rows\.jsonl:0: reward taste: there is no taste in its grade, which says"):
        reward_answer({"taste": ByGrade("taste", 1.0)}, ROWS, ROWS[0], "a")
    with pytest.raises(ValueError, match=r"'\(' is no regular expression"):
        ByForm("(", 0.1)


def test_a_task_that_grades_nothing_is_refused_before_anything_is_asked():
    with pytest.raises(ValueError, match="a task that grades answers, and list doesn't"):
        check_grader([])
    check_grader(ROWS)


def test_groups_that_tell_nothing_are_left_out_and_counted():
    rollouts = [*rollouts_of(0, "a", "x", "x", "[a]"), *rollouts_of(1, "x", "x", "x", "x")]
    judged = judge(reward(rollouts, PARTS, ROWS), 4, deviation=False)
    kept = judged.keep(most=8)
    assert [(rollout.index, rollout.number) for rollout in kept] == [(0, 0), (0, 1), (0, 2), (0, 3)]
    assert [rollout.advantage for rollout in kept] == pytest.approx([0.725, -0.775, -0.775, 0.825])
    watched = judged.watch()
    assert watched["degenerate"] == 0.5
    assert (watched["all_wrong"], watched["all_right"], watched["success"]) == (0.5, 0, 0.25)
    assert watched["reward_format"] == pytest.approx(0.1 / 8)
    assert watched["reward"] == pytest.approx((1.5 + 1.6) / 8)
    assert watched["length"] == pytest.approx((1 + 1 + 1 + 3 + 4) / 8)


def test_where_no_group_tells_anything_all_are_worth_nothing():
    judged = judge_two([*rollouts_of(0, "x", "x"), *rollouts_of(1, "b", "b")])
    assert [rollout.advantage for rollout in judged.keep(most=2)] == [0, 0, 0, 0]
    assert judged.watch()["degenerate"] == 1


def test_no_more_groups_are_kept_than_a_round_has():
    telling = judge_two(rollouts_of(0, "a", "x"))
    joined = Judged().join(telling).join(judge_two(rollouts_of(1, "b", "x"))).join(telling)
    assert [rollout.index for rollout in joined.keep(most=2)] == [0, 0, 1, 1]


def test_a_round_comes_back_from_a_checkpoint_as_it_was(tmp_path):
    judged = judge_two(rollouts_of(1, "b", "x"))
    round_ = Round(3, 17, judged.keep(2), judged.watch())
    torch.save(round_.save(), tmp_path / "round.pt")
    again = Round.load(torch.load(tmp_path / "round.pt", weights_only=True), ROWS)
    assert (again.number, again.taken, again.watched) == (3, 17, round_.watched)
    for one, other in zip(again.rollouts, round_.rollouts, strict=True):
        assert one.sample is other.sample
        assert torch.equal(one.old["text"], other.old["text"])
        assert {**vars(one), "old": 0} == {**vars(other), "old": 0}
