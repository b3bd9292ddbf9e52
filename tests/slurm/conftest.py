"""Runs on a real SLURM, of which one node is enough: submitted, watched and disturbed by the commands a user has."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from time import sleep, time

import pytest
import torch

from benchmarks.launch import slurm_answers
from launch.status import read_status
from tests.conftest import REPO, SMALL

QUIET = [
    "trainer.limit_val_batches=0",
    "callbacks.progress=null",
    "callbacks.scores=null",
]
NODE = ["trainer.accelerator=cpu", "hydra.launcher.gpus_per_node=null", "hydra.launcher.cpus_per_task=1"]
OFTEN = ["callbacks.presence.every=0", "callbacks.last.every_n_train_steps=5"]
SLOW = "+callbacks.slow={_target_: tests.slurm.slow.Slow, seconds: 0.1}"


def pytest_collection_modifyitems(items):
    """Skip where there is no SLURM that answers."""
    there = slurm_answers()
    for item in items:
        if item.get_closest_marker("slurm") and not there:
            item.add_marker(pytest.mark.skip(reason="needs a SLURM"))


def command(module, *arguments):
    """Run one of our commands as a user does."""
    variables = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", *module.split(), *arguments]
    return subprocess.run(line, env=variables, capture_output=True, text=True, timeout=900, check=False, cwd=REPO)


def slurm(*words):
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


@dataclass
class Run:
    """A submitted run."""

    folder: Path

    @property
    def job(self):
        return json.loads((self.folder / "job.json").read_text())["job_id"]

    @property
    def said(self):
        return json.loads((self.folder / "status.json").read_text())

    @property
    def status(self):
        return read_status(self.folder)

    @property
    def log(self):
        return "".join(file.read_text(errors="replace") for file in sorted((self.folder / "job").glob("*_log.*")))

    def wait(self, reached, seconds=600, what="reached"):
        """Look until something is so; what failed can't become it any more."""
        end = time() + seconds
        while not reached(self):
            assert time() < end, f"not {what}: {self.status}\n{self.log[-3000:]}"
            sleep(0.3)
        return self

    def until(self, state, step=0):
        """Wait for a state, and a step in it."""
        return self.wait(lambda run: (s := run.status).state == state and (s.step or 0) >= step, what=state)

    def heard_at(self):
        """When it last spoke; 0 if it never did."""
        return self.said["updated"] if (self.folder / "status.json").is_file() else 0

    def hear(self):
        """Wait until it speaks again."""
        before = self.heard_at()
        return self.wait(lambda run: run.heard_at() > before, what="heard of again")

    def weights(self):
        return torch.load(self.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]

    def saved_step(self):
        return torch.load(self.folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]


def same(one, other):
    """Whether two runs ended with the same bits."""
    a, b = one.weights(), other.weights()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="session")
def submit(data, tmp_path_factory):
    """Submit a run by ``python -m launch``; whatever is left in the queue at the end is cancelled."""
    made = []

    def go(name, *overrides, steps=100):
        folder = tmp_path_factory.mktemp("slurm") / name
        options = [
            *SMALL,
            *QUIET,
            *NODE,
            *OFTEN,
            SLOW,
            f"data={data}",
            f"run_dir={folder}",
            f"trainer.max_steps={steps}",
        ]
        ended = command("launch", "stage=sft", *options, *overrides)
        assert ended.returncode == 0, ended.stderr
        made.append(Run(folder))
        return made[-1]

    yield go
    for run in made:
        subprocess.run(["scancel", run.job], capture_output=True, check=False)


@pytest.fixture(scope="session")
def whole(submit):
    """A run of so many steps that nobody disturbed, in one process or two."""
    made = {}

    def uninterrupted(steps, *overrides):
        key = (steps, *overrides)
        if key not in made:
            made[key] = submit("whole", *overrides, steps=steps).until("done")
        return made[key]

    return uninterrupted
