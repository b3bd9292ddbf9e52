"""What is checked before a run, and what a finished one says."""

from pathlib import Path

import pytest

from mirage_pl.engine.checkpoints.trained import load_trained
from mirage_pl.engine.evaluate import compose_evaluation
from mirage_pl.engine.evaluation.scoring import check_label
from mirage_pl.engine.training import fit
from mirage_pl.engine.training.checks import describe_end, list_reached
from tests.conftest import compose
from tests.engine.runs.tiny import tiny_config

ENDS = [
    (("trainer.max_steps=3",), {"step": 3, "epoch": 0}, "raise trainer.max_steps with"),
    (("trainer.max_steps=-1", "trainer.max_epochs=1"), {"step": 9, "epoch": 1}, "raise trainer.max_epochs with"),
    (
        ("trainer.max_steps=9", "trainer.max_epochs=1"),
        {"step": 9, "epoch": 1},
        "raise trainer.max_steps and trainer.max_epochs with",
    ),
    (("trainer.max_steps=3", "trainer.max_epochs=null"), {"step": 4}, "raise trainer.max_steps with"),
]


@pytest.mark.parametrize(("words", "metrics", "line"), ENDS)
def test_a_finished_run_names_the_limits_that_it_has_reached(words, metrics, line):
    cfg = compose("train", "stage=sft", *words)
    assert line in describe_end(cfg, metrics, Path("runs/this"))
    assert not list_reached(cfg, {"step": 2, "epoch": 0})


def test_a_run_says_its_last_losses_however_short_it_was_and_again_when_it_is_there_already(tmp_path, capsys):
    cfg = tiny_config(tmp_path, "tokenizer", "trainer.max_steps=2", "trainer.log_every_n_steps=10")
    metrics = fit.run(cfg)
    line = f"finished at step 2  train/loss {metrics['train/loss']:.4g}"
    assert capsys.readouterr().out == f"{line}\nrun folder: {cfg.run_dir}\n"
    fit.run(cfg)
    assert capsys.readouterr().out.startswith(f"{line}; to go on raise trainer.max_steps with run_dir=")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("{num_shwon: 1}", r"evaluate.num_shwon isn't a key of the config; did you mean evaluate.num_shown"),
        ("{num_shown: -1}", "evaluate.num_shown=-1 must be a whole number of 0 or more"),
        ("{label: null}", "evaluate.label=null must be a text"),
        ("{compare: a}", "evaluate.compare=a must be a list"),
        ("{accelerator: tpu}", "evaluate.accelerator=tpu must be one of auto, cpu, gpu"),
    ],
)
def test_a_runs_own_evaluation_is_checked_before_it_trains(options, line):
    cfg = compose("train", "stage=sft", f"evaluate={options}")
    with pytest.raises(ValueError, match=line):
        compose_evaluation(cfg, Path("runs/this"))


@pytest.mark.parametrize("label", ["..", "../x", "/tmp/x", ".", "a/../.."])
def test_results_stay_in_the_run_folder_whatever_they_are_called(tmp_path, label):
    with pytest.raises(ValueError, match="leads out of"):
        check_label(tmp_path, label)
    check_label(tmp_path, "toy/waves")


def test_a_gpu_that_is_not_there_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match="accelerator=gpu, but this machine has no GPU; set it to cpu or auto"):
        load_trained(str(tmp_path), "gpu")
