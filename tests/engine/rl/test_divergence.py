"""A divergence of large distributions: against torch's, over some tokens, with a bound."""

import math

import pytest
import torch
from torch.nn.functional import kl_div

from mirage_pl.engine.rl.divergence import Divergence


@pytest.fixture
def pair():
    torch.manual_seed(0)
    return tuple((2 * torch.randn(5, 7, dtype=torch.float64)).log_softmax(1) for _ in range(2))


@pytest.mark.parametrize("beta", [0.5, 0.9])
def test_over_all_tokens_it_is_that_of_both_to_their_mixture(pair, beta):
    p, q = pair
    mixture = (beta * p.exp() + (1 - beta) * q.exp()).log()
    apart = [kl_div(mixture, each, log_target=True, reduction="none").sum(1) for each in (p, q)]
    ours = Divergence(beta, top=7, clip=None)(p, q)
    torch.testing.assert_close(ours, beta * apart[0] + (1 - beta) * apart[1], rtol=1e-5, atol=1e-5)
    assert ours.max() < math.log(2)


def test_tokens_that_count_little_are_one_which_tells_no_more_than_all_of_them(pair):
    p, q = pair
    whole, some, one = (Divergence(top=top, clip=None)(p, q) for top in (7, 3, 1))
    assert (one <= some + 1e-5).all()
    assert (some <= whole + 1e-5).all()
    first = p.argmax(1, keepdim=True)
    sides = [torch.cat((each.exp().gather(1, first), 1 - each.exp().gather(1, first)), 1).log() for each in (p, q)]
    torch.testing.assert_close(one, Divergence(top=2, clip=None)(*sides), rtol=1e-5, atol=1e-5)


def test_no_token_adds_more_than_the_bound(pair):
    assert (Divergence(clip=0.01)(*pair) <= 0.01 * 8).all()
    assert (Divergence(clip=0.01)(*pair) < Divergence(clip=None)(*pair)).any()


def test_the_same_is_0_apart_and_what_is_never_drawn_makes_no_nan():
    logs = torch.tensor([[0.5, 0.5, 0.0]]).log()
    other = torch.tensor([[0.1, 0.9, 0.0]]).log().requires_grad_()
    assert Divergence()(logs, logs).item() == pytest.approx(0, abs=1e-6)
    loss = Divergence()(logs, other).sum()
    loss.backward()
    assert loss > 0
    assert other.grad.isfinite().all()
