"""What ``status`` says of runs in every state, and what the callback writes for it."""

import json
import os
import signal
import socket
import subprocess
import sys
from time import time

import pytest
import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from callbacks.presence import Presence
from launch import status
from tests.conftest import REPO


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "runs" / "one"
    (made / ".hydra").mkdir(parents=True)
    OmegaConf.save({"trainer": {"max_steps": 100}}, made / "config.yaml")
    OmegaConf.save({}, made / ".hydra" / "config.yaml")
    return made


def write(folder, **changed):
    said = {"state": "running", "node": socket.gethostname(), "pid": os.getpid(), "job": None, "step": 40}
    said |= {"max_steps": 100, "loss": 0.25, "seconds_left": 90.0, "updated": time(), "error": None}
    (folder / "status.json").write_text(json.dumps(said | changed))


def finish(folder, step=100):
    (folder / "checkpoints").mkdir(exist_ok=True)
    (folder / "checkpoints" / "last.ckpt").touch()
    (folder / "metrics.json").write_text(json.dumps({"step": step, "train/loss": 0.1}))


def dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_running_run_has_step_time_left_loss_and_node(folder):
    write(folder)
    assert status.read_status(folder).line()[2:6] == ["40/100", "2 min left", "loss 0.25", socket.gethostname()]
    assert status.read_status(folder).state == "running"


def test_a_run_whose_process_is_gone_has_stopped(folder):
    write(folder, pid=dead_process())
    found = status.read_status(folder)
    assert (found.state, found.seconds_left) == ("stopped", None)


def test_a_run_on_another_node_has_stopped_when_it_is_long_quiet(folder):
    write(folder, node="elsewhere", pid=dead_process(), updated=time() - 100)
    assert status.read_status(folder, quiet=200).state == "running"
    assert status.read_status(folder, quiet=50).state == "stopped"


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """Sets what SLURM's queue says of every job; nothing: it has none."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "squeue").write_text(f"#!/bin/sh\ncat {tmp_path}/said\n")
    (programs / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return (tmp_path / "said").write_text


def test_slurm_knows_of_a_run_on_another_node_whether_it_runs_however_quiet_it_is(folder, queue):
    write(folder, node="elsewhere", job="7", updated=time() - 10_000)
    queue("RUNNING None\n")
    assert status.read_status(folder).state == "running"
    queue("")
    assert status.read_status(folder).state == "stopped"
    write(folder, node="elsewhere", job="7")
    assert status.read_status(folder).state == "stopped", "it spoke a moment ago, but its job is gone"


def test_a_run_that_slurm_has_queued_again_waits_and_one_that_failed_does_not(folder, queue):
    write(folder, state="stopped", job="7")
    queue("PENDING BeginTime\n")
    assert (status.read_status(folder).state, status.read_status(folder).tail) == ("queued", "SLURM: BeginTime")
    queue("RUNNING None\n")
    assert status.read_status(folder).state == "starting"
    write(folder, state="failed", job="7", error="RuntimeError: out of memory")
    assert (status.read_status(folder).state, status.read_status(folder).tail[:12]) == ("failed", "RuntimeError")


def test_a_failed_run_shows_the_end_of_its_traceback(folder, capsys):
    write(folder, state="failed", error="Traceback\n  line\nRuntimeError: out of memory")
    status.run([str(folder.parent), "--tail", "1"])
    first, tail, last = capsys.readouterr().out.splitlines()
    assert first.startswith("failed")
    assert tail.strip() == "RuntimeError: out of memory"
    assert last == "1 runs: 1 failed"


def test_a_run_is_done_when_its_metrics_are_newer_than_what_it_said(folder):
    write(folder, state="ended")
    assert status.read_status(folder).state == "running", "it still writes its checkpoint"
    finish(folder)
    assert status.read_status(folder).state == "done"
    write(folder, updated=time() + 60)  # the same command went on with more steps
    assert status.read_status(folder).state == "running"


def test_a_run_without_the_callback_is_read_from_tensorboard(folder):
    writer = SummaryWriter(folder / "tensorboard")
    for step in range(0, 50, 10):
        writer.add_scalar("train/loss", 1.0 / (step + 1), step, walltime=1000.0 + step)
    writer.close()
    found = status.read_status(folder)
    assert (found.state, found.step, found.max_steps, found.loss) == ("running", 40, 100, pytest.approx(1 / 41))
    assert found.seconds_left == pytest.approx(60)
    assert status.read_status(folder, quiet=-1).state == "stopped"


LINE = "[2026-11-29 20:46:56,643][unseen][%s] - %s\n"
FAILED = LINE % ("INFO", "step 10") + LINE % ("ERROR", "error: RuntimeError") + "Traceback\nRuntimeError: a bad batch\n"


@pytest.mark.parametrize("spoke", [False, True])
def test_a_run_that_is_gone_has_failed_if_its_log_ends_in_an_error(folder, spoke):
    def tell(pid):
        if spoke:
            write(folder, state="ended" if pid else "running", pid=pid or dead_process())
        owner = {"node": socket.gethostname(), "pid": pid, "job": None}
        (folder / "run.lock").write_text(json.dumps(owner) if pid else "")

    for log, pid, state in (
        (FAILED, os.getpid(), "running"),
        (FAILED, dead_process(), "failed"),
        (FAILED, None, "failed"),
        (FAILED + LINE % ("WARNING", "stopped by Ctrl-C"), None, "stopped"),
        (FAILED + LINE % ("INFO", "step 20"), dead_process(), "stopped"),
        ("", None, "stopped"),
    ):
        (folder / "train.log").write_text(log)
        tell(pid)
        told = status.read_status(folder)
        assert (told.state, told.tail[-11:]) == (state, "a bad batch" if state == "failed" else ""), (log, pid)


def test_a_lock_of_another_node_is_believed_until_it_is_long_quiet(folder):
    (folder / "run.lock").write_text(json.dumps({"node": "elsewhere", "pid": 1, "job": None}))
    assert [status.read_status(folder, quiet=quiet).state for quiet in (600, -1)] == ["running", "stopped"]


def test_a_submitted_run_is_starting_until_it_speaks_and_failed_if_its_job_ended_without_a_word(folder):
    write(folder, updated=time() - 50, pid=dead_process())
    log = folder / "7_0_log.err"
    log.write_text("slurmstepd: error: out of memory\n")
    job = {
        "job_id": str(os.getpid()),
        "cluster": "local",
        "log_folder": str(folder),
        "stderr": str(log),
        "submitted": time(),
    }
    (folder / "job.json").write_text(json.dumps(job))
    assert (status.read_status(folder).state, status.read_status(folder).job) == ("starting", job["job_id"])
    (folder / f"{os.getpid()}_0_result.pkl").touch()
    assert (status.read_status(folder).state, status.read_status(folder).tail[:10]) == ("failed", "slurmstepd")
    write(folder, updated=time() + 1)
    assert status.read_status(folder).state == "running"


def test_broken_files_and_empty_places_are_one_line(folder, tmp_path):
    (folder / "status.json").write_text("{")
    with pytest.raises(ValueError, match="status.json: no JSON"):
        status.run([str(folder)])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no run"):
        status.run([str(tmp_path / "empty")])


def test_the_command_prints_json_and_imports_no_torch(folder):
    write(folder)
    command = f"import sys, launch.status; launch.status.run(['{folder}', '--json']); assert 'torch' not in sys.modules"
    ended = subprocess.run([sys.executable, "-c", command], cwd=REPO, capture_output=True, text=True, check=True)
    assert json.loads(ended.stdout)[0]["step"] == 40


class Line(pl.LightningModule):
    """A weight that is moved; ``at`` a step it does what ``then`` does."""

    def __init__(self, at=None, then=None):
        super().__init__()
        self.layer, self.at, self.then = torch.nn.Linear(1, 1), at, then

    def training_step(self, batch, batch_idx):
        if self.global_step == self.at:
            self.then()
        loss = self.layer(batch).square().mean()
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def train(folder, module, every=0.0):
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=4,
        callbacks=[Presence(str(folder), every)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(torch.ones(8, 1), batch_size=1))


def broken():
    raise RuntimeError("a bad batch")


def test_the_callback_says_where_a_run_is_while_it_runs_and_that_it_ended(folder):
    seen = []
    module = Line(3, lambda: seen.append(status.read_status(folder)))
    train(folder, module)
    assert [(s.state, s.step, s.max_steps) for s in seen] == [("running", 3, 4)]
    assert seen[0].seconds_left > 0
    assert seen[0].loss > 0
    said = json.loads((folder / "status.json").read_text())
    assert (said["state"], said["step"], said["seconds_left"]) == ("ended", 4, 0)
    assert not list(folder.glob("*.partial"))


@pytest.fixture
def interrupted():
    """A job in the background ignores interrupts; here they aren't."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupted")
def test_the_callback_tells_failing_from_being_stopped(folder):
    with pytest.raises(RuntimeError, match="a bad batch"):
        train(folder, Line(2, broken))
    found = status.read_status(folder)
    assert (found.state, found.step) == ("failed", 2)
    assert found.tail.endswith("RuntimeError: a bad batch")
    with pytest.raises(SystemExit):  # Lightning makes this of a KeyboardInterrupt
        train(folder, Line(1, lambda: signal.raise_signal(signal.SIGINT)))
    assert (status.read_status(folder).state, status.read_status(folder).step) == ("stopped", 1)
    assert json.loads((folder / "status.json").read_text())["error"] is None
