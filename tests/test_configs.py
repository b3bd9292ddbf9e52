"""Every config composes, and every constructor it names takes the arguments it gives."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.utils import get_method
from omegaconf import DictConfig, ListConfig, OmegaConf

from tests.conftest import REPO, compose


def options(group):
    return sorted(file.stem for file in (REPO / "conf" / group).glob("*.yaml"))


def experiments():
    folder = REPO / "conf" / "experiment"
    return sorted(str(file.relative_to(folder).with_suffix("")) for file in folder.rglob("*.yaml"))


CHOICES = [
    f"{group}={option}"
    for group in ("model", "task", "stage", "compression", "strategy", "callbacks", "logger", "trainer")
    for option in options(group)
] + [f"experiment={name}" for name in experiments()]


def targets(node, path="cfg"):
    """Yield every node that names a constructor."""
    if isinstance(node, DictConfig):
        if "_target_" in node:
            yield path, node
        for key in node:
            if not OmegaConf.is_interpolation(node, key) or OmegaConf.is_config(node[key]):
                yield from targets(node[key], f"{path}.{key}")
    elif isinstance(node, ListConfig):
        for index in range(len(node)):
            yield from targets(node[index], f"{path}[{index}]")


GIVEN_BY_CODE = {
    "data_modules.loading.datamodule.DataModule": {"collate"},
    "pytorch_lightning.Trainer": {"callbacks", "logger", "plugins"},
}


def bind(node):
    signature = inspect.signature(get_method(node._target_))
    names = {str(key) for key in node if not str(key).startswith("_")} | GIVEN_BY_CODE.get(node._target_, set())
    (signature.bind_partial if node.get("_partial_") else signature.bind)(**dict.fromkeys(names))


@pytest.mark.parametrize("choice", CHOICES)
def test_every_option_composes_and_its_arguments_fit_the_signatures(choice, tmp_path):
    cfg = compose("train", choice)
    cfg.run_dir = str(tmp_path)
    found = list(targets(cfg))
    assert len(found) > 10
    for path, node in found:
        try:
            bind(node)
        except TypeError as error:
            pytest.fail(f"{choice}: {path} -> {node._target_}: {error}")


def test_a_misspelt_argument_is_caught(tmp_path):
    node = OmegaConf.create({"_target_": "callbacks.throughput.Throughput", "windw": 3})
    with pytest.raises(TypeError, match="windw"):
        bind(node)


@pytest.mark.parametrize("verb", ["train", "evaluate", "infer", "data", "export"])
def test_help_and_cfg_answer_without_torch(verb):
    """`-X importtime` lists every module that was imported."""
    for flag in (["--help"], ["--cfg", "job"]):
        command = [sys.executable, "-X", "importtime", "-m", f"mirage_pl.{verb}", *flag]
        done = subprocess.run(command, capture_output=True, text=True, cwd=REPO, check=True)
        assert "mirage_pl" in done.stdout or "ckpt" in done.stdout or "task" in done.stdout
        modules = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if "|" in line}
        assert "hydra" in modules
        assert not modules & {"torch", "transformers", "pytorch_lightning"}


@pytest.mark.parametrize("launcher", ["slurm", "local"])
def test_launchers_compose(launcher):
    done = subprocess.run(
        [sys.executable, "-m", "mirage_pl.train", "--cfg", "hydra", f"hydra/launcher={launcher}"],
        capture_output=True,
        text=True,
        cwd=REPO,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"hydra_plugins.mirage_jobs.{launcher}" in done.stdout


def test_an_unknown_key_is_refused_in_one_breath():
    done = subprocess.run(
        [sys.executable, "-m", "mirage_pl.train", "stage.learning_rat=1"],
        capture_output=True,
        text=True,
        cwd=REPO,
        check=False,
    )
    assert done.returncode == 1
    assert "learning_rat" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_data_folder_follows_the_models_cell_size():
    assert compose("train").task.folder == "data/vsp-28px"
    assert compose("train", "model=qwen2_5_vl_7b").task.folder == "data/vsp-64px"
    assert Path(compose("train", "stage=stage2", "latent_size=8", "seed=1").run_dir) == Path(
        "runs/vsp/tiny/stage2-k8-seed1"
    )


def test_a_run_folders_name_ignores_what_changes_no_result(monkeypatch):
    from types import SimpleNamespace

    from mirage_pl.engine import cli

    def suffix(*overrides):
        config = SimpleNamespace(overrides=SimpleNamespace(task=list(overrides)))
        monkeypatch.setattr(cli.HydraConfig, "initialized", lambda: True)
        monkeypatch.setattr(cli.HydraConfig, "get", lambda: config)
        return cli.variant()

    assert suffix("stage=stage1", "features=null", "memory.checkpointing=true", "async_checkpoint=true") == ""
    assert suffix("loader.batch_size=4") != suffix("loader.batch_size=8") != ""
