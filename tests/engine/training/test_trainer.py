"""What the keys of ``trainer`` may be given is said before anything heavy is loaded."""

from pathlib import Path

import pytest

from mirage_pl.engine.training import fit
from mirage_pl.engine.training.trainer import check_trainer
from tests.conftest import compose

REFUSED = {
    ("trainer.max_steps=-1",): "give trainer.max_steps=1000 or trainer.max_epochs=3",
    ("trainer.max_steps=null", "trainer.max_epochs=null"): "give trainer.max_steps=1000 or trainer.max_epochs=3",
    ("trainer.val_check_interval=0.5",): "must be a whole number of training batches.*check_val_every_n_epoch=1",
    ("trainer.val_check_interval=0",): "must be 1 or more training batches",
    ("trainer.val_check_interval=2.0", "trainer.check_val_every_n_epoch=1"): "share up to 1.0",
    ("trainer.devices=word",): "trainer.devices=word must be a number of devices, -1 or auto for all",
    ("trainer.devices=0",): "trainer.devices=0 must be a number of devices",
    ("trainer.devices=[]",): "must be a number of devices",
    ("trainer.accelerator=gpus",): "trainer.accelerator=gpus is unknown; did you mean gpu",
    ("trainer.precision=bf16mixed",): "trainer.precision=bf16mixed is unknown; did you mean bf16-mixed",
    ("trainer.profiler=simpel",): "trainer.profiler=simpel is unknown; did you mean simple",
    ("trainer.limit_train_batches=1.5",): "trainer.limit_train_batches=1.5 must be so many batches",
    ("trainer.overfit_batches=-1",): "trainer.overfit_batches=-1 must be so many batches",
}


@pytest.mark.parametrize(("overrides", "line"), REFUSED.items(), ids=map(" ".join, REFUSED))
def test_a_value_that_lightning_would_stumble_over_is_one_line(overrides, line):
    with pytest.raises(ValueError, match=line) as refused:
        check_trainer(compose("train", *overrides).trainer)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "override",
    [
        "trainer.devices=auto",
        "trainer.devices=-1",
        "trainer.devices=[0,2]",
        "trainer.devices='0,1'",
        "trainer.max_epochs=2",
        "trainer.precision=16",
        "trainer.limit_val_batches=0",
    ],
)
def test_what_lightning_takes_is_left_alone(override):
    check_trainer(compose("train", override).trainer)


def test_a_rehearsal_leaves_no_run_folder(train_config):
    cfg = train_config("stage=sft", "trainer.fast_dev_run=true", "callbacks.scores=null")
    assert fit.run(cfg)["step"] == 1
    assert not Path(cfg.run_dir).exists()


def test_a_refused_command_leaves_no_run_folder_and_nothing_of_others_is_lost(train_config):
    cfg = train_config("stage=stage2")
    folder = Path(cfg.run_dir)
    (folder / ".hydra").mkdir(parents=True)  # as Hydra does
    for _ in range(2):
        with pytest.raises(ValueError, match="stage1"):
            fit.run(cfg)
        assert not folder.exists()
        folder.mkdir(parents=True)
        (folder / "notes.txt").write_text("mine")
        with pytest.raises(ValueError, match="stage1"):
            fit.run(cfg)
        assert [file.name for file in folder.iterdir()] == ["notes.txt"]
        (folder / "notes.txt").unlink()


def test_a_rehearsal_leaves_a_run_that_is_there_as_it_is(train_config):
    cfg = train_config("stage=sft", "trainer.max_steps=1", "callbacks.scores=null")
    fit.run(cfg)
    before = {file: file.stat().st_mtime_ns for file in Path(cfg.run_dir).rglob("*") if file.is_file()}
    cfg.trainer.fast_dev_run = 2
    assert fit.run(cfg)["step"] == 2
    assert before == {file: file.stat().st_mtime_ns for file in Path(cfg.run_dir).rglob("*") if file.is_file()}


def test_a_run_may_have_neither_bar_nor_loggers(train_config, capfd):
    words = ["trainer.enable_progress_bar=false", "logger=[]", "trainer.max_steps=1", "callbacks.scores=null"]
    cfg = train_config("stage=sft", *words, "trainer.profiler=simple", "trainer.detect_anomaly=true")
    cfg.callbacks.progress = {"_target_": "callbacks.progress.RunProgress", "line_every": 1}
    assert fit.run(cfg)["step"] == 1
    assert "step 1/1" not in capfd.readouterr().out
    assert not (Path(cfg.run_dir) / "tensorboard").exists()
