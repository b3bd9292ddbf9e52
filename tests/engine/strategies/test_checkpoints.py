"""DeepSpeed's checkpoints: exported, started from, and refused where they can't be continued."""

import os
import shutil

import pytest
import torch
from safetensors.torch import load_file

from mirage_pl.engine import export
from mirage_pl.engine.checkpoints.weights import ZERO, ZERO3, checkpoint_of, read_checkpoint
from mirage_pl.engine.strategies.ready import check_resume
from tests.conftest import compose
from tests.engine.strategies.conftest import HALVED, WHOLE, ZERO2, job, recorded, run_in_two, run_ranks
from tests.engine.strategies.test_equality import slow


@pytest.mark.parametrize("name", ["zero2", "zero3", "half_zero3", "fsdp2", *slow("zero1")])
def test_a_checkpoint_of_two_ranks_is_exported_with_the_weights_that_were_trained(runs, tmp_path, name):
    export.run(compose("export", f"ckpt={runs[name]}", f"out={tmp_path}/exported"))
    _, weights = recorded(runs[name])
    exported = load_file(tmp_path / "exported" / "model.safetensors")
    assert len(exported) == len(weights)
    for tensor in exported.values():  # stock names in the file differ from those in memory
        assert any(tensor.shape == weight.shape and torch.equal(tensor, weight) for weight in weights.values())


def test_a_run_folder_and_the_checkpoints_own_folder_name_the_same_file(runs):
    last = runs["zero2"] / "checkpoints" / "last.ckpt"
    assert checkpoint_of(runs["zero2"]) == checkpoint_of(last) == last / ZERO
    assert read_checkpoint(last / ZERO)["global_step"] == 20
    with pytest.raises(ValueError, match="the file does not exist|no finished run is there"):
        checkpoint_of(runs["zero2"] / "checkpoints" / "best.ckpt")


def test_a_zero3_checkpoint_without_a_ranks_part_is_refused(runs, tmp_path):
    last = shutil.copytree(runs["zero3"] / "checkpoints" / "last.ckpt", tmp_path / "last.ckpt")
    assert read_checkpoint(checkpoint_of(last))["global_step"] == 20
    (last / "checkpoint" / "zero_pp_rank_1_mp_rank_00_optim_states.pt").unlink()
    with pytest.raises(ValueError, match=r"cannot be read: it is damaged, or no checkpoint \(FileNotFoundError\)"):
        read_checkpoint(checkpoint_of(last))


def test_a_run_is_refused_to_another_strategy_or_to_other_disks(tmp_path):
    last = tmp_path / "last.ckpt"
    (last / "checkpoint").mkdir(parents=True)
    for rank in (0, 1):
        torch.save({}, last / "checkpoint" / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
    zero2 = ["strategy=deepspeed_zero2", "run_dir=runs/this"]
    check_resume(compose("train", *zero2), last)
    with pytest.raises(
        ValueError, match="a checkpoint of ZeRO-1 or ZeRO-2, and strategy=ddp, which writes one file, can't"
    ):
        check_resume(compose("train", "strategy=ddp"), last)
    with pytest.raises(
        ValueError, match="of ZeRO-1 or ZeRO-2, and strategy=deepspeed_zero3, which writes ZeRO-3, can't"
    ):
        check_resume(compose("train", "strategy=deepspeed_zero3"), last)
    (last / ZERO3).touch()
    with pytest.raises(
        ValueError, match=r"by 2 process.*devices=1 .*init_from=runs/this .* whose optimizer begins anew"
    ):
        check_resume(compose("train", "strategy=deepspeed_zero_infinity", "run_dir=runs/this"), last)
    (tmp_path / "file.ckpt").touch()
    with pytest.raises(ValueError, match="a checkpoint of one file, and strategy=deepspeed_zero2"):
        check_resume(compose("train", *zero2), tmp_path / "file.ckpt")
    check_resume(compose("train", "strategy=fsdp2"), tmp_path / "file.ckpt")


class Malice:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def test_code_in_a_checkpoint_of_deepspeeds_is_refused_and_not_run(tmp_path):
    file = tmp_path / "last.ckpt" / "checkpoint" / "zero_pp_rank_0_mp_rank_00_optim_states.pt"
    file.parent.mkdir(parents=True)
    torch.save({"optimizer_state_dict": Malice(tmp_path / "trace")}, file)
    with pytest.raises(ValueError, match=r"rank_0_.*not DeepSpeed's alone \(UnpicklingError\); .* delete .*last.ckpt"):
        check_resume(compose("train", "strategy=deepspeed_zero2"), tmp_path / "last.ckpt")
    assert not (tmp_path / "trace").exists()


def test_deepspeed_killed_in_mid_save_leaves_the_checkpoint_of_before_and_goes_on_as_if_nothing_had_been(
    data, tmp_path
):
    often = [WHOLE, "stage=stage1", *ZERO2, "trainer.max_steps=3", "callbacks.last.every_n_train_steps=1"]
    whole, cut = job(tmp_path / "whole", data, *often), job(tmp_path / "cut", data, *often)
    fuse = "+callbacks.fuse={_target_: tests.engine.strategies.record.Fuse, hook: state_dict, call: 2}"
    assert run_ranks(tmp_path, (1, whole), (1, [*cut, fuse])) == [[0], [-9]]
    left = sorted(file.name for file in (tmp_path / "cut" / "checkpoints").iterdir())
    assert left == ["last.ckpt", "last.ckpt.partial"]
    assert read_checkpoint(checkpoint_of(tmp_path / "cut"))["global_step"] == 1
    assert run_ranks(tmp_path, (1, cut)) == [[0]]
    (losses, weights), (expected, wanted) = recorded(tmp_path / "cut"), recorded(tmp_path / "whole")
    assert losses == expected[1:]
    assert all(torch.equal(weights[name], wanted[name]) for name in wanted)


def test_what_one_rank_writes_while_both_train_on_is_what_it_writes_while_both_wait(data, tmp_path):
    saving = ["callbacks.last.every_n_train_steps=1", "callbacks.last.save_top_k=-1"]
    saving += ["callbacks.last.filename='{step}'", "stage=sft", "trainer.max_steps=3", HALVED]
    ways = [(kind, meanwhile) for kind in ("ddp", "fsdp2") for meanwhile in ("false", "true")]
    jobs = [
        job(tmp_path / f"{kind}-{meanwhile}", data, f"strategy={kind}", f"async_checkpoint={meanwhile}", *saving)
        for kind, meanwhile in ways
    ]
    run_in_two(tmp_path, *jobs)
    for kind in ("ddp", "fsdp2"):
        for step in (1, 2, 3):
            waited, meanwhile = (
                torch.load(tmp_path / f"{kind}-{way}" / "checkpoints" / f"step={step}.ckpt", weights_only=True)
                for way in ("false", "true")
            )
            assert waited["global_step"] == meanwhile["global_step"] == step
            torch.testing.assert_close(meanwhile["state_dict"], waited["state_dict"], rtol=0, atol=0)
            for ours, theirs in zip(meanwhile["optimizer_states"], waited["optimizer_states"], strict=True):
                torch.testing.assert_close(ours["state"], theirs["state"], rtol=0, atol=0)
                assert ours["param_groups"] == theirs["param_groups"]
