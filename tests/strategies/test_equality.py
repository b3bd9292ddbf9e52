"""However devices share the work, and however a step's rows are cut into batches, the same is learnt."""

import json

import pytest
import torch

from tests.strategies.conftest import STEPS, recorded


def assert_same(run, other, steps):
    """Losses of every step within 1e-5, and weights within 1e-6, a thousandth of what they changed by."""
    (losses, weights), (expected, wanted) = recorded(run), recorded(other)
    assert len(losses) == steps
    assert losses == pytest.approx(expected, rel=0, abs=1e-5)
    assert weights.keys() == wanted.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(weight, wanted[name], rtol=0, atol=1e-6, msg=name)


def test_the_compared_runs_learn_and_their_rows_are_ragged(runs):
    losses, _ = recorded(runs["alone"])
    assert losses[-1] < losses[0]
    batches = json.loads((runs["alone_accumulated"] / "record" / "terms.json").read_text())
    steps = [batches[first : first + 4] for first in range(0, len(batches), 4)]
    assert any(len({terms["text"] for terms in step}) > 1 for step in steps)


@pytest.mark.parametrize("name", ["alone_accumulated", "ddp", "ddp_accumulated", "zero1", "zero2", "zero2_accumulated"])
def test_a_strategy_and_accumulation_change_neither_losses_nor_weights(runs, name):
    assert_same(runs[name], runs["alone"], STEPS)


@pytest.mark.parametrize("kind", ["blocks", "images"])
@pytest.mark.parametrize("strategy", ["ddp", "zero2"])
def test_ranks_whose_rows_differ_in_blocks_or_images_learn_what_one_process_does(runs, kind, strategy):
    """No latents beside three blocks in stage 2; no image beside two, with a tower that learns."""
    assert_same(runs[f"{kind}_{strategy}"], runs[f"{kind}_alone"], 8)


def test_a_zero2_run_continues_with_bitwise_the_losses_that_would_have_come(runs):
    losses, weights = recorded(runs["zero2_continued"])
    expected, wanted = recorded(runs["zero2"])
    assert losses == expected[10:]
    assert all(torch.equal(weights[name], wanted[name]) for name in wanted)
