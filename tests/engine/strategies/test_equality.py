"""However devices share the work, and however a step's rows are cut into batches, the same is learnt."""

import json

import pytest
import torch

from tests.engine.strategies.conftest import STEPS, UNEVEN, recorded, steps_of


def assert_same(run, other, steps, lr=2e-4):
    """Losses of the last steps within 1e-5, of themselves where they are large; weights within a fiftieth of a step."""
    (losses, weights), (expected, wanted) = recorded(run), recorded(other)
    assert len(losses) == steps
    assert losses == pytest.approx(expected[-steps:], rel=1e-5, abs=1e-5)
    assert weights.keys() == wanted.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(weight, wanted[name], rtol=3e-7, atol=lr / 50, msg=name)


def test_the_compared_runs_learn_and_their_rows_are_ragged(runs):
    losses, _ = recorded(runs["alone"])
    assert losses[-1] < losses[0]
    steps = steps_of(runs["alone_accumulated"] / "record")
    assert any(len({batch["terms"]["text"] for batch in step["batches"]}) > 1 for step in steps)


def slow(*names):
    """Further ones of a kind, of which one is tested always."""
    return [pytest.param(*(name if isinstance(name, tuple) else (name,)), marks=pytest.mark.slow) for name in names]


ALSO = ["ddp", "ddp_accumulated", "zero1", "zero2_offload", "zero3_offload"]


@pytest.mark.parametrize("name", ["alone_accumulated", "zero2", "zero2_accumulated", "zero3", "fsdp2", *slow(*ALSO)])
def test_a_strategy_and_accumulation_change_neither_losses_nor_weights(runs, name):
    assert_same(runs[name], runs["alone"], STEPS)


@pytest.mark.parametrize("name", ["zero3", *slow("zero2", "fsdp2")])
def test_stage_2_from_another_runs_weights_learns_the_same(runs, name):
    assert_same(runs[f"second_{name}"], runs["second_alone"], STEPS, lr=2e-6)


OFTEN = [("blocks", "zero3"), ("images", "fsdp2"), ("uncached", "zero3"), ("blocks", "zero2"), ("queries", "ddp")]
EVERYWHERE = [
    (kind, name) for kind in ("blocks", "images", "writer", "queries", "encoder") for name in ("ddp", "zero2")
]
EVERYWHERE += [(kind, name) for kind in UNEVEN for name in ("zero3", "fsdp2")]
REST = [pair for pair in EVERYWHERE if pair not in OFTEN]


@pytest.mark.parametrize(("kind", "name"), [*OFTEN, *slow(*REST)])
def test_ranks_whose_rows_differ_in_blocks_or_images_learn_what_one_process_does(runs, kind, name):
    """No latents beside three blocks, in stage 2 or where a writer, queries or an encoder learn alone; no image beside
    two, with a tower that learns or one that is asked.
    """
    assert_same(runs[f"{kind}_{name}"], runs[f"{kind}_alone"], 8)


@pytest.mark.parametrize("name", ["fsdp2", *slow("zero3")])
def test_layers_that_keep_a_state_learn_the_same_through_it(runs, name):
    assert_same(runs[f"states_{name}"], runs["states_alone"], 4, lr=2e-6)


@pytest.mark.parametrize("name", ["zero2", *slow("zero3", "fsdp2")])
def test_a_run_of_two_ranks_continues_with_bitwise_the_losses_that_would_have_come(runs, name):
    losses, weights = recorded(runs[f"{name}_continued"])
    expected, wanted = recorded(runs[name])
    assert losses == expected[10:]
    assert all(torch.equal(weights[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize(
    ("kind", "name"), [("answers", "zero3"), *slow(("answers", "fsdp2"), ("written", "zero3"), ("written", "fsdp2"))]
)
def test_ranks_that_hold_parts_of_the_weights_validate_and_answer_as_one_process(runs, kind, name):
    metrics, expected = (
        json.loads((runs[run] / "metrics.json").read_text()) for run in (f"{kind}_{name}", f"{kind}_alone")
    )
    assert metrics["val/loss"] == pytest.approx(expected["val/loss"], rel=1e-5)
    assert metrics["val/success"] == expected["val/success"]
    assert (runs[f"{kind}_{name}"] / "evaluation").is_dir()
