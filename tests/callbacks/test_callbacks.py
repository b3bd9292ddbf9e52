import logging
import re
import sys
from io import StringIO
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from rich.console import Console

from callbacks.freeze import Freeze
from callbacks.progress import RunProgress


class Two(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.eyes, self.eyesight = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)


def test_freezing_stops_exactly_what_is_named():
    module = Two()
    Freeze(["eyes"]).setup(None, module, "fit")
    assert [p.requires_grad for p in module.parameters()] == [False, False, True, True]


def test_freezing_something_that_is_not_there_is_an_error():
    with pytest.raises(ValueError, match="stage.freeze=ears matches no parameter"):
        Freeze(["ears"]).setup(None, Two(), "fit")


def test_progress_prints_lines_where_there_is_no_terminal(capsys):
    progress = RunProgress(line_every=2)
    progress.console = type(progress.console)(force_terminal=False, width=20)
    trainer = SimpleNamespace(
        estimated_stepping_batches=4,
        global_step=0,
        accumulate_grad_batches=1,
        progress_bar_metrics={"train/loss": 0.5},
        loggers=[],
        is_global_zero=True,
    )
    progress.on_train_start(trainer, None)
    for step in (1, 2, 3, 4):
        trainer.global_step = step
        progress.on_train_batch_end(trainer, None, None, None, step - 1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["step 2/4", "step 4/4"]
    assert "train/loss 0.5" in lines[0]


FIGURES = {f"{split}/{name}": 0.12345 for split in ("train", "val") for name in ("text", "latent", "loss")}


@pytest.mark.parametrize("width", [80, 120])
def test_the_bar_keeps_step_and_time_left_however_many_figures_there_are(width, caplog):
    progress = RunProgress(every=1, line_every=2)
    progress.console = Console(force_terminal=True, width=width, file=StringIO(), color_system=None)
    trainer = SimpleNamespace(
        estimated_stepping_batches=4,
        global_step=0,
        accumulate_grad_batches=1,
        progress_bar_metrics=FIGURES | {"samples/s": 1234.5},
        loggers=[],
        is_global_zero=True,
    )
    progress.on_train_start(trainer, None)
    for step in (1, 2):
        trainer.global_step = step
        progress.on_train_batch_end(trainer, None, None, None, step - 1)
    drawn = Console(width=width, file=StringIO())
    drawn.print(progress.bar.get_renderable())
    progress.on_train_end(trainer, None)
    (line,) = drawn.file.getvalue().splitlines()
    assert len(line) <= width
    assert line.startswith("training ━")
    assert "2/4" in line
    assert re.search(r"\d:\d\d:\d\d left (\d|-):(\d\d|--):(\d\d|--) ", line)
    assert "train/text 0.123" in line or width == 80
    assert line.rstrip().endswith("…")


def test_the_runs_log_has_the_lines_and_a_bar_does_not_hide_what_is_logged(tmp_path, monkeypatch):
    unseen, root = logging.getLogger("console"), logging.getLogger()
    kept, shown = logging.FileHandler(tmp_path / "train.log"), logging.StreamHandler(sys.stdout)
    monkeypatch.setattr(unseen, "handlers", [kept])
    unseen.setLevel(logging.INFO)
    monkeypatch.setattr(root, "handlers", [shown])
    progress = RunProgress(line_every=2)
    progress.console = Console(force_terminal=True, width=80, file=StringIO())
    trainer = SimpleNamespace(
        estimated_stepping_batches=4,
        global_step=0,
        accumulate_grad_batches=1,
        progress_bar_metrics={"train/loss": 0.5},
        loggers=[],
        is_global_zero=True,
    )
    before = sys.stdout
    progress.on_train_start(trainer, None)
    assert shown.stream is sys.stdout is not before, "Rich's, which prints above the bar"
    trainer.global_step = 2
    progress.on_train_batch_end(trainer, None, None, None, 1)
    progress.on_train_end(trainer, None)
    assert shown.stream is sys.stdout is before
    assert "step 2/4  train/loss 0.5" in (tmp_path / "train.log").read_text()
