"""Runs that get a signal save the step it came in, and end as if it had never come."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from callbacks.preemption import Preemption
from mirage_pl.engine.checkpoints.saving import Overlapped
from mirage_pl.engine.training.fit import run as train
from tests.conftest import REPO


class Line(pl.LightningModule):
    """Sends itself a signal in the given batch."""

    def __init__(self, at=None, number=signal.SIGUSR2):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.at, self.number = torch.nn.Linear(1, 1), at, number

    def training_step(self, batch, batch_idx):
        if batch_idx == self.at:
            signal.raise_signal(self.number)
        return (self.layer(batch) - 1).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(path, module, accumulate=1, devices=1, plugins=(), **options):
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        max_epochs=1,
        accumulate_grad_batches=accumulate,
        callbacks=[Preemption(str(path), **options)],
        plugins=[*plugins],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(torch.arange(8.0).view(8, 1) / 8, batch_size=1))


@pytest.fixture
def submitit(tmp_path):
    """A handler like submitit's: it notes which files it found and ends the process."""
    found = []

    def handler(number, frame):
        found.append([file.name for file in tmp_path.iterdir()])
        raise SystemExit(-1)

    before = signal.signal(signal.SIGUSR2, handler)
    yield found
    signal.signal(signal.SIGUSR2, before)


def step_of(path):
    return torch.load(path, weights_only=False)["global_step"]


def test_the_step_in_flight_is_saved_before_submitit_queues_again(tmp_path, submitit):
    path = tmp_path / "last.ckpt"
    handler = signal.getsignal(signal.SIGUSR2)
    with pytest.raises(SystemExit) as ended:
        fit(path, Line(at=2))
    assert ended.value.code == -1
    assert submitit == [["last.ckpt"]], "called once, when the checkpoint was there"
    assert step_of(path) == 3
    assert signal.getsignal(signal.SIGUSR2) is handler


class Slow:
    """Takes a moment to be written, but none to be copied."""

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        time.sleep(0.3)
        return str, ("slow",)


class SlowlySaved(Line):
    def on_save_checkpoint(self, checkpoint):
        checkpoint["slow"] = Slow()


def test_what_is_written_in_the_background_is_there_before_submitit_queues_again(tmp_path, submitit):
    path = tmp_path / "last.ckpt"
    with pytest.raises(SystemExit):
        fit(path, SlowlySaved(at=2), plugins=[Overlapped()])
    assert submitit == [["last.ckpt"]]
    assert step_of(path) == 3


def test_a_signal_among_accumulated_batches_waits_for_the_optimizer_step(tmp_path, submitit):
    path = tmp_path / "last.ckpt"
    with pytest.raises(SystemExit):
        fit(path, Line(at=4), accumulate=4)
    assert step_of(path) == 2, "the signal came in the first of the four batches of step 2"


def test_being_asked_to_end_saves_and_ends_without_queueing(tmp_path, submitit):
    path = tmp_path / "last.ckpt"
    with pytest.raises(SystemExit) as ended:
        fit(path, Line(at=1, number=signal.SIGTERM))
    assert ended.value.code == 128 + signal.SIGTERM
    assert step_of(path) == 2
    assert not submitit


def test_ctrl_c_saves_after_this_step_says_so_and_ends_as_a_shell_expects(tmp_path, caplog):
    path = tmp_path / "last.ckpt"
    with caplog.at_level("INFO"), pytest.raises(SystemExit) as ended:
        fit(path, Line(at=1, number=signal.SIGINT))
    assert ended.value.code == 128 + signal.SIGINT
    assert step_of(path) == 2
    assert caplog.messages[-2:] == [
        "Ctrl-C: saving after this step, then ending; again: end at once",
        f"Ctrl-C: saved step 2 in {path}; the same command goes on from there",
    ]


class Pressed(Line):
    """Gets Ctrl-C in step 1, and a second signal before that step ends."""

    def __init__(self, second):
        super().__init__(at=1, number=signal.SIGINT)
        self.second = second

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        if batch_idx == self.at:
            signal.raise_signal(self.second)
        return loss


def test_a_second_ctrl_c_ends_at_once(tmp_path):
    with pytest.raises(SystemExit) as ended:
        fit(tmp_path / "last.ckpt", Pressed(signal.SIGINT))
    assert isinstance(ended.value.__context__, KeyboardInterrupt)
    assert not list(tmp_path.iterdir())


def test_sigterm_after_ctrl_c_which_a_sweep_sends_changes_nothing(tmp_path):
    path = tmp_path / "last.ckpt"
    with pytest.raises(SystemExit) as ended:
        fit(path, Pressed(signal.SIGTERM))
    assert ended.value.code == 128 + signal.SIGINT
    assert step_of(path) == 2


NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


def test_before_the_first_step_there_is_nothing_to_save_and_nothing_to_wait_for(tmp_path, caplog):
    for number in (signal.SIGINT, signal.SIGTERM):
        with pytest.raises(SystemExit) as ended:
            fit(tmp_path / "last.ckpt", Line(at=0, number=number))
        by_hand = isinstance(ended.value.__context__, KeyboardInterrupt)
        assert by_hand if number == signal.SIGINT else ended.value.code == 128 + number
        assert f"{NAMES[number]}: ending; nothing was trained since step 0" in caplog.messages
    assert not list(tmp_path.iterdir())


class Stuck(Line):
    """Never ends step 1."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        while batch_idx == self.at:
            time.sleep(0.01)
        return loss


def test_a_run_in_which_no_step_ends_is_ended_by_a_signal(tmp_path, caplog):
    with pytest.raises(SystemExit) as ended:
        fit(tmp_path / "last.ckpt", Stuck(at=1, number=signal.SIGTERM), patience=0.1)
    assert ended.value.code == 128 + signal.SIGTERM
    assert "no step has ended since then; ending without saving" in caplog.messages[-1]


def test_ctrl_c_in_validation_ends_at_once_if_the_step_is_saved(tmp_path):
    """Validation comes after the checkpoint of its step."""
    callback = Preemption(str(tmp_path / "last.ckpt"))
    trainer = SimpleNamespace(world_size=1, global_step=0, is_global_zero=True, validating=False)
    try:
        callback.on_train_start(trainer, None)
        trainer.global_step = 5
        callback.on_save_checkpoint(trainer, None, {})
        (tmp_path / "last.ckpt").touch()
        trainer.validating = True
        callback.on_validation_start(trainer, None)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        callback.on_train_end(trainer, None)


def test_ctrl_c_in_validation_waits_for_the_next_step_if_the_last_one_is_not_saved(tmp_path, caplog):
    callback = Preemption(str(tmp_path / "last.ckpt"))
    trainer = SimpleNamespace(world_size=1, global_step=0, is_global_zero=True, validating=False)
    try:
        callback.on_train_start(trainer, None)
        trainer.global_step = 5
        callback.on_save_checkpoint(trainer, None, {})  # another file: the best one's
        trainer.validating = True
        callback.on_validation_start(trainer, None)
        signal.raise_signal(signal.SIGINT)
        assert callback.received == signal.SIGINT
    finally:
        callback.on_train_end(trainer, None)


def test_without_signals_nothing_is_saved_and_the_handlers_return(tmp_path, submitit):
    numbers = (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)
    handlers = [signal.getsignal(number) for number in numbers]
    fit(tmp_path / "last.ckpt", Line())
    assert not list(tmp_path.iterdir())
    assert [signal.getsignal(number) for number in numbers] == handlers


def test_a_signal_to_a_forked_process_is_not_ours(tmp_path):
    callback = Preemption(str(tmp_path / "last.ckpt"))
    callback.signals.process = os.getpid()

    def child():
        callback.signals._note(signal.SIGUSR2, None)
        os._exit(callback.received)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == 0
    callback.signals._note(signal.SIGUSR2, None)
    assert callback.received == signal.SIGUSR2


TWO_RANKS = """
import os, signal, sys
from mirage_pl.engine.checkpoints.saving import Overlapped
from tests.callbacks.test_preemption import SlowlySaved, fit
module = SlowlySaved(at=2 if os.environ.get("LOCAL_RANK") == "1" else None, number=signal.SIGTERM)
try:
    fit(sys.argv[1], module, devices=2, plugins=[Overlapped()] if sys.argv[2] == "background" else [])
finally:
    if not os.path.exists(sys.argv[1]):
        print("left too early", file=sys.stderr)
"""


@pytest.mark.parametrize("written", ["at once", "background"])
def test_a_signal_to_one_rank_makes_all_ranks_save_and_end(tmp_path, written):
    script, path = tmp_path / "two_ranks.py", tmp_path / "last.ckpt"
    script.write_text(TWO_RANKS)
    variables = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, script, path, written], env=variables, capture_output=True, timeout=120, check=False
    )
    assert ended.returncode == 128 + signal.SIGTERM, ended.stderr.decode()[-2000:]
    assert b"left too early" not in ended.stderr
    assert step_of(path) == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"requeue_signal": "SIGNOPE"}, "SIGNOPE is no signal"),
        ({"every": 0}, "must be 1"),
        ({"patience": 0}, "must be more than 0"),
    ],
)
def test_bad_options_are_one_line(tmp_path, options, said):
    with pytest.raises(ValueError, match=said):
        Preemption(str(tmp_path), **options)


def interrupt_once(monkeypatch, at):
    """Send the requeue signal in a step of the first run after this call."""
    from mirage_pl.engine.training.base import BaseModule

    step, sent = BaseModule.training_step, []

    def stepped(self, batch, batch_idx):
        if self.global_step == at and not sent:
            sent.append(signal.raise_signal(signal.SIGUSR2))
        return step(self, batch, batch_idx)

    monkeypatch.setattr(BaseModule, "training_step", stepped)


def weights(folder):
    return torch.load(Path(folder) / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_preempted_run_ends_with_the_weights_of_one_that_was_not(
    train_config, tmp_path, monkeypatch, submitit, accumulate
):
    options = ["stage=sft", "trainer.max_steps=4", "trainer.limit_val_batches=0", "callbacks.scores=null"]
    options.append(f"trainer.accumulate_grad_batches={accumulate}")
    train(train_config(*options, f"run_dir={tmp_path / 'whole'}"))
    interrupt_once(monkeypatch, at=2)
    cfg = train_config(*options, f"run_dir={tmp_path / 'cut'}")
    with pytest.raises(SystemExit):
        train(cfg)
    assert step_of(tmp_path / "cut" / "checkpoints" / "last.ckpt") == 3
    assert train(cfg)["step"] == 4
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
