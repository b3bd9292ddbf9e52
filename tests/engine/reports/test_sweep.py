"""A sweep on this machine: points in processes of their own, each with its devices; none of them ends another."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from hydra_plugins.mirage_jobs import read_objective
from hydra_plugins.mirage_jobs.local import OF_THE_SWEEP, reason, share_out
from tests.conftest import REPO, SMALL

OPTUNA = importlib.util.find_spec("optuna") is not None
QUIET = ["callbacks.progress=null", "callbacks.scores=null"]


def sweep(data, runs, *overrides):
    options = [*SMALL, *QUIET, f"data={data}", f"runs={runs}", "trainer.max_steps=1", "trainer.limit_val_batches=0"]
    line = [sys.executable, "-m", "mirage_pl.train", "-m", *options, *overrides]
    return subprocess.run(line, capture_output=True, text=True, cwd=REPO, check=False, timeout=500)


def test_a_point_that_fails_ends_no_other_and_what_is_done_is_not_done_again(data, tmp_path):
    options = [
        "stage=stage1",
        "latent_size=0,1,2",
        "evaluate={decoding: {max_new_tokens: 2}}",
        "hydra.launcher.at_once=2",
    ]
    ended = sweep(data, tmp_path / "runs", *options)
    assert ended.returncode == 1, ended.stderr
    results = json.loads((tmp_path / "runs" / "sweep.json").read_text())
    failed, done, other = sorted(results, key=lambda run: run.split("-k")[1])
    assert [results[run].get("axes") for run in (failed, done, other)] == [
        {"latent_size": 0},
        {"latent_size": 1},
        {"latent_size": 2},
    ]
    assert f"plot: {tmp_path / 'runs' / 'sweep.png'}" in ended.stdout
    assert (tmp_path / "runs" / "sweep.png").is_file()
    assert "latent_size=0 must be a whole number" in results[failed]["failed"]
    assert f"failed: {failed}: exit code 1: error: latent_size=0" in ended.stdout
    assert (results[done]["step"], results[done]["test/success"]) == (1, 0)
    assert "latent_size=0\n" in ended.stdout, "points are named by what is swept"
    assert sweep(data, tmp_path / "runs", *options).returncode == 1
    assert Path(done, "console.log").read_text().startswith("finished at step 1")
    assert json.loads((tmp_path / "runs" / "sweep.json").read_text())[done] == results[done]


def test_no_points_at_once_is_one_line(data, tmp_path):
    ended = sweep(data, tmp_path / "runs", "seed=1,2", "hydra.launcher.at_once=0")
    assert (ended.returncode, ended.stderr) == (1, "error: hydra.launcher.at_once=0 must be 1 or more, or null\n")


def test_several_devices_are_refused_to_hydras_own_launcher(data, tmp_path):
    ended = sweep(data, tmp_path / "runs", "seed=1,2", "trainer.devices=2", "hydra/launcher=basic", "stage=sft")
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: trainer.devices=2 with hydra/launcher=basic: the run's further processes")


def test_points_of_two_processes_are_no_sweeps_within_the_sweep(data, tmp_path):
    devices = ["stage=sft", "trainer.devices=2", "trainer.accelerator=cpu", "strategy=ddp", "seed=1"]
    ended = sweep(data, tmp_path / "runs", *devices)
    assert ended.returncode == 0, ended.stderr
    (run,) = json.loads((tmp_path / "runs" / "sweep.json").read_text()).items()
    assert (Path(run[0]).name.split("-seed")[0], run[1]["devices"]) == ("sft", 2)
    assert ended.stdout.count("[1/1]") == 1
    assert ended.stdout.strip().splitlines()[-1].startswith("sweep:")


@pytest.mark.parametrize(
    ("gpus", "each", "at_once", "shares"),
    [
        ([], 1, None, [None]),
        ([], 1, 2, [None, None]),
        (["0"], 1, None, [None]),
        (["0", "1", "2"], 1, None, ["0", "1", "2"]),
        (["0", "1", "2"], 1, 2, ["0", "1"]),
        (["4", "5", "6", "7", "8"], 2, None, ["4,5", "6,7"]),
        (["0", "1"], 1, 4, ["0", "1", "0", "1"]),
        (["0", "1"], 1, 1, [None]),
        (["0", "1"], sys.maxsize, None, [None]),
    ],
)
def test_as_many_points_at_once_as_there_are_gpus_for_each_with_its_own(gpus, each, at_once, shares):
    assert [share.get("CUDA_VISIBLE_DEVICES") for share in share_out(gpus, each, at_once)] == shares


def test_a_point_takes_hydras_own_overrides_but_those_of_the_sweep():
    kept = ["hydra.verbose=true", "hydra/job_logging=stdout", "hydra.callbacks.summary=null"]
    left = ["hydra/launcher=local", "hydra.launcher.at_once=2", "hydra.mode=MULTIRUN", "+hydra.sweeper.x=1"]
    assert [item for item in kept + left + ["hydra.sweep.dir=x"] if not OF_THE_SWEEP.match(item)] == kept


def test_a_point_that_was_killed_is_told_with_the_end_of_its_console(tmp_path):
    assert reason(0, tmp_path, alone=False) == ""
    assert reason(-9, tmp_path, alone=True) == "killed by signal 9; see above"
    (tmp_path / "console.log").write_text("step 1\nstep 2\n")
    assert reason(-9, tmp_path, alone=False) == f"killed by signal 9: step 2; see {tmp_path / 'console.log'}"


@pytest.mark.skipif(not OPTUNA, reason="needs the optuna extra")
def test_optuna_finds_the_best_point_and_goes_on_after_one_that_failed(data, tmp_path):
    options = ["hydra/sweeper=optuna", "stage=sft", "hydra.sweeper.n_trials=2", "hydra.sweeper.objective=train/loss"]
    space = ["latent_size=choice(0,1)", "stage.module.optimizer.lr=interval(0.001,0.01)"]
    ended = sweep(data, tmp_path / "runs", *options, *space)
    results = json.loads((tmp_path / "runs" / "sweep.json").read_text())
    losses = [result["train/loss"] for result in results.values() if "train/loss" in result]
    best = OmegaConf.load(tmp_path / "runs" / "optimization_results.yaml")
    assert 1 == len(losses) < len(results) == 2
    assert (best.best_value, best.best_params.latent_size) == (min(losses), 1)
    assert ended.returncode == 1
    sweep(data, tmp_path / "runs", *options, *space)
    assert json.loads((tmp_path / "runs" / "sweep.json").read_text()).keys() == results.keys()


@pytest.mark.skipif(OPTUNA, reason="the optuna extra is installed")
def test_optuna_that_is_not_installed_is_one_line(data, tmp_path):
    ended = sweep(data, tmp_path / "runs", "hydra/sweeper=optuna", "latent_size=1,2")
    assert ended.returncode == 1
    assert "error: hydra/sweeper=optuna is an extra; run pip install -e '.[optuna]'" in ended.stderr


def test_a_run_that_did_not_come_to_a_number_failed(tmp_path):
    assert read_objective(tmp_path, "val/loss")["failed"].startswith("stopped before its end")
    (tmp_path / "metrics.json").write_text('{"val/loss": NaN, "train/loss": 0.5, "device": "cpu"}')
    assert read_objective(tmp_path, "train/loss") == 0.5
    assert read_objective(tmp_path, "val/loss") == {"failed": f"val/loss is nan in {tmp_path / 'metrics.json'}"}
    assert read_objective(tmp_path, "typo")["failed"].startswith("no typo, only val/loss, train/loss, device in ")
