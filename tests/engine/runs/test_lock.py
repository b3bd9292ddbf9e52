"""A run folder has one writer, however the one before ended; real processes hold the lock."""

import json
import os
import subprocess
import sys
from time import time

import pytest

from mirage_pl.engine.runs.lock import LOCK, QUIET, owned
from mirage_pl.engine.training import fit
from tests.conftest import REPO

HOLD = "import sys; from pathlib import Path; from mirage_pl.engine.runs.lock import owned\n"
HOLD += "with owned(Path(sys.argv[1])):\n"
HOLD += "    print('in', flush=True); sys.stdin.readline()"


@pytest.fixture
def hold(tmp_path):
    """Start processes that own a folder until they are told to let go."""
    started = []

    def start():
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], cwd=REPO, **pipes)
        started.append(process)
        assert process.stdout.readline() == b"in\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def enter(folder):
    with owned(folder):
        return json.loads((folder / LOCK).read_text())["pid"]


def write(folder, **changed):
    (folder / LOCK).write_text(json.dumps({"node": "elsewhere", "pid": 1, "job": None} | changed))


def age(folder, seconds):
    for file in folder.iterdir():
        os.utime(file, (time() - seconds, time() - seconds))


def test_a_second_process_is_refused_with_node_and_number_of_the_first(hold, tmp_path, train_config):
    first = hold()
    cfg = train_config(f"run_dir={tmp_path}")
    with pytest.raises(ValueError, match=f"is being trained by process {first.pid} on {os.uname().nodename}"):
        fit.run(cfg)
    assert not (tmp_path / "config.yaml").exists(), "nothing was written"


def test_a_process_that_was_killed_lets_go_at_once(hold, tmp_path):
    first = hold()
    first.kill()
    first.wait()
    assert json.loads((tmp_path / LOCK).read_text())["pid"] == first.pid, "it could not tidy up"
    assert enter(tmp_path) == os.getpid()


def test_a_process_that_ends_leaves_no_owner(hold, tmp_path):
    first = hold()
    first.communicate(b"\n")
    assert (tmp_path / LOCK).read_text() == ""
    assert enter(tmp_path) == os.getpid()
    assert enter(tmp_path) == os.getpid(), "in one process runs follow each other"


@pytest.mark.parametrize("rank", ["RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK"])
def test_the_other_processes_of_a_run_come_in_with_the_first(hold, tmp_path, monkeypatch, rank):
    first = hold()
    monkeypatch.setenv(rank, "1")
    with owned(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == first.pid


def test_a_process_on_another_node_counts_until_the_folder_is_long_quiet(tmp_path):
    write(tmp_path)
    with pytest.raises(ValueError, match=f"process 1 on elsewhere; .* if that process is gone, delete {tmp_path}"):
        enter(tmp_path)
    (tmp_path / "status.json").touch()
    age(tmp_path, QUIET + 1)
    (tmp_path / "status.json").touch()
    with pytest.raises(ValueError, match="process 1 on elsewhere"):
        enter(tmp_path)
    age(tmp_path, QUIET + 1)
    assert enter(tmp_path) == os.getpid()


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A squeue that knows one job, number 7, which runs."""
    programs = tmp_path / "bin"
    programs.mkdir()
    lines = (
        'case "$*" in *--jobs=7) echo RUNNING None;; *) echo "slurm_load_jobs error: Invalid job id specified" >&2; '
    )
    (programs / "squeue").write_text(f"#!/bin/sh\n{lines} exit 1;; esac\n")
    (programs / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")


def test_of_a_slurm_job_slurm_knows_whether_it_runs(tmp_path, monkeypatch, slurm):
    write(tmp_path, job="7")
    with pytest.raises(ValueError, match=r"on elsewhere \(SLURM job 7\); .* scancel 7"):
        enter(tmp_path)
    write(tmp_path, job="8")
    assert enter(tmp_path) == os.getpid(), "its job is gone, and its last word doesn't matter"
    write(tmp_path, job="7")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert enter(tmp_path) == os.getpid(), "the same job, queued again and started on this node"


def test_a_job_of_an_array_is_known_by_its_place(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "10")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "9")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    with owned(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["job"] == "9_2"


def test_a_broken_lock_is_no_lock(tmp_path):
    (tmp_path / LOCK).write_text('{"node": "elsew')
    assert enter(tmp_path) == os.getpid()
