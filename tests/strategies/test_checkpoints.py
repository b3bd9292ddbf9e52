"""DeepSpeed's checkpoints: exported, started from, and refused where they can't be continued."""

import pytest
import torch
from safetensors.torch import load_file

from mirage_pl import export
from mirage_pl.strategies import check_resume
from mirage_pl.weights import ZERO, checkpoint_of, read_checkpoint
from tests.conftest import compose
from tests.strategies.conftest import recorded


@pytest.mark.parametrize("name", ["zero1", "zero2"])
def test_a_zero_checkpoint_is_exported_with_the_weights_that_were_trained(runs, tmp_path, name):
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


def test_a_run_is_refused_to_another_strategy_or_number_of_processes(tmp_path):
    last = tmp_path / "last.ckpt"
    (last / "checkpoint").mkdir(parents=True)
    for rank in (0, 1):
        (last / "checkpoint" / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt").touch()
    zero2 = ["strategy=deepspeed_zero2", "run_dir=runs/this"]
    check_resume(compose("train", *zero2, "trainer.devices=2"), last)
    with pytest.raises(
        ValueError, match=r"runs/this was trained by 2 process.*trainer.devices=1 .*init_from=runs/this"
    ):
        check_resume(compose("train", *zero2), last)
    with pytest.raises(ValueError, match="was trained with DeepSpeed, and strategy=ddp can't continue it"):
        check_resume(compose("train", "strategy=ddp"), last)
    (tmp_path / "file.ckpt").touch()
    with pytest.raises(ValueError, match="a strategy other than DeepSpeed's, and strategy=deepspeed_zero2"):
        check_resume(compose("train", *zero2), tmp_path / "file.ckpt")
