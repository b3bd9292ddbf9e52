"""An answer is worth what it is better than others to the same prompt; groups that tell nothing are found."""

import pytest
import torch

from mirage_pl.engine.rl.advantages import compute_advantages, share_of_groups


def test_advantages_are_a_groups_rewards_less_their_mean_over_their_deviation():
    advantages = compute_advantages(torch.tensor([[1.0, 0.0, 0.0, 1.0], [3.0, 1.0, 2.0, 2.0]]))
    root, other = 1 / 3**0.5, (2 / 3) ** 0.5  # deviations of a sample of four
    expected = torch.tensor([[0.5, -0.5, -0.5, 0.5], [1.0, -1.0, 0.0, 0.0]]) / torch.tensor([[root], [other]])
    assert torch.allclose(advantages.values_PG, expected, atol=1e-6)
    assert advantages.telling_P.tolist() == [True, True]


def test_without_the_deviation_they_are_in_units_of_the_reward():
    values = compute_advantages(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), deviation=False).values_PG
    assert values.tolist() == [[0.75, -0.25, -0.25, -0.25]]


@pytest.mark.parametrize("deviation", [True, False])
@pytest.mark.parametrize("rewards", [[0.0, 0.0, 0.0], [1.1, 1.1, 1.1], [0.3, 0.1 + 0.2, 0.3], [-1e6, -1e6, -1e6]])
def test_a_group_of_equal_rewards_is_worth_nothing_and_is_found(rewards, deviation):
    groups = torch.tensor([rewards, [0.0, 1.0, 0.0]], dtype=torch.float64)
    advantages = compute_advantages(groups, deviation)
    assert advantages.values_PG[0].tolist() == [0.0, 0.0, 0.0]
    assert advantages.telling_P.tolist() == [False, True]
    assert advantages.values_PG.isfinite().all()
    assert not compute_advantages(groups[:1], deviation).telling_P.any()


def test_a_group_of_one_is_refused_with_what_to_set():
    with pytest.raises(ValueError, match=r"rollouts\.group=1.*2 or more"):
        compute_advantages(torch.zeros(3, 1))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_reward_that_is_no_number_is_refused_with_its_place(bad):
    rewards = torch.zeros(3, 4)
    rewards[2, 1] = bad
    with pytest.raises(ValueError, match=r"rollout 1 of prompt 2 is (nan|-?inf)"):
        compute_advantages(rewards)


def test_groups_that_are_right_or_wrong_throughout_are_counted():
    success = torch.tensor([[1, 1], [0, 0], [0, 1], [0, 0]])
    assert share_of_groups(success) == {"all_right": 0.25, "all_wrong": 0.5}
