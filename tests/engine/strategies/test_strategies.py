"""What a machine can't run is one line before anything is made."""

import os
from ctypes.util import find_library

import pytest
import torch

from mirage_pl.engine.strategies.ready import check_machine, count_devices
from mirage_pl.engine.training import fit
from tests.conftest import compose


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A clean environment, and as many GPUs as a test says."""
    for name in ("WORLD_SIZE", "DS_ACCELERATOR"):
        monkeypatch.setenv(name, "")  # so that what a test sets is taken back
        monkeypatch.delenv(name)
    return lambda gpus: monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)


@pytest.mark.parametrize("strategy", ["deepspeed_zero2", "deepspeed_zero3_offload"])
def test_deepspeed_without_gpus_must_be_asked_for(machine, strategy):
    machine(0)
    with pytest.raises(ValueError, match=f"strategy={strategy} is for GPUs .* trainer.accelerator=cpu"):
        check_machine(compose("train", f"strategy={strategy}"))
    check_machine(compose("train", f"strategy={strategy}", "trainer.accelerator=cpu"))
    assert os.environ["DS_ACCELERATOR"] == "cpu"


@pytest.mark.skipif(find_library("aio") is not None, reason="libaio is here")
def test_the_disk_is_no_place_for_weights_without_libaio(machine):
    machine(8)
    with pytest.raises(ValueError, match="libaio, .* install libaio-dev .*=deepspeed_zero3_offload"):
        check_machine(compose("train", "strategy=deepspeed_zero_infinity"))


def test_gpus_that_are_not_there_are_refused(machine):
    machine(2)
    check_machine(compose("train", "trainer.devices=2"))
    with pytest.raises(ValueError, match=r"trainer.devices=4, but this machine has 2 GPU\(s\)"):
        check_machine(compose("train", "trainer.devices=4"))
    check_machine(compose("train", "trainer.devices=4", "trainer.accelerator=cpu"))
    machine(0)
    with pytest.raises(ValueError, match="trainer.accelerator=gpu, but this machine has no GPU"):
        check_machine(compose("train", "trainer.accelerator=gpu"))


def test_a_world_size_left_over_is_refused_before_a_run_folder_is_made(machine, train_config, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    check_machine(compose("train", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.num_nodes=2"))
    cfg = train_config("stage=sft")
    with pytest.raises(ValueError, match="WORLD_SIZE=4 in the environment, but trainer.devices=1 .* unset WORLD_SIZE"):
        fit.run(cfg)
    assert not os.path.exists(cfg.run_dir)


@pytest.mark.parametrize(("devices", "count"), [(2, 2), ([0, 3, 5], 3), ("auto", None), (-1, None)])
def test_devices_are_counted_as_lightning_reads_them(devices, count):
    assert count_devices(devices) == count


@pytest.mark.parametrize("precision", ["bf16-true", "bf16-mixed"])
def test_a_run_in_bfloat16_takes_frozen_batches_and_clips_gradients(train_config, precision):
    options = [f"trainer.precision={precision}", "model.dtype=bfloat16", "features=null", "trainer.limit_val_batches=0"]
    assert fit.run(train_config("stage=stage1", *options))["step"] == 3
