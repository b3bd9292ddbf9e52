"""The clipped loss and the distance to a reference, against numbers computed by hand."""

from math import log

import pytest
import torch

from mirage_pl.engine.rl.objective import Objective, average, estimate_kl

MASK = torch.tensor([[True, True, True], [True, False, False]])
OLD = torch.full((2, 3), log(0.5))
NEW = torch.tensor([[log(0.5), log(0.75), log(0.25)], [log(0.45), 99.0, float("nan")]])
"""Ratios 1, 1.5, 0.5 of the first rollout and 0.9 of the second, whose other places are padding."""
WORTH = torch.tensor([1.0, -2.0])


def surrogate(new=NEW, **options):
    return Objective(**options).surrogate(new, OLD, MASK, WORTH)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, -(1 + 1.2 + 0.5 - 1.8) / 4),  # over tokens
        ({"clip_high": 0.28}, -(1 + 1.28 + 0.5 - 1.8) / 4),  # DAPO
        ({"mean": "sequences"}, -((1 + 1.2 + 0.5) / 3 - 1.8) / 2),  # GRPO
        ({"mean": "constant", "length": 10}, -((1 + 1.2 + 0.5) / 10 - 1.8 / 10) / 2),  # Dr. GRPO
        ({"clip_low": 0.05}, -(1 + 1.2 + 0.5 - 1.9) / 4),  # 0.95 in place of 0.9, as the action is to become rarer
        ({"ratio": "sequence"}, -((1.5 * 0.5) ** (1 / 3) - 1.8) / 2),  # GSPO
        ({"ratio": "sequence", "clip_low": 0.05}, -((1.5 * 0.5) ** (1 / 3) - 1.9) / 2),
    ],
)
def test_the_loss_is_the_one_computed_by_hand(options, expected):
    assert surrogate(**options).loss.item() == pytest.approx(expected, abs=1e-6)


def test_padding_has_no_gradient_whatever_stands_there():
    for options in ({}, {"mean": "sequences"}, {"mean": "constant", "length": 5}, {"ratio": "sequence"}):
        new = NEW.clone().requires_grad_()
        surrogate(new, **options).loss.backward()
        assert new.grad[1, 1:].tolist() == [0.0, 0.0]
        assert new.grad.isfinite().all()


def test_a_clipped_action_has_no_gradient_and_is_counted():
    new = NEW.clone().requires_grad_()
    result = surrogate(new)
    result.loss.backward()
    assert new.grad[0].tolist() == pytest.approx([-1 / 4, 0, -0.5 / 4])  # 1.5 is beyond 1.2; 0.5 may still rise
    assert result.clipped.item() == 1 / 4
    assert result.drift.item() == pytest.approx((0 + 0.5 + 0.5 + 0.1) / 4)
    assert surrogate(clip_low=0.05).clipped.item() == 2 / 4


def test_at_ratio_one_the_gradient_is_that_of_the_plain_policy_gradient():
    new = OLD.clone().requires_grad_()
    surrogate(new).loss.backward()
    assert new.grad.tolist() == [[-0.25, -0.25, -0.25], [0.5, 0.0, 0.0]]


def test_terms_are_what_the_mean_is_over():
    assert [Objective().count(7, 3), Objective(mean="sequences").count(7, 3)] == [7, 3]
    assert [Objective(mean="constant", length=9).count(7, 3), Objective(ratio="sequence").count(7, 3)] == [3, 3]


def test_the_distance_to_a_reference_is_never_negative_and_zero_where_both_agree():
    new, reference = torch.tensor([[log(0.5), log(0.2), log(0.8)]]), torch.tensor([[log(0.5), log(0.4), log(0.4)]])
    expected = [0, 2 - log(2) - 1, 0.5 + log(2) - 1]
    assert estimate_kl(new, reference, torch.ones(1, 3, dtype=torch.bool))[0].tolist() == pytest.approx(
        expected, abs=1e-6
    )


def test_on_average_over_the_policys_actions_it_is_the_kl_divergence():
    ours, theirs = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.5, 0.2, 0.3])
    exact = sum(p * log(p / q) for p, q in zip(ours.tolist(), theirs.tolist(), strict=True))
    assert (
        ours * estimate_kl(ours.log(), theirs.log(), torch.ones(3, dtype=torch.bool))
    ).sum().item() == pytest.approx(exact, abs=1e-6)


def test_padding_has_no_distance_and_no_gradient():
    new = NEW.clone().requires_grad_()
    kl = estimate_kl(new, OLD, MASK)
    kl.sum().backward()
    assert kl[1, 1:].tolist() == new.grad[1, 1:].tolist() == [0, 0]


def test_nothing_there_is_a_loss_of_zero():
    assert average(torch.full((2, 3), 3.0), torch.zeros(2, 3, dtype=torch.bool)).item() == 0
    empty = Objective().surrogate(NEW, OLD, torch.zeros_like(MASK), WORTH)
    assert (empty.loss.item(), empty.clipped.item()) == (0, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": "word"}, r"objective\.ratio=word is unknown; choose one of token, sequence"),
        ({"mean": "all"}, r"objective\.mean=all is unknown"),
        ({"mean": "constant"}, r"objective\.length"),
    ],
)
def test_bad_options_are_refused_with_what_to_choose(options, message):
    with pytest.raises(ValueError, match=message):
        Objective(**options)
