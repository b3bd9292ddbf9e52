"""A checkpoint is whole or not there: processes that die, or find the disk full, in the middle of writing one.

So are those that are written while training goes on, and they hold the step that they were asked for in.
"""

import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections import deque
from pathlib import Path

import pytest
import torch

from mirage_pl.engine.checkpoints.saving import Files, Overlapped, replace_checkpoint, snapshot
from mirage_pl.engine.runs.folder import last_checkpoint
from mirage_pl.engine.training import fit
from tests.conftest import REPO, compose

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
    return [*listed, "callbacks.scores=null", "callbacks.best=null"]


def weights(folder):
    return torch.load(last_checkpoint(Path(folder)), weights_only=True)["state_dict"]


@pytest.mark.parametrize("meanwhile", [False, True], ids=["waiting", "meanwhile"])
@pytest.mark.parametrize(("how", "code"), [("SIG_DFL", -signal.SIGXFSZ), ("SIG_IGN", 1)], ids=["killed", "full"])
def test_a_save_that_is_cut_off_leaves_the_one_before_and_the_run_goes_on(
    data, train_config, options, tmp_path, how, code, meanwhile
):
    whole = train_config(*options, f"run_dir={tmp_path / 'whole'}", "trainer.max_steps=4")
    options = [*options, f"async_checkpoint={meanwhile}"]
    fit.run(whole)
    folder = tmp_path / "cut"
    cfg = train_config(*options, f"run_dir={folder}", "trainer.max_steps=2")
    fit.run(cfg)
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
    assert fit.run(cfg)["step"] == 4
    resumed, uninterrupted = weights(folder), weights(tmp_path / "whole")
    assert all(torch.equal(resumed[name], uninterrupted[name]) for name in uninterrupted)
    assert not partial.exists()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_checkpoint_takes_the_place_of_the_one_before(tmp_path, kind):
    new, old = tmp_path / "last.ckpt.partial", tmp_path / "last.ckpt"
    for path, text in ((new, "new"), (old, "old")):
        path.mkdir() if kind == "folder" else None
        (path / "weights" if kind == "folder" else path).write_text(text)
    replace_checkpoint(new, old)
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


class Gate:
    """Is written when it has been opened."""

    def __init__(self):
        self.opened = threading.Event()

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        assert self.opened.wait(60)
        return str, ("gate",)


@pytest.fixture
def gate():
    made = Gate()
    yield made
    made.opened.set()


def state(gate):
    """Something of all that checkpoints hold: tied and strided weights, an optimizer's, and objects that change."""
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(4, 3))
    optimizer = torch.optim.AdamW([weight])
    weight.sum().backward()
    optimizer.step()
    weights = {"embed": weight.detach(), "head": weight.detach(), "part": weight.detach()[1:, ::2]}
    held = {"seen": [1, {"deep": 2}], "recent": deque([3.0]), "rows": {4}, "scale": weight.detach().mean()}
    return {
        "state_dict": weights | {"half": torch.ones(2, dtype=torch.bfloat16), "none": torch.empty(0)},
        "optimizer_states": [optimizer.state_dict()],
        "callbacks": held,
        "gate": gate,
    }


def change(found):
    """Change all tensors and containers in place, as training does."""
    if isinstance(found, torch.Tensor):
        found.add_(1)
    elif isinstance(found, dict):
        for value in [*found.values()]:
            change(value)
        found["new"] = 0
    elif isinstance(found, list | deque):
        for value in [*found]:
            change(value)
        found.append(0)
    elif isinstance(found, set):
        found.add(0)


def test_what_is_written_while_training_goes_on_is_the_state_of_the_save(tmp_path, gate):
    blocking, overlapped = tmp_path / "blocking.ckpt", tmp_path / "overlapped.ckpt"
    gate.opened.set()
    Files().save_checkpoint(state(gate), blocking)
    gate.opened.clear()
    held, files = state(gate), Overlapped()
    files.save_checkpoint(held, overlapped)
    change(held)
    assert not overlapped.exists()
    gate.opened.set()
    files.teardown()
    assert held["callbacks"]["seen"] == [1, {"deep": 2, "new": 0}, 0]
    assert contents(overlapped) == contents(blocking)


def contents(path):
    """What is in a checkpoint's file, but for its name."""
    with zipfile.ZipFile(path) as archive:
        return {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}


@pytest.mark.gpu
def test_the_copy_of_a_gpus_tensors_is_in_main_memory_and_ties_hold():
    weight = torch.arange(6.0, device="cuda").view(2, 3)
    copied = snapshot({"embed": weight.detach(), "head": weight.detach(), "part": weight[1:, ::2]})
    weight.zero_()
    assert copied["embed"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert copied["part"].tolist() == [[3, 5]]
    assert {tensor.device.type for tensor in copied.values()} == {"cpu"}
    assert len({tensor.untyped_storage().data_ptr() for tensor in copied.values()}) == 1


def test_the_next_save_waits_for_the_one_before(tmp_path, gate):
    files, second = Overlapped(), tmp_path / "second.ckpt"
    files.save_checkpoint({"gate": gate}, tmp_path / "first.ckpt")
    threading.Timer(0.2, gate.opened.set).start()
    files.save_checkpoint({}, second)
    assert (tmp_path / "first.ckpt").exists(), "whole before the second is copied"
    files.teardown()
    assert second.exists()


def test_a_checkpoint_is_deleted_when_the_one_that_follows_is_whole(tmp_path, gate):
    files, first, second = Overlapped(), tmp_path / "first.ckpt", tmp_path / "second.ckpt"
    files.save_checkpoint({}, first)
    files.save_checkpoint({"gate": gate}, second)
    threading.Timer(0.2, gate.opened.set).start()
    files.remove_checkpoint(first)
    assert [file.name for file in tmp_path.iterdir()] == ["second.ckpt"]


@pytest.mark.parametrize("when", ["at the next save", "at the end"])
def test_a_write_that_fails_in_the_background_is_raised_once(tmp_path, when):
    files, path = Overlapped(), tmp_path / "last.ckpt"
    path.with_name("last.ckpt.partial").mkdir()
    files.save_checkpoint({}, path)
    reason = r"last.ckpt could not be written \(Is a directory\); see to it that this process may write there"
    with pytest.raises(ValueError, match=reason):
        files.save_checkpoint({}, path) if when == "at the next save" else files.teardown()
    files.save_checkpoint({}, path)
    files.teardown()
    assert path.exists()


def same(one, other):
    """Whether two nested containers hold the same, tensors bit by bit."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def test_checkpoints_written_meanwhile_are_those_of_a_run_that_waited(train_config, tmp_path):
    saved = {}
    for name in ("false", "true"):
        often = ["callbacks.last.every_n_train_steps=1", "callbacks.last.save_top_k=-1"]
        often += ["callbacks.last.filename='{step}'", "callbacks.scores=null", "callbacks.throughput=null"]
        cfg = train_config("stage=sft", *often, f"async_checkpoint={name}", f"run_dir={tmp_path / name}")
        fit.run(cfg)
        files = sorted((tmp_path / name / "checkpoints").iterdir())
        assert [file.name for file in files] == [
            "best.ckpt",
            "last.ckpt",
            "step=1.ckpt",
            "step=2.ckpt",
            "step=3.ckpt",
        ]
        saved[name] = [torch.load(file, weights_only=True) for file in files]
        for held in saved[name]:
            own = ("Timer", "ModelCheckpoint", "Best")  # times, and the run's own folder
            for key in [key for key in held.get("callbacks", {}) if key.startswith(own)]:
                del held["callbacks"][key]
    assert same(saved["true"], saved["false"])


@pytest.mark.parametrize("strategy", ["deepspeed_zero1", "deepspeed_zero3"])
def test_writing_meanwhile_is_refused_to_deepspeed(strategy):
    with pytest.raises(
        ValueError, match=f"async_checkpoint=true with strategy={strategy}: .* leave async_checkpoint out"
    ):
        fit.check_config(compose("train", f"strategy={strategy}", "async_checkpoint=true"))
