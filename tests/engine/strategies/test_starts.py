"""What a run takes from another, what begins anew, and what it doesn't keep: alike under every strategy."""

import pytest
import torch

from mirage_pl.engine.checkpoints.trained import load_trained
from mirage_pl.engine.checkpoints.weights import checkpoint_of, read_checkpoint
from tests.contract.stages import TOYS
from tests.engine.strategies.conftest import run_to_the_end
from tests.engine.strategies.test_equality import slow

INNER, OUTER = "net.predictor.inner", "net.predictor.outer"
QUIET = [f"callbacks.{name}=null" for name in ("progress", "scores", "best", "throughput")]
STILL = ["stage.module.optimizer.lr=0", "trainer.max_steps=1", "trainer.limit_val_batches=0", "trainer.accelerator=cpu"]


def job(folder, *overrides):
    shared = [TOYS, "stage=toy/predict", "task.rows={train: 8, val: 2, test: 2}", f"data={folder}/data"]
    return [*shared, *QUIET, *STILL, *overrides]


@pytest.mark.parametrize("strategy", ["fsdp2", *slow("deepspeed_zero2", "deepspeed_zero3")])
def test_parts_of_another_run_are_taken_begun_anew_and_fetched_again(tmp_path, strategy):
    first, second = tmp_path / "first", tmp_path / "second"
    kept = f"{{run: {first}, take: {INNER}, into: {INNER}, kept: false}}"
    renewed = f"{{run: {first}, take: {OUTER}, into: {OUTER}, fresh: [{OUTER}.bias]}}"
    starts = [f"+stage.starts.inner={kept}", f"+stage.starts.outer={renewed}", f"stage.freeze=[{INNER}]"]
    two = [f"strategy={strategy}", "stage.batch_size=4", f"run_dir={second}", "seed=2", *starts]
    plain = (1, job(tmp_path, f"run_dir={first}", "stage.module.optimizer.lr=0.1"))
    run_to_the_end(tmp_path, plain)
    checkpoint = torch.load(checkpoint_of(first), weights_only=True)
    checkpoint["state_dict"][f"{OUTER}.bias"] = torch.zeros(5)  # of a model with more to guess
    torch.save(checkpoint, checkpoint_of(first))
    run_to_the_end(tmp_path, (2, job(tmp_path, *two)), (2, job(tmp_path, *two, "trainer.max_steps=2")))
    held, there = read_checkpoint(checkpoint_of(second))["state_dict"], load_trained(str(second)).module.state_dict()
    if strategy == "fsdp2":  # DeepSpeed writes every weight
        assert not any(name.startswith(INNER) for name in held)
    for name in (f"{INNER}.weight", f"{INNER}.bias", f"{OUTER}.weight"):
        assert torch.equal(there[name], checkpoint["state_dict"][name])
    assert there[f"{OUTER}.bias"].shape == (2,)
    assert there[f"{OUTER}.bias"].abs().sum() > 0
