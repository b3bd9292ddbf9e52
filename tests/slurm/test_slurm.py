"""On a real scheduler: runs train, are disturbed in every way a cluster knows, and end as if they had not been."""

import json
import os
import random
import signal
import subprocess
import threading
from pathlib import Path
from time import sleep, time

import pytest

from tests.conftest import SMALL
from tests.slurm.conftest import NODE, QUIET, SLOW, command, same, slurm

pytestmark = pytest.mark.slurm
PAIR = ("trainer.devices=2", "strategy=ddp")


def shown(folder):
    """What ``launch status`` says, as JSON and in words."""
    told = command("launch status", str(folder), "--json")
    return json.loads(told.stdout)[0], command("launch status", str(folder)).stdout


def test_a_submitted_run_trains_and_ends(whole):
    run = whole(200)
    assert (run.said["state"], run.said["step"], run.said["job"]) == ("ended", 200, run.job)
    assert "auto-requeueing" not in run.log, "Lightning's own handler isn't there"
    assert shown(run.folder)[0]["state"] == "done"


def test_one_step_of_two_tasks_trains_ddp_and_is_preempted_on_both(submit, whole):
    run = submit("cut", *PAIR, steps=60)
    run.until("running", step=5)
    slurm("scancel", "--signal=USR2", run.job)
    run.until("done")
    assert "Requeued job" in run.log
    assert "exception" not in run.log
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert (metrics["devices"], metrics["step"]) == (2, 60)
    assert same(run, whole(60, *PAIR))


def test_a_run_that_is_requeued_loses_no_step_and_ends_the_same(submit, whole):
    run = submit("cut", steps=200)
    run.until("running", step=20)
    state, words = shown(run.folder)
    assert state["state"] == "running"
    assert words.startswith("running")
    before = run.said["step"]
    slurm("scontrol", "requeue", run.job)
    run.wait(lambda run: run.said["state"] == "stopped", what="stopped")
    assert before <= run.saved_step() == run.said["step"] < 200
    run.wait(lambda run: run.status.state in ("queued", "starting"), what="waiting again")
    run.until("done")
    assert run.said["job"] == run.job
    assert f"continuing from {run.folder}" in (run.folder / "train.log").read_text()
    assert same(run, whole(200))


def test_a_run_longer_than_its_time_limit_is_saved_queued_again_and_ends_the_same(submit, whole):
    limit = ["hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=20"]  # SLURM counts whole minutes
    run = submit("cut", *limit, "callbacks.slow.seconds=0.4", steps=200)
    run.until("done")
    assert "this job is timed-out" in run.log
    assert "(9 remaining timeouts)" in run.log
    assert same(run, whole(200))


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_kills_and_requeues_at_random_moments_change_nothing(submit, whole, kills):
    """Half of them SLURM's, which tells the run before; half SIGKILL without a word."""
    moments, steps = random.Random(kills), 200 if kills == 3 else 900
    run, done = submit("cut", steps=steps), []
    while len(done) < kills:
        began = time()
        run.hear()
        sleep(moments.uniform(0, 2))
        assert run.status.state == "running", f"ended after {done}; steps are too few"
        kind = moments.choice(["requeue", "kill"])
        if kind == "kill":
            os.kill(run.said["pid"], signal.SIGKILL)
            run.wait(lambda run: "JobState=FAILED" in slurm("scontrol", "show", "job", run.job), what="dead")
        slurm("scontrol", "requeue", run.job)
        done.append(kind)
        print(f"{len(done)}: {kind} at step {run.said['step']} after {time() - began:.0f} s", flush=True)
        run.wait(lambda run: "JobState=PENDING" in slurm("scontrol", "show", "job", run.job), what="queued again")
    run.until("done")
    assert {"requeue", "kill"} == set(done)
    assert same(run, whole(steps))


def test_a_sweep_has_its_points_that_can_be_had(data, tmp_path):
    """One point is a mistake, one is killed without a word, one is done."""
    options = [*SMALL, *QUIET, *NODE, f"data={data}", f"runs={tmp_path}/runs", f"hydra.sweep.dir={tmp_path}"]
    options += [SLOW, "trainer.max_steps=100", "callbacks.presence.every=0", "stage=stage1", "latent_size=0,1,2"]
    arguments = ["-m", "hydra/launcher=slurm", *options]
    ended = []
    thread = threading.Thread(target=lambda: ended.append(command("mirage_pl.train", *arguments)))
    thread.start()
    end, found = time() + 300, []
    while not found:
        assert time() < end
        sleep(0.2)
        found = [file for file in Path(tmp_path).rglob("status.json") if "-k1-" in str(file)]
    pid = json.loads(found[0].read_text())["pid"]
    (code,) = (tmp_path / "runs" / "slurm").glob("code-*")
    assert f"PYTHONPATH={code}{os.pathsep}" in Path(f"/proc/{pid}/environ").read_text(), "edits change nothing"
    os.kill(pid, signal.SIGKILL)
    thread.join()
    assert ended[0].returncode == 1, ended[0].stderr
    results = json.loads((tmp_path / "runs" / "sweep.json").read_text())
    mistake, killed, done = (results[run] for run in sorted(results))
    assert "latent_size=0 must be a whole number" in mistake["failed"]
    assert "killed" in killed["failed"].lower()
    assert "failed" not in done
    assert done["step"] == 100
    assert "skips what is done" in ended[0].stdout


def test_status_tells_why_a_job_waits_and_how_one_failed(submit, tmp_path):
    run = submit("later", "+hydra.launcher.additional_parameters.begin=now+1hour")
    state, words = shown(run.folder)
    assert state["state"] == "queued"
    assert "SLURM: BeginTime" in words
    again = command("launch", "stage=sft", *SMALL, f"run_dir={run.folder}")
    assert "is queued as job" in again.stderr
    slurm("scancel", run.job)
    run = submit("broken", "task.train_file=nothing.jsonl")
    run.until("failed")
    _, words = shown(run.folder)
    assert "nothing.jsonl does not exist" in words


def test_a_partition_that_does_not_exist_is_one_line(data, tmp_path):
    known = slurm("sinfo", "--noheader", "--format=%R").split()[0]
    wrong = ["hydra.launcher.partition=nowhere", f"run_dir={tmp_path}/run", f"runs={tmp_path}"]
    one = command("launch", "stage=sft", *NODE, *wrong)
    assert (one.returncode, one.stderr.count("\n")) == (1, 1)
    assert "hydra.launcher.partition=nowhere does not exist; choose one of" in one.stderr
    assert known in one.stderr
    many = ["-m", "hydra/launcher=slurm", "seed=1,2", *NODE, *wrong, f"hydra.sweep.dir={tmp_path}"]
    swept = command("mirage_pl.train", *many)
    assert swept.returncode == 1
    assert swept.stderr.splitlines()[-1] == one.stderr.strip()
    assert "Traceback" not in swept.stderr


def test_a_running_run_is_refused_to_a_second_writer(submit, data):
    run = submit("owned", steps=300)
    run.until("running", step=1)
    options = [*SMALL, *QUIET, "trainer.accelerator=cpu", "stage=sft", f"data={data}", f"run_dir={run.folder}"]
    second = command("mirage_pl.train", *options)
    assert second.returncode == 1
    assert f"is being trained by process {run.said['pid']} on " in second.stderr
    assert f"end it with scancel {run.job}" in second.stderr
    slurm("scancel", run.job)
    run.wait(lambda run: run.said["state"] == "stopped", what="stopped")
    assert run.saved_step() == run.said["step"]
    subprocess.run(["scancel", run.job], check=False, capture_output=True)
