"""bfloat16 under every strategy that splits what is trained: learns, goes on exactly, and can be exported.

A number in bfloat16 has 8 bits: it is wrong by up to 2**-9 of itself. So is every weight, activation and logit, and so
close are the first losses of all strategies, before anything is learnt. Later ones are compared within a strategy, two
ranks with one process: a step may move a weight less than to the next number in bfloat16, and with DeepSpeed, whose
forward pass has such weights whatever the precision is called, it does later what a float32 weight does at once. The
means of an epoch differ by less than a fiftieth.
"""

import pytest
import torch
from safetensors.torch import load_file

from mirage_pl.engine import export
from tests.conftest import compose
from tests.engine.strategies.conftest import FSDP2, HALVED, WHOLE, ZERO2, ZERO3, job, recorded, run_to_the_end

pytestmark = pytest.mark.slow
STRATEGIES = {"zero2": ZERO2, "zero3": ZERO3, "fsdp2": FSDP2}
PRECISIONS = {
    "mixed": ["trainer.precision=bf16-mixed"],
    "true": ["trainer.precision=bf16-true", "model.dtype=bfloat16"],
}
EPOCH = 6
"""Steps of an epoch; there are two, with a stop in between."""


@pytest.fixture(scope="module")
def halves(data, tmp_path_factory):
    """Folder of the runs of both stages, named by precision, stage and strategy."""
    folder = tmp_path_factory.mktemp("halves")

    def make(name, *options, steps=2 * EPOCH):
        return job(folder / name, data, "stage.module.optimizer.lr=1e-3", *options, f"trainer.max_steps={steps}")

    # In smaller steps: latents that nobody has trained magnify a difference of rounding.
    second = [f"init_from={folder}/start", "stage.module.optimizer.lr=1e-4"]

    jobs = [(1, make("start", "stage=stage1", WHOLE))]
    for precision, options in PRECISIONS.items():
        for stage in ("stage1", "stage2"):
            start = [f"stage={stage}", *(second if stage == "stage2" else []), *options]
            jobs += [(1, make(f"{precision}_{stage}", *start, WHOLE))]
            for name, strategy in STRATEGIES.items():
                run = f"{precision}_{stage}_{name}"
                jobs += [(1, make(f"{run}_alone", *start, WHOLE, *strategy))]
                jobs += [(2, make(run, *start, HALVED, *strategy))]
                jobs += [
                    (2, make(f"{run}_continued", *start, HALVED, *strategy, steps=steps))
                    for steps in (EPOCH, 2 * EPOCH)
                ]
    run_to_the_end(folder, *jobs)
    return folder


IN_ALL_WAYS = pytest.mark.parametrize(
    ("precision", "stage", "name"),
    [(precision, stage, name) for precision in PRECISIONS for stage in ("stage1", "stage2") for name in STRATEGIES],
)


@IN_ALL_WAYS
def test_two_ranks_learn_in_bfloat16_as_one_process_does(halves, precision, stage, name):
    losses, _ = recorded(halves / f"{precision}_{stage}_{name}")
    plain, _ = recorded(halves / f"{precision}_{stage}")
    expected, _ = recorded(halves / f"{precision}_{stage}_{name}_alone")
    assert losses[0] == pytest.approx(plain[0], rel=2**-7)
    means, wanted = ([sum(of[start : start + EPOCH]) / EPOCH for start in (0, EPOCH)] for of in (losses, expected))
    assert means == pytest.approx(wanted, rel=0.02)
    assert means[1] < means[0]


@IN_ALL_WAYS
def test_a_run_in_bfloat16_continues_with_bitwise_the_losses_that_would_have_come(halves, precision, stage, name):
    losses, weights = recorded(halves / f"{precision}_{stage}_{name}_continued")
    expected, wanted = recorded(halves / f"{precision}_{stage}_{name}")
    assert losses == expected[EPOCH:]
    assert all(torch.equal(weights[name], wanted[name]) for name in wanted)


@IN_ALL_WAYS
def test_a_checkpoint_in_bfloat16_is_exported_with_the_weights_that_were_trained(
    halves, tmp_path, precision, stage, name
):
    run = halves / f"{precision}_{stage}_{name}"
    export.run(compose("export", f"ckpt={run}", f"out={tmp_path}/exported"))
    _, weights = recorded(run)
    exported = load_file(tmp_path / "exported" / "model.safetensors")
    assert len(exported) == len(weights)
    for tensor in exported.values():  # ZeRO-3's are float32, of which the forward pass sees what bfloat16 can say
        assert any(tensor.shape == w.shape and torch.equal(tensor.to(w.dtype), w) for w in weights.values())
