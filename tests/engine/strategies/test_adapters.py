"""Adapters beside a frozen model are learnt the same by every strategy, and their checkpoints hold no more."""

import pytest
import torch

from mirage_pl.engine.checkpoints.trained import load_trained
from mirage_pl.engine.checkpoints.weights import checkpoint_of, read_checkpoint
from tests.engine.strategies.conftest import FSDP2, HALVED, LEAN, WHOLE, ZERO2, ZERO3, job, recorded, run_to_the_end
from tests.engine.strategies.test_equality import assert_same, slow

STEPS = 6
LORA = [
    "stage=stage1",
    "lora=lora",
    "lora.rank=4",
    "lora.parts=[language,vision,merger]",
    f"trainer.max_steps={STEPS}",
    "stage.module.schedule.shape=constant",
]
STRATEGIES = {"ddp": ["strategy=ddp"], "zero2": ZERO2, "zero3": ZERO3, "fsdp2": FSDP2}


@pytest.fixture(scope="module")
def alone(data, tied, tmp_path_factory):
    """The same runs of one process, of which one has a head that is the embeddings."""
    folder = tmp_path_factory.mktemp("alone")
    jobs = {name: job(folder / name, data, *LORA, WHOLE, *more) for name, more in ways(tied).items()}
    run_to_the_end(folder, *((1, overrides) for overrides in jobs.values()))
    return folder


def ways(tied):
    return {"untied": [], "tied": [f"model.path={tied}", *LEAN]}


@pytest.mark.parametrize("head", ["untied", "tied"])
@pytest.mark.parametrize("name", ["zero3", "fsdp2", *slow("ddp", "zero2")])
def test_two_processes_learn_the_adapters_that_one_does_and_save_nothing_else(alone, data, tied, tmp_path, name, head):
    """The run of two goes on after half of its steps, as two for one kind of head and as one for the other."""
    options, ranks = [*LORA, *STRATEGIES[name], *ways(tied)[head]], 2 if head == "untied" else 1
    half = job(tmp_path / "run", data, *options, HALVED, f"trainer.max_steps={STEPS // 2}")
    rest = job(tmp_path / "run", data, *options, HALVED if ranks == 2 else WHOLE)
    run_to_the_end(tmp_path, (2, half), (ranks, rest))
    assert_same(tmp_path / "run", alone / head, STEPS // 2)
    _, weights = recorded(tmp_path / "run")
    held = read_checkpoint(checkpoint_of(tmp_path / "run"))["state_dict"]
    assert {"lora_" in key or ".rows." in key for key in held} == {True}
    trained = load_trained(str(tmp_path / "run")).module.state_dict()
    assert all(torch.equal(trained[key].cpu(), weights[key]) for key in held)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ddp", "zero2"])
def test_two_processes_learn_beside_four_bits_what_one_does(data, tmp_path, name):
    options = ["stage=stage1", "lora=qlora", "lora.rank=4", f"trainer.max_steps={STEPS}"]
    one = job(tmp_path / "one", data, *options, WHOLE)
    two = job(tmp_path / "two", data, *options, HALVED, *STRATEGIES[name])
    run_to_the_end(tmp_path, (1, one), (2, two))
    ours, theirs = (read_checkpoint(checkpoint_of(tmp_path / run))["state_dict"] for run in ("two", "one"))
    assert ours.keys() == theirs.keys()
    for key, weight in ours.items():
        torch.testing.assert_close(weight, theirs[key], rtol=1e-5, atol=2e-5, msg=key)
