"""A mistake on the command line is answered in one line: the key, the value, what may be given, the fix."""

import errno
import re
import sys
from contextlib import nullcontext
from functools import partial

import pytest
from omegaconf import OmegaConf

from mirage_pl import evaluate, infer, train
from mirage_pl.engine import cli
from mirage_pl.engine.arguments import takes_value
from mirage_pl.engine.errors import find_mistake
from mirage_pl.engine.mistakes import nearest
from mirage_pl.engine.options import explain_no_option, is_offered
from mirage_pl.engine.value_types import check_types
from tests.conftest import compose


def said(main, monkeypatch, capsys, *words):
    """What a command that is refused prints to stderr, which must be one line."""
    monkeypatch.setattr(sys, "argv", ["command", *words])
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


QUIET = ["hydra/job_logging=none", "hydra/hydra_logging=none"]
REFUSED = {
    "trainer={max_step: 8, devices: 1}": "trainer.max_step isn't a key of the config; did you mean trainer.max_steps",
    "stage.learning_rat=1": "stage.learning_rat isn't a key of the config; did you mean stage.module.optimizer.lr=1?",
    "trainer.max_step=5": "trainer.max_step isn't a key of the config; did you mean trainer.max_steps=5?",
    "epochs=3": "epochs isn't a key of the config; did you mean trainer.max_epochs=3?",
    "lodaer.batch_size=4": "did you mean loader.batch_size=4",
    "modle=tiny": "modle isn't a key of the config; did you mean model=tiny?",
    "hydra/lanucher=slurm": "did you mean hydra/launcher=slurm?",
    "experiment/study=main": "experiment/study is a group within experiment; write experiment=study/main",
    "stage/mmact=action": "stage/mmact is a group within stage; write stage=mmact/action",
    "stage.zzz=1": "stage.zzz isn't a key of the config; stage has ",
    "zzz=1": "zzz isn't a key of the config; --cfg job shows all keys",
    "callbacks.generations=null": "callbacks.generations isn't a key of the config; callbacks has average, best, ",
    "trainer.lr=1": "did you mean stage.module.optimizer.lr=1",
    "~zzz": "zzz isn't a key of the config",
    "+seed=3": "+seed is there already; write seed=… without the +",
    "stage": "stage has no value; write stage=VALUE",
    "stage=": "stage= has no value; choose from auxiliary",
    "task=vps": "task=vps doesn't exist; did you mean vsp",
    "task=own": "task=own is the task of a run, which evaluate finds by its ckpt=; name a task; choose from babyai, ",
    "task=made/vsp": "task=made/vsp is what tasks are made of, and none itself; choose from babyai, ",
    "model=tniy": "model=tniy doesn't exist; did you mean tiny? choose from",
    "experiment=study/mian": "experiment=study/mian doesn't exist; did you mean study/main?",
    "seed = 3": "write seed=3",
    "stage=sft,stage1": "stage=sft,stage1 names several; for a sweep over these add -m",
    "logger=csv,tensorboard": "for all of them write logger=[csv,tensorboard], for a sweep over these add -m",
    "logger=none": "logger=none doesn't exist; for none write logger=null; choose from csv, mlflow",
    "compression=null": "compression=null is no option; choose from average, encoder, grid",
    "latents=replay": "latents= chooses for stage=distill, stage=grpo and what is built on these; leave it",
    "recurrence=5": "recurrence=5 is no option; choose from jacobi, queries, sequential",
}


@pytest.mark.parametrize(("override", "line"), REFUSED.items())
def test_an_override_that_cannot_be_is_answered_with_what_could(monkeypatch, capsys, override, line):
    assert line in said(train.main, monkeypatch, capsys, override)


def test_what_is_no_value_is_not_offered(monkeypatch, capsys):
    offered = said(train.main, monkeypatch, capsys, "task=vps").partition("choose from ")[2].split(", ")
    assert "vsp" in offered
    assert "own" not in offered
    assert not [option for option in offered if option.startswith("made/")]
    assert is_offered("task", "own", "evaluate")
    assert "task=own is the task of a run" in str(explain_no_option("train", ["-m", "task=vsp,own"]))
    for verb, word in (
        ("evaluate", "task=own"),
        ("train", "task=vsp,jigsaw"),
        ("train", "stage=own"),
        ("train", "own"),
    ):
        assert explain_no_option(verb, [word]) is None


@pytest.mark.parametrize(
    ("group", "text", "line"),
    [
        ("task", "a: [1,", "task/mine.yaml:1: no YAML (expected the node content"),
        ("task", "a: 1\na: 2\n", "task/mine.yaml:2: no YAML (found duplicate key a)"),
        ("task", "defaults: [vps]", "task/mine.yaml: task=vps doesn't exist; did you mean vsp"),
        (
            "stage",
            "# @package _global_\ndefaults: [sft, {override /task: vps}]",
            "task=vps doesn't exist; did you mean vsp",
        ),
    ],
)
def test_a_file_of_the_users_own_that_cannot_be_used_is_named(monkeypatch, capsys, tmp_path, group, text, line):
    (tmp_path / group).mkdir()
    (tmp_path / group / "mine.yaml").write_text(text)
    assert line in said(train.main, monkeypatch, capsys, f"--config-dir={tmp_path}", f"{group}=mine")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["model=ivideogpt/ctx64"],
            "model=ivideogpt/ctx64 brings no context_length.*; choose stage=ivideogpt/.*stage=ivideogpt/tokenizer or",
        ),
        (
            ["model=ivideogpt/ctx64", "stage=sft"],
            "stage=sft brings no context_length.*; choose stage=ivideogpt/.*stage=ivideogpt/tokenizer",
        ),
        (
            ["stage=ivideogpt/tokenizer", "model=tiny"],
            "model=tiny brings no model.decode.*; choose model=ivideogpt/ctx",
        ),
        (
            ["stage=mmact/action", "task=episodes/lerobot", "task.reads=step"],
            "task.reads=step names task.*step.* isn't there; did you mean task.reads=steps.$",
        ),
        (
            ["stage=sft", "task=pushing"],
            "task=pushing brings no task.*; choose a model=, stage= and task= of one family",
        ),
    ],
)
def test_options_that_are_not_of_one_family_are_named_with_what_goes_together(
    monkeypatch, capsys, tmp_path, words, line
):
    monkeypatch.chdir(tmp_path)
    assert re.search(line, said(train.main, monkeypatch, capsys, *words, *QUIET))


def test_a_folder_of_configs_that_is_not_there_is_one_line(monkeypatch, capsys, tmp_path):
    assert "nowhere' not found" in said(train.main, monkeypatch, capsys, f"--config-dir={tmp_path}/nowhere")


def test_a_run_whose_config_is_no_yaml_is_named_by_infer(monkeypatch, capsys, tmp_path):
    (tmp_path / "config.yaml").write_text("seed: [1\nb: }")
    assert f"{tmp_path}/config.yaml:2: no YAML" in said(infer.main, monkeypatch, capsys, f"ckpt={tmp_path}")


def test_values_of_the_evaluation_after_training_are_told_to_go_in_braces(monkeypatch, capsys, tmp_path):
    for word, braced in {
        "evaluate.interventions=[zero]": "'evaluate={interventions: [zero]}'",
        "evaluate.decoding.temperature=0.5": "'evaluate={decoding: {temperature: 0.5}}'",
    }.items():
        line = said(train.main, monkeypatch, capsys, word, f"run_dir={tmp_path}", *QUIET)
        assert line.endswith(f"evaluate= takes all of its values in braces; write {braced}")


def test_a_key_that_must_be_given_is_named(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    line = said(evaluate.main, monkeypatch, capsys, *QUIET)
    assert line == "error: ckpt has no value; give ckpt=…"


@pytest.mark.parametrize("word", ["loader.batch_size=four", "latent_size=1.5", "seed=true", "seed=1,2"])
def test_a_value_of_another_type_names_what_it_must_be(monkeypatch, capsys, tmp_path, word):
    line = said(train.main, monkeypatch, capsys, word, f"run_dir={tmp_path}", *QUIET)
    assert f"error: {word} must be a whole number, as {word.partition('=')[0]}=" in line


@pytest.mark.parametrize(("main", "kept"), [(train.main, "where it saved last"), (evaluate.main, "what was scored")])
def test_ctrl_c_ends_every_verb_in_one_line_about_the_work(monkeypatch, capsys, tmp_path, main, kept):
    def interrupted(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "get_method", interrupted)
    words = ["hydra/job_logging=none", "hydra/hydra_logging=none", f"hydra.run.dir={tmp_path}"]
    monkeypatch.setattr(sys, "argv", ["command", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert re.fullmatch(f"stopped by Ctrl-C: .*{kept}.*\n", capsys.readouterr().err)


def refuse(key, value):
    return False


FRACTIONS = {
    ("infer", "session=ivideogpt/imagine", "ckpt=RUN"): {"temperature": 0.7, "top_k": None, "first": None},
    ("evaluate", "evaluation=ivideogpt/prediction", "ckpt=RUN"): {"temperature": 0.7, "draws_temperature": 0.5},
    ("train", "stage=ivideogpt/tokenizer", "run_dir=RUN"): {
        "augment.hue": 0.05,
        "augment.jitter": 0.1,
        "picked": None,
        "stage.max_steps": None,
        "loader.batch_size": None,
    },
    ("train", "stage=ivideogpt/mbpo", "run_dir=RUN", "task=metaworld"): {
        "playing.updates": 0.5,
        "stage.module.frame_losses.motion": 0.5,
        "task.world.bonus": 2.5,
        "playing.held": None,
    },
    ("train", "stage=sft", "run_dir=RUN", "lora=lora"): {"lora.alpha": 0.5, "lora.rank": None},
}
"""Config -> keys that are whole numbers in YAML: a fraction that is taken, ``None`` where none is."""


@pytest.mark.parametrize("words", FRACTIONS, ids=" ".join)
def test_a_fraction_passes_where_what_is_built_takes_one_whatever_the_number_in_yaml(words):
    defaults = compose(*words)
    for key, fraction in FRACTIONS[words].items():
        cfg, item = defaults.copy(), f"{key}={fraction or 1.5}"
        OmegaConf.update(cfg, key, fraction or 1.5)
        assert isinstance(OmegaConf.select(defaults, key), int), key
        assert takes_value(cfg, key, fraction or 1.5) == (fraction is not None), key
        with nullcontext() if fraction else pytest.raises(ValueError, match=f"{item} must be a whole number"):
            check_types(cfg, defaults, [item], partial(takes_value, cfg))


@pytest.mark.parametrize(("main", "word"), [(infer.main, "clip=a.mp4"), (evaluate.main, "conditions=[]")])
def test_a_run_that_is_not_there_is_named_before_the_keys_that_it_would_bring(
    monkeypatch, capsys, tmp_path, main, word
):
    line = said(main, monkeypatch, capsys, "ckpt=runs/nope", word)
    assert line == "error: ckpt runs/nope: it does not exist; give a run folder or a .ckpt file"
    line = said(main, monkeypatch, capsys, f"ckpt={tmp_path}", word)
    assert (
        line
        == f"error: ckpt {tmp_path}: no config.yaml in it, or in a folder above it; give a run folder or a .ckpt file"
    )
    (tmp_path / "config.yaml").write_text("seed: 1")
    assert "isn't a key of the config" in said(main, monkeypatch, capsys, f"ckpt={tmp_path}", word)


def test_a_key_that_other_options_bring_names_them(monkeypatch, capsys, tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 1")
    line = said(evaluate.main, monkeypatch, capsys, f"ckpt={tmp_path}", "against=[a]")
    assert line == "error: against isn't a key of the config; it is one of evaluation=audit, evaluation=gain"


def test_a_place_that_cannot_be_written_to_is_named_by_the_key_that_was_typed(monkeypatch, tmp_path):
    for words, keys in (
        (["task=pushing", f"convert={tmp_path}/made"], "convert="),
        ([f"sheet='{tmp_path}'", "runs=elsewhere"], "sheet="),
        (["stage=sft"], "run_dir=, runs=, data=, out="),
    ):
        monkeypatch.setattr(sys, "argv", ["data", *words])
        for number in (errno.EACCES, errno.ENOSPC):
            mistake = find_mistake(OSError(number, "refused", f"{tmp_path}/made/train"))
            assert f"choose another folder ({keys})" in str(mistake)


def test_types_are_those_of_the_values_in_yaml():
    given = {"whole": 1, "share": 0.5, "on": False, "names": ["a"], "text": "a", "none": None}
    defaults = OmegaConf.create(given | {"same": "${whole}"})
    fine = ["whole=2", "whole=2.0", "whole=null", "share=1", "share=[1,0]", "on=true", "names=[]", "text=3", "none=x"]
    for item in [*fine, "same=7", "elsewhere=3"]:
        key, _, value = item.partition("=")
        check_types(OmegaConf.from_dotlist([f"{key}={value}"]), defaults, [item], refuse)
    for item in ["whole=a", "whole=1.5", "whole=true", "share=a", "on=1", "on=maybe", "names=a", "same=b"]:
        with pytest.raises(ValueError, match=f"{item} must be "):
            check_types(OmegaConf.from_dotlist([item]), defaults, [item], refuse)


def test_the_nearest_key_agrees_in_its_last_part_first():
    known = ["optimizer.lr", "optimizer.betas", "lr_monitor", "data.batch_size", "max_steps", "hydra.job.name"]
    assert nearest("learning_rate", known) == ["optimizer.lr"]
    assert nearest("model.lr", known) == ["optimizer.lr"]
    assert nearest("data.batchsize", known) == ["data.batch_size"]
    assert nearest("name", known) == []


@pytest.mark.parametrize(
    "words", [["seed=-1"], ["seed=null"], ["-m", "seed=1,2", "runs=null"], ["run_dir=."]], ids=" ".join
)
def test_what_cannot_work_on_any_machine_is_refused_before_a_folder_is_made(monkeypatch, capsys, tmp_path, words):
    monkeypatch.chdir(tmp_path)
    said(train.main, monkeypatch, capsys, *words)
    assert list(tmp_path.iterdir()) == []
