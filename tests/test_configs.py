"""Every config composes, and every constructor it names takes the arguments and the values it gives."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError

from mirage_pl.engine.arguments import check_arguments
from mirage_pl.engine.evaluation.setup import complete_config
from mirage_pl.engine.training.trial import PARTS
from tests.conftest import REPO, compose

CONF = REPO / "conf"
VERBS = {
    "decoding": ("infer", "ckpt=RUN"),
    "session": ("infer", "ckpt=RUN"),
    "tokens": ("data",),
    "evaluation": ("evaluate", "ckpt=RUN", "task.name=it", "task.max_new_tokens=8"),
}
"""Groups that training doesn't have: the verb that does, and what it can't do without."""
GROUPS = sorted(
    folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name not in ("hydra", "experiment")
)
ANY = ("qwen2_5_vl", "qwen3_vl", "qwen3_5", "internvl", "gemma3", "smolvlm")
CLIPS = ("stage=ivideogpt/tokenizer",)
VIDEO = (
    "task/pushing",
    "task/metaworld",
    "task/episodes",
    *(f"task/episodes/{file.stem}" for file in (CONF / "task/episodes").glob("*.yaml")),
    *(f"model/ivideogpt/{name}" for name in ("tiny", "ctx64", "ctx64_medium", "ctx256")),
    *(f"quantizer/{name}" for name in ("fsq", "vq", "lfq")),
)
POLICIES = (
    "task/pushing_language",
    "task/metaworld_language",
    "task/babyai",
    "task/pushing_seen",
    "model/mmact/tiny",
    "model/mmact/mmada_8b",
)
ALONE = {f"model/{name}": ("model.path=DIR",) for name in ANY} | dict.fromkeys(VIDEO, CLIPS)
ALONE |= {f"task/{name}": (*CLIPS, "task.python=PYTHON") for name in ("maniskill", "libero")}
ALONE |= dict.fromkeys(
    ("task/raycast", "task/doom", "task/pushing_depth", "model/deepverse/tiny", "model/deepverse/deepverse_2b"),
    ("stage=deepverse/vae",),
)
ALONE |= dict.fromkeys(("says/actions", "says/instruction"), ("stage=deepverse/world_model", "task=pushing_depth"))
ALONE |= dict.fromkeys(
    ("reader/pictures", "reader/points", "reader/places"), ("stage=deepverse/inverse_dynamics", "modalities=rgbdn")
)
ALONE |= dict.fromkeys((*POLICIES, "sight/none", "sight/images"), ("stage=mmact/action",))
ALONE |= {"sight/magvit": ("stage=mmact/action", "model=mmact/mmada_8b", "model.path=DIR", "coder.path=DIR")}
"""What an option can't do without."""
ALONE |= dict.fromkeys(("agent/drqv2", "agent/drqv2_tiny"), ("stage=ivideogpt/drqv2",))
ALONE |= {f"latents/{name}": ("stage=grpo",) for name in ("recompute", "replay", "sampled", "vlpo")}
ALONE |= dict.fromkeys(("privilege/helper", "privilege/noise", "privilege/shown"), ("stage=distill",))
ALONE |= dict.fromkeys(("reference/none", "reference/copy", "reference/adapter_off"), ("stage=grpo",))
INTERFACE = (
    "model",
    "task",
    "stage",
    "compression",
    "recurrence",
    "feedback",
    "strategy",
    "trainer",
    "logger",
    "decoding",
    "session",
)


def options(group):
    """Names below a group, those in a family's own folder too; ``made`` holds parts of options."""
    names = [file.relative_to(CONF / group).with_suffix("") for file in (CONF / group).rglob("*.yaml")]
    return sorted(str(name) for name in names if name.parts[0] != "made")


def unfit(config, *overrides):
    """Yield what of a config the constructors in it don't take."""
    cfg = compose(config, *overrides)
    if config == "train":
        cfg.run_dir = "runs/this"  # its own name takes long to compute, and many parts contain it
    parts = [
        f"{key}.{child}" for key in ("task", "stage") if isinstance(cfg.get(key), DictConfig) for child in cfg[key]
    ]
    for key in [*parts, *(key for key in cfg if key not in ("task", "stage") and not OmegaConf.is_missing(cfg, key))]:
        try:
            calls = check_arguments(cfg, str(key), PARTS.get(key, ()))
            assert calls or key != "stage.module"
        except InterpolationKeyError:  # a family's model beside another's task
            continue
        except ValueError as error:
            yield f"{' '.join(overrides)}: {error}"


@pytest.mark.parametrize("group", GROUPS)
def test_every_option_composes_and_its_arguments_fit_the_signatures(group):
    assert (names := options(group)), f"conf/{group} holds no option"
    for name in names:
        config, *given = VERBS.get(group, ("train",))
        assert not [*unfit(config, f"{group}={name}", *given, *ALONE.get(f"{group}/{name}", ()))]


def test_every_experiment_composes_and_its_arguments_fit_the_signatures():
    assert len(names := options("experiment")) > 5
    assert not [mistake for name in names for mistake in unfit("train", f"experiment={name}")]


@pytest.mark.parametrize("name", options("evaluation"))
def test_results_of_a_kind_of_evaluation_have_a_folder_of_their_own(name):
    cfg, kind = compose("evaluate", "ckpt=RUN", f"evaluation={name}"), name.rpartition("/")[2]
    own = OmegaConf.create({"stage": {"name": "it"}, "task": {"evaluation": [name, "toy/other"]}})
    other = OmegaConf.create({"stage": {"evaluation": "toy/other"}, "task": {"evaluation": [name]}})
    cfg.task = {"name": "maze"}
    places = [complete_config(cfg, run, Path("run")).label for run in (own, other)]
    assert places == ["maze", f"maze-{kind}"]
    cfg.label = "mine"
    assert complete_config(cfg, other, Path("run")).label == "mine"


def test_what_people_choose_from_is_there():
    assert set(INTERFACE) <= set(GROUPS)


def test_a_stage_chooses_its_model_and_task_and_the_user_chooses_over_it():
    assert [
        compose("train", *words).task.name for words in ([], ["stage=pretrain"], ["stage=pretrain", "task=vsp"])
    ] == [
        "vsp",
        "vsp_reading",
        "vsp",
    ]
    assert compose("train", "stage=stage2", "model=qwen2_5_vl_7b").model.name == "qwen2_5_vl_7b"
    assert compose("train", "stage=pretrain").model.random_weights
    assert not compose("train", "stage=pretrain", "model.random_weights=false").model.random_weights


def test_an_experiment_chooses_over_a_stage_and_the_user_over_both():
    names = compose("train", "experiment=paper/vsp_stage1_7b")
    assert (names.model.name, names.task.name, names.stage.name) == ("qwen2_5_vl_7b", "vsp", "stage1")
    assert compose("train", "experiment=paper/vsp_stage1_7b", "model=tiny").model.name == "tiny"
    assert compose("train", "experiment=paper/vsp_stage1_7b", "stage=sft").stage.name == "sft"


def test_a_familys_knobs_come_with_its_stages():
    cfg = compose("train", "stage=stage2", "task=vsp", "latent_size=2", "compression=grid")
    assert (cfg.stage.collator.latent_size, cfg.compression._target_.split(".")[-1]) == (2, "Grid")
    assert not {"latent_size", "pixels", "features", "compression"} & set(
        yaml.safe_load((CONF / "train.yaml").read_text())
    )


STAGES = {
    "cubes/tokenizer": """
        # @package _global_
        defaults: [override /model: cube, override /task: cubes, _self_]
        corners: 8
        trainer: {gradient_clip_val: null}
        callbacks: {hyperparameters: {shown: {corners: "${corners}"}}}
        stage: {name: tokenizer, tag: "c${corners}", max_steps: 5, batch_size: 2, freeze: []}
        """,
    "cubes/world": """
        # @package _global_
        defaults: [cubes/tokenizer, override /model: cube_large, _self_]
        trainer: {accumulate_grad_batches: 4}
        stage: {name: world}
        """,
}
"""Stages of somebody's family, in a folder of its own."""


@pytest.fixture(scope="module")
def cubes(tmp_path_factory):
    """The override that finds a family's own config files."""
    folder = tmp_path_factory.mktemp("cubes")
    files = {f"stage/{name}": text for name, text in STAGES.items()}
    files |= {"model/cube": "name: cube", "model/cube_large": "name: cube_large"}
    files |= {"task/cubes": "name: cubes", "task/spheres": "name: spheres"}
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).with_suffix(".yaml").write_text(textwrap.dedent(text).strip() + "\n")
    return f"hydra.searchpath=[file://{folder}]"


def test_a_stage_of_another_family_chooses_its_own_and_changes_the_trainer(cubes):
    cfg = compose("train", cubes, "stage=cubes/tokenizer", "corners=4")
    assert cfg.run_dir == "runs/cubes/cube/c4-seed42"
    assert cfg.trainer.gradient_clip_val is None
    assert cfg.callbacks.hyperparameters.shown.corners == 4
    assert cfg.callbacks.hyperparameters.shown.seed == 42
    assert not {"latent_size", "pixels", "features", "compression"} & cfg.keys()
    cfg = compose("train", cubes, "stage=cubes/world")
    assert (cfg.model.name, cfg.trainer.accumulate_grad_batches, cfg.stage.max_steps) == ("cube_large", 4, 5)
    assert compose("train", cubes, "stage=cubes/world", "trainer.gradient_clip_val=2").trainer.gradient_clip_val == 2
    cfg = compose("train", cubes, "stage=cubes/world", "model=cube", "task=spheres")
    assert (cfg.model.name, cfg.task.name) == ("cube", "spheres")


def test_another_familys_knob_is_refused(cubes):
    with pytest.raises(HydraException, match="latent_size"):
        compose("train", cubes, "stage=cubes/world", "latent_size=3")
    with pytest.raises(HydraException, match="compression"):
        compose("train", cubes, "stage=cubes/world", "compression=grid")


@pytest.mark.parametrize("task", ["vsp", "jigsaw"])
def test_a_prompt_is_written_once(task):
    cfg = compose("train", f"task={task}", "task.prompt=Go")
    assert cfg.task.data.maker.prompt == "Go"


HEAVY = {"torch", "transformers", "pytorch_lightning", "matplotlib", "tensorboard", "numpy"}


@pytest.mark.parametrize("verb", ["train", "evaluate", "infer", "data", "export"])
def test_help_and_cfg_answer_without_torch(verb):
    """`-X importtime` lists every module that was imported."""
    for flag in (["--help"], ["--cfg", "job"]):
        command = [sys.executable, "-X", "importtime", "-m", f"mirage_pl.{verb}", *flag]
        done = subprocess.run(command, capture_output=True, text=True, cwd=REPO, check=True)
        assert "mirage_pl" in done.stdout or "ckpt" in done.stdout or "task" in done.stdout
        modules = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if "|" in line}
        assert "hydra" in modules
        assert not modules & HEAVY


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["hydra.sweeper.only=[stf]"], "error: hydra.sweeper.only names stf; did you mean sft? the runs are sft, "),
        (["--cfg", "job"], "error: Only one of --run, --multirun, --cfg, "),
    ],
)
def test_a_study_that_is_refused_says_why_in_one_line(words, line):
    command = [sys.executable, "-m", "mirage_pl.train", "-m", "experiment=study/writing", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPO, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1


def test_help_whose_reader_has_left_ends_without_a_word():
    """As in ``python -m mirage_pl.train --help | head -1``."""
    read, write = os.pipe()
    os.close(read)
    words = [sys.executable, "-m", "mirage_pl.train", "--help"]
    done = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, text=True, cwd=REPO, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.parametrize(
    ("command", "values", "missing"),
    [
        ("train stage=grpo latents=sampled", ["least_emitted: 0.95", "accuracy:", "run_dir:"], ["ckpt:"]),
        ("evaluate evaluation=audit", ["ckpt:", "compare:", "against:"], ["stage: aux", "optimizer:"]),
        (
            "infer session=deepverse/walk",
            ["serve:", "port:", "actions: null"],
            ["_target_", "stage: aux", "memory: ${mem"],
        ),
        ("data task=die", ["validate:", "steps: [6]"], ["stage: aux", ", own,", "task/made:"]),
    ],
)
def test_help_lists_the_values_of_the_verb_and_of_what_was_chosen(command, values, missing):
    words = [sys.executable, "-m", *f"mirage_pl.{command} --help".split()]
    text = subprocess.run(words, capture_output=True, text=True, cwd=REPO, check=True).stdout
    assert [value for value in values if f"  {value}" not in text] == []
    assert [value for value in missing if value in text] == []


@pytest.mark.parametrize(
    "command", ["mirage_pl.report --help", "launch --help", "launch --cfg job", "launch plan --help"]
)
def test_what_only_answers_loads_no_torch(command):
    line = [sys.executable, "-X", "importtime", "-m", *command.split()]
    done = subprocess.run(line, capture_output=True, text=True, cwd=REPO, check=True)
    modules = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "hydra" in modules
    assert not modules & HEAVY


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


@pytest.mark.parametrize("file", [file for file in sorted(CONF.glob("*.yaml")) if "hydra:" in file.read_text()])
def test_no_value_has_the_name_of_a_group_by_which_it_could_not_be_set(file):
    own = yaml.safe_load(file.read_text())
    values = {key for key, value in own.items() if key not in ("defaults", "hydra") and not isinstance(value, dict)}
    chosen = {str(next(iter(entry))) for entry in own.get("defaults", []) if isinstance(entry, dict)}
    groups = {folder.name for folder in CONF.iterdir() if folder.is_dir()}
    assert not (values & groups) - chosen
