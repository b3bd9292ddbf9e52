"""Submitting a run: on this machine for real, to a SLURM that only takes notes, and all that is refused."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from launch import submit
from launch.status import read_status
from tests.conftest import SMALL, compose

LOCAL, SLURM = "hydra/launcher=local", "hydra/launcher=slurm"
MAIL = "+hydra.launcher.additional_parameters.mail-type=END"
QUIET = ["stage=sft", "trainer.limit_val_batches=0", "callbacks.scores=null"]


@pytest.fixture
def submitted(data, tmp_path):
    """Compose and submit, as the command does; gives the run folder and what ``job.json`` holds."""

    def go(*overrides):
        folder = tmp_path / "run"
        given = [*SMALL, *QUIET, f"data={data}", f"runs={tmp_path}", f"run_dir={folder}", *overrides]
        cfg = compose("launch", *given, return_hydra_config=True)
        launcher = OmegaConf.to_container(cfg.hydra.launcher, resolve=True)
        OmegaConf.set_struct(cfg, False)
        cfg.pop("hydra")
        return folder, submit.submit(cfg, launcher)

    return go


def wait_for(folder, reached, seconds=120):
    end = time.time() + seconds
    while not reached(status := read_status(folder)):
        assert time.time() < end, f"{status}\n{log(folder)}"
        assert status.state != "failed", status.tail
        time.sleep(0.05)
    return status


def log(folder):
    return "".join(file.read_text() for file in sorted((folder / "job").glob("*_log.*")))


def test_a_run_on_this_machine_is_preempted_queued_again_and_ends(submitted, monkeypatch):
    copy = submit.copy_code

    def copy_and_mark(target):
        copy(target)
        file = target / "mirage_pl" / "train.py"
        file.write_text(file.read_text().replace("main = verb", "print('the copy')\nmain = verb"))

    monkeypatch.setattr(submit, "copy_code", copy_and_mark)
    folder, job = submitted(LOCAL, "trainer.max_steps=60", "callbacks.presence.every=0")
    assert job["cluster"] == "local"
    assert read_status(folder).state == "starting"
    with pytest.raises(ValueError, match="is starting as job"):
        submitted(LOCAL, "trainer.max_steps=60")
    running = wait_for(folder, lambda status: status.state == "running" and (status.step or 0) >= 3 and status.node)
    with pytest.raises(ValueError, match="is being trained by process"):
        submitted(LOCAL, "trainer.max_steps=60")
    os.kill(json.loads((folder / "status.json").read_text())["pid"], signal.SIGUSR2)
    done = wait_for(folder, lambda status: status.state == "done")
    assert (done.step, done.max_steps, done.node) == (60, 60, running.node)
    said = log(folder)
    assert said.count("the copy") == 2, "it trains on the copied code, before and after"
    assert "Requeued job" in said
    assert "continuing from" in (folder / "train.log").read_text()
    assert OmegaConf.load(folder / "submitted.yaml").trainer.max_steps == 60
    assert submitted(LOCAL, "trainer.max_steps=60")[1] == {}, "nothing is left to do"


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A SLURM with two partitions that keeps what it is given; ``refuse`` makes it refuse."""
    programs = tmp_path / "bin"
    programs.mkdir()
    scripts = {
        "srun": "exit 1",
        "squeue": "echo PENDING Priority",
        "sinfo": "echo gpu; echo cpu",
        "sbatch": f'if [ -e {tmp_path}/refuse ]; then echo "Invalid account" >&2; exit 1; fi\n'
        f'cp "$1" {tmp_path}/script; echo "Submitted batch job 77"',
    }
    for name, lines in scripts.items():
        (programs / name).write_text(f"#!/bin/sh\n{lines}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def test_slurm_is_asked_for_what_the_keys_say(submitted, slurm, capsys):
    job = ["partition=gpu", "account=lab", "exclude='node[3-4]'", "timeout_min=90", "signal_delay_s=60"]
    job += ["setup=[module load cuda, 'export NCCL_DEBUG=INFO']"]
    size = ["trainer.devices=4", "trainer.num_nodes=2"]
    folder, facts = submitted(SLURM, *size, *[f"hydra.launcher.{key}" for key in job], MAIL)
    lines = (slurm / "script").read_text().splitlines()
    wanted = ["partition=gpu", "account=lab", "exclude='node[3-4]'", "time=90", "nodes=2", "ntasks-per-node=4"]
    wanted += ["gpus-per-node=4", "signal=USR2@60", "mail-type=END", "cpus-per-task=8"]
    assert {f"#SBATCH --{option}" for option in wanted} <= set(lines)
    assert lines.index("module load cuda") < next(at for at, line in enumerate(lines) if line.startswith("srun"))
    assert "PYTHONSAFEPATH=1" in lines[-1] + lines[-2] + lines[-3]
    assert any(line.startswith("srun") and "--kill-on-bad-exit=1" in line for line in lines)
    assert facts["job_id"] == "77"
    said = capsys.readouterr().out
    assert "scancel 77" in said
    assert f"tail -F {folder / 'job' / '77_0_log.out'}" in said
    assert (read_status(folder).state, read_status(folder).tail) == ("queued", "SLURM: Priority")


def test_a_partition_that_does_not_exist_names_those_that_do(submitted, slurm):
    with pytest.raises(ValueError, match="partition=gpus does not exist; choose one of cpu, gpu"):
        submitted(SLURM, "hydra.launcher.partition=gpus")


def test_what_sbatch_says_when_it_refuses_is_told(submitted, slurm):
    (slurm / "refuse").touch()
    with pytest.raises(ValueError, match="sbatch refused the job: .*Invalid account"):
        submitted(SLURM)


def test_without_slurm_the_error_names_the_way_out(submitted, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="no SLURM here: sbatch and srun and sinfo not on the PATH.*launcher=local"):
        submitted(SLURM)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([LOCAL, "trainer.devices=2"], "hydra/launcher=local starts one process, and trainer.devices=2"),
        ([SLURM, "hydra.launcher.nodes=2"], "hydra.launcher.nodes=2 but trainer.num_nodes=1"),
        ([SLURM, "hydra.launcher.tasks_per_node=1", "trainer.devices=2"], "set trainer.devices alone"),
        (["hydra/launcher=basic"], "hydra/launcher is basic; choose hydra/launcher=slurm or"),
        ([LOCAL, "stage=stage2"], "starts from a finished stage1 run"),
    ],
)
def test_jobs_that_cannot_work_are_refused_and_leave_nothing(submitted, tmp_path, overrides, said):
    with pytest.raises(ValueError, match=said):
        submitted(*overrides)
    assert not Path(tmp_path, "run").exists()
