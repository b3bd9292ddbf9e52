from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch

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
    progress.console = type(progress.console)(force_terminal=False, width=120)
    trainer = SimpleNamespace(
        estimated_stepping_batches=4,
        global_step=0,
        accumulate_grad_batches=1,
        progress_bar_metrics={"train/loss": 0.5},
        loggers=[],
    )
    progress.on_train_start(trainer, None)
    for step in (1, 2, 3, 4):
        trainer.global_step = step
        progress.on_train_batch_end(trainer, None, None, None, step - 1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["step 2/4", "step 4/4"]
    assert "train/loss 0.5" in lines[0]
