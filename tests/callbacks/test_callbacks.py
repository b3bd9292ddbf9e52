from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from PIL import Image

from callbacks.freeze import Freeze
from callbacks.generations import side_by_side
from callbacks.progress import RunProgress
from callbacks.throughput import Throughput


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


def test_throughput_counts_samples_of_all_ranks_and_splits_time_into_work_and_waiting(monkeypatch):
    logged = {}
    module = SimpleNamespace(log=lambda name, value, **_: logged.setdefault(name, value))
    clock = iter([0.0, 1.0, 3.0, 4.0])  # batch 1 works 0-1, waits 1-3, batch 2 works 3-4
    monkeypatch.setattr("callbacks.throughput.perf_counter", lambda: next(clock))
    throughput, trainer = Throughput(window=2), SimpleNamespace(world_size=2)
    for index in range(2):
        throughput.on_train_batch_start(trainer, module, [1, 2, 3], index)
        throughput.on_train_batch_end(trainer, module, None, [1, 2, 3], index)
    assert logged == {"samples/s": 3.0, "data_wait_share": 0.5}


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


def test_pictures_of_different_sizes_share_a_panel():
    panel = side_by_side([Image.new("RGB", (84, 84), "red"), Image.new("RGB", (200, 320), "blue")], gap=4)
    assert panel.size == (168 + 4 + 200, 320)
    assert panel.getpixel((0, 0)) == (255, 0, 0)
    assert panel.getpixel((170, 0)) == (255, 255, 255)
