"""The project works outside its checkout: as a wheel, in a folder of a user's own."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import REPO

OWN = REPO / "docs" / "start" / "own_project"
SHORT = ["task.rows={train: 8, val: 4, test: 4}", "loader.batch_size=4", "trainer.max_steps=2"]


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """A folder in which a wheel was installed; it is all that Python finds of us."""
    folder = tmp_path_factory.mktemp("wheel")
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "build", "--quiet", "--wheel", "--out-dir", folder, REPO], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*uv, "pip", "install", "--quiet", "--no-deps", "--target", folder / "site", wheel], check=True)
    return folder / "site"


@pytest.fixture(scope="session")
def project(installed, tmp_path_factory):
    """The worked example of the docs, in a folder of its own; runs a verb there and returns what it printed."""
    folder = tmp_path_factory.mktemp("own") / "project"
    shutil.copytree(OWN, folder)

    def run(verb, *words):
        environment = os.environ | {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", f"mirage_pl.{verb}", *words]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run.folder = folder
    return run


def test_a_wheel_has_configs_weights_and_every_package(installed):
    for file in ("conf/train.yaml", "conf/stage/stage1.yaml", "assets/tiny/model.safetensors"):
        assert (installed / "mirage_pl" / file).read_bytes() == (REPO / file).read_bytes()
    pages = "mirage_pl/engine/serving/pages"
    assert {file.name for file in (installed / pages).iterdir()} == {file.name for file in (REPO / pages).iterdir()}
    for name in ("mirage_pl", "data_modules", "callbacks", "launch", "hydra_plugins", "integrations"):
        ours = {str(file.relative_to(REPO / name)) for file in (REPO / name).rglob("*.py")}
        assert {str(file.relative_to(installed / name)) for file in (installed / name).rglob("*.py")} == ours


def test_a_users_own_task_stage_and_compression_train_and_are_evaluated(project):
    project("train", "stage=lengths", *SHORT, "trainer.val_check_interval=2")
    (run,) = (project.folder / "runs/dots/tiny").iterdir()
    config = (run / "config.yaml").read_text()
    assert "imagine.Lengths" in config
    assert "imagine.Strongest" in config
    assert str(REPO) not in config, "the checkout has no part in it"
    project("evaluate", f"ckpt={run}", "task=dots", SHORT[0])
    metrics = json.loads((run / "evaluation" / "dots" / "metrics.json").read_text())
    assert metrics["success"]["all"]["n"] == 4


def test_a_users_own_project_is_swept(project):
    said = project("train", "-m", "stage=lengths", *SHORT, "latent_size=2,3", "compression=strongest", "seed=7")
    assert "sweep:" in said
    assert len(list((project.folder / "runs/dots/tiny").glob("lengths-k[23]-seed7*/metrics.json"))) == 2


def test_a_job_takes_a_users_own_modules_along(project, tmp_path, monkeypatch):
    from launch.submit import copy_code

    monkeypatch.chdir(project.folder)
    copy_code(tmp_path / "code")
    assert {"dots.py", "imagine.py", "mirage_pl", "conf"} <= {path.name for path in (tmp_path / "code").iterdir()}
    monkeypatch.chdir(REPO)
    copy_code(tmp_path / "code")
    assert not (tmp_path / "code" / "dots.py").exists()
