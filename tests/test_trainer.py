"""A checkpoint is whole or not there: processes that die, or find the disk full, in the middle of writing one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mirage_pl import train
from mirage_pl.runs import last_checkpoint
from mirage_pl.trainer import replace
from tests.conftest import REPO

LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, getattr(signal, sys.argv.pop(1)))
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
from mirage_pl.train import main
main()
"""
"""No file may grow over a megabyte: the kernel ends the process in the middle of the write, or the write fails."""


@pytest.fixture
def options(data, train_config):
    """Overrides of a run that saves after every step."""
    listed = ["stage=sft", "trainer.limit_val_batches=0", "callbacks.last.every_n_train_steps=1"]
    return [*listed, "callbacks.generations=null", "callbacks.latents=null", "callbacks.best=null"]


def weights(folder):
    return torch.load(last_checkpoint(Path(folder)), weights_only=True)["state_dict"]


@pytest.mark.parametrize(("how", "code"), [("SIG_DFL", -signal.SIGXFSZ), ("SIG_IGN", 1)], ids=["killed", "full"])
def test_a_save_that_is_cut_off_leaves_the_one_before_and_the_run_goes_on(
    data, train_config, options, tmp_path, how, code
):
    whole = train_config(*options, f"run_dir={tmp_path / 'whole'}", "trainer.max_steps=4")
    train.run(whole)
    folder = tmp_path / "cut"
    cfg = train_config(*options, f"run_dir={folder}", "trainer.max_steps=2")
    train.run(cfg)
    before = (folder / "checkpoints" / "last.ckpt").read_bytes()
    cfg.trainer.max_steps = 4
    from omegaconf import OmegaConf

    OmegaConf.save(
        {**OmegaConf.to_container(cfg, resolve=True), "hydra": {"run": {"dir": str(folder)}}}, tmp_path / "cut.yaml"
    )
    line = [sys.executable, "-c", LIMITED, how, f"--config-dir={tmp_path}", "--config-name=cut"]
    ended = subprocess.run(line, cwd=REPO, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == code, ended.stderr[-2000:]
    assert (folder / "checkpoints" / "last.ckpt").read_bytes() == before
    partial = folder / "checkpoints" / "last.ckpt.partial"
    if how == "SIG_IGN":
        assert not partial.exists(), "a full disk isn't kept full"
        said = [line for line in ended.stderr.splitlines() if line.startswith("error:")]
        assert len(said) == 1
        assert "last.ckpt could not be written" in said[0]
    else:
        assert 0 < partial.stat().st_size <= 1_000_000
    assert train.run(cfg)["step"] == 4
    resumed, uninterrupted = weights(folder), weights(tmp_path / "whole")
    assert all(torch.equal(resumed[name], uninterrupted[name]) for name in uninterrupted)
    assert not partial.exists()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_checkpoint_takes_the_place_of_the_one_before(tmp_path, kind):
    new, old = tmp_path / "last.ckpt.partial", tmp_path / "last.ckpt"
    for path, text in ((new, "new"), (old, "old")):
        path.mkdir() if kind == "folder" else None
        (path / "weights" if kind == "folder" else path).write_text(text)
    replace(new, old)
    assert (old / "weights" if kind == "folder" else old).read_text() == "new"
    assert list(tmp_path.iterdir()) == [old]


def test_a_kill_between_two_folders_names_is_mended(tmp_path):
    aside = tmp_path / "checkpoints" / "last.ckpt.old"
    aside.mkdir(parents=True)
    (aside / "weights").write_text("old")
    found = last_checkpoint(tmp_path)
    assert (found.name, (found / "weights").read_text()) == ("last.ckpt", "old")
    assert os.listdir(tmp_path / "checkpoints") == ["last.ckpt"]


def test_nothing_saved_is_no_checkpoint(tmp_path):
    assert last_checkpoint(tmp_path) is None
