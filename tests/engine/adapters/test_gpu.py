"""Adapters, four bits and states of eight bits where they are for: on a GPU."""

import pytest
import torch

from mirage_pl.engine.checkpoints.trained import load_trained
from mirage_pl.engine.training import fit
from mirage_pl.engine.training.eight_bits import adamw_8bit
from tests.engine.adapters.test_lora import INPUTS, Stage, given

pytestmark = pytest.mark.gpu


def test_four_bits_on_a_gpu_are_those_of_their_values():
    small, plain = Stage().eval(), Stage().eval()
    given(bits=4).inject(small)
    given(bits=4).inject(plain, plain=True)
    inputs = [tensor.cuda() for tensor in INPUTS]
    torch.testing.assert_close(small.cuda().net(*inputs), plain.cuda().net(*inputs), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("paged", [False, True])
def test_states_of_eight_bits_learn(paged):
    torch.manual_seed(0)
    layer = torch.nn.Linear(256, 256).cuda()
    optimizer = adamw_8bit([{"params": list(layer.parameters())}], paged=paged, lr=1e-2)
    x = torch.randn(64, 256, device="cuda")
    losses = []
    for _ in range(20):
        loss = (layer(x) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize("lora", ["lora", "dora", "qlora"])
def test_a_run_beside_weights_in_bfloat16_trains_and_is_read(train_config, lora):
    more = ["trainer.accelerator=gpu", "trainer.precision=bf16-mixed", "model.dtype=bfloat16"]
    cfg = train_config("stage=stage2", "stage.starts=null", f"lora={lora}", *more)
    metrics = fit.run(cfg)
    assert torch.tensor(metrics["train/loss"]).isfinite()
    dtypes = {weight.dtype for weight in load_trained(cfg.run_dir).module.parameters() if weight.requires_grad}
    assert dtypes == {torch.float32}
