"""Gradients that aren't numbers end a run of DeepSpeed's, too, which keeps gradients to itself."""

import pytest
import pytorch_lightning as pl
import torch

from mirage_pl.engine.strategies.deepspeed import as_norm
from tests.engine.strategies.conftest import QUIET, SINGLE, ZERO2, ZERO3, job, run_ranks, said


class Spoiled(pl.Callback):
    """Makes the gradient of one weight infinite at step 2; the loss is a number."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_step == 1:
            weight = next(weight for weight in module.parameters() if weight.requires_grad)
            weight.register_hook(lambda gradient: gradient + torch.inf)


def test_a_gradient_that_is_no_number_ends_the_run_and_its_checkpoint_is_sound(data, tmp_path):
    spoiled = f"+callbacks.spoiled={{_target_: {__name__}.Spoiled}}"
    options = ["stage=sft", SINGLE, spoiled, "trainer.max_steps=4", "callbacks.last.every_n_train_steps=1"]
    ways = {"zero2": ZERO2, "zero3": ZERO3}
    jobs = [(1, job(tmp_path / name, data, *way, *options, quiet=QUIET)) for name, way in ways.items()]
    for number, ((code,), name) in enumerate(zip(run_ranks(tmp_path, *jobs), ways, strict=True)):
        log = said(tmp_path, number)
        assert code, log
        assert "step 2: the largest gradient is" in log
        assert not (tmp_path / name / "metrics.json").exists()


@pytest.mark.parametrize(("given", "seen"), [(2.5, 2.5), (-1.0, None), (float("inf"), float("inf"))])
def test_a_norm_below_zero_is_no_number(given, seen):
    for norm in (given, torch.tensor(given)):
        value = as_norm(norm, torch.device("cpu")).item()
        assert value == seen or (seen is None and value != value)
