"""The other side of the benchmark of walks: noise of the right kind, and calls of the network as published."""

import pytest
import torch

from benchmarks.published_walks import GAMMA, draw_blocks, published_schedule
from benchmarks.walks import Walker, build
from mirage_pl.deepverse.model import world as drawing


def test_blocks_have_the_variance_and_the_covariance_of_the_closed_form():
    torch.manual_seed(0)
    noise = draw_blocks(4, 24, 32)[:, 0]
    blocks = noise.view(4, 12, 2, 16, 2).permute(0, 1, 3, 2, 4).reshape(-1, 4)
    covariance = blocks.T @ blocks / len(blocks)
    wanted = torch.full((4, 4), -GAMMA).fill_diagonal_(1.0)
    torch.testing.assert_close(covariance, wanted, atol=0.12, rtol=0)


def test_the_other_side_takes_one_step_more_and_ends_in_the_same_place_as_the_released_sampler():
    net, calls = build(), []
    forward = net.transformer.forward
    net.transformer.forward = lambda *given: calls.append(len(given[0][0])) or forward(*given)
    walker, ours = Walker(net, 2, guided=True, by_unit=False, closed=False, steps=4), drawing.draw_noise
    assert walker.ours().count == 3
    stages, units = net.flow.count, 3
    assert len(calls) == 4 * stages * units
    assert walker.theirs().count == 3
    assert len(calls) == 9 * stages * units
    assert not net.flow.compat
    assert drawing.draw_noise is ours
    with published_schedule(net, closed=True):
        steps = net.flow.list_steps(0, 5)
        assert drawing.draw_noise is ours
    assert steps[-1][1] - steps[-1][2] == pytest.approx(0.001)
