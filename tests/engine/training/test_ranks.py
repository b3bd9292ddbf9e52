"""Two processes: each draws for itself, all stop together, and validation is that of one."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback
from torch.multiprocessing import ProcessRaisedException

from mirage_pl.engine.training.finite import Watch
from tests.engine.training.test_finite import BAD, BadGradient, BadLoss
from tests.engine.training.toy import LAST, Module, Recorder, Stopped, new_data, new_module, places_of, train

TWO = {"devices": 2, "strategy": "ddp_fork"}


class Write(Callback):
    """Write down what each rank draws, and its metrics."""

    def __init__(self, folder):
        self.folder, self.draws = folder, []

    def on_before_zero_grad(self, trainer, module, optimizer):
        self.draws.append(torch.rand(()).item())

    def on_train_end(self, trainer, module):
        metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
        weights = [value.tolist() for value in module.state_dict().values()]
        record = {"draws": self.draws, "metrics": metrics, "weights": weights}
        (self.folder / f"rank{trainer.global_rank}.json").write_text(json.dumps(record))


def written(folder, rank):
    return json.loads((folder / f"rank{rank}.json").read_text())


@pytest.mark.parametrize("accumulate", [1, 2])
def test_ranks_and_accumulated_batches_draw_differently_and_a_resumed_run_the_same(tmp_path, accumulate):
    way = {"max_steps": 4, "accumulate_grad_batches": accumulate, **TWO}

    def run(folder, *callbacks, resume=False):
        folder.mkdir(exist_ok=True)
        data = new_data(size=24, batch_size=2)
        train(folder, new_module(), data, [Write(folder), *callbacks], resume, **way)

    run(tmp_path / "straight")
    expected = [written(tmp_path / "straight", rank) for rank in (0, 1)]
    draws = expected[0]["draws"] + expected[1]["draws"]
    assert len(set(draws)) == len(draws)
    folder = tmp_path / "run"
    with pytest.raises(ProcessRaisedException):
        run(folder, Recorder(folder, stop=2 * accumulate))
    assert (folder / LAST).exists()
    run(folder, resume=True)
    assert written(folder, 0)["weights"] == expected[0]["weights"]
    assert written(folder, 1)["draws"] == expected[1]["draws"][-len(written(folder, 1)["draws"]) :]


class Noted(Watch):
    """Writes down what a rank says before it ends; the end of one would kill the other."""

    def describe(self, trainer):
        words = super().describe(trainer)
        (Path(trainer.default_root_dir) / f"error{trainer.global_rank}").write_text(words)
        torch.distributed.monitored_barrier(timeout=timedelta(seconds=20))
        return words


@pytest.mark.parametrize("kind", [BadLoss, BadGradient])
def test_all_ranks_stop_at_a_value_of_one_and_say_the_same(tmp_path, kind):
    module = new_module(kind)
    module.watch = Noted()
    with pytest.raises(ProcessRaisedException, match="step"):
        train(tmp_path, module, new_data(size=12, batch_size=2), max_epochs=1, **TWO)
    errors = [(tmp_path / f"error{rank}").read_text() for rank in (0, 1)]
    assert errors[0] == errors[1]
    assert BAD in errors[0]


class Exact(Module):
    """Nothing drawn, and a row counts by its place."""

    def losses(self, batch):
        value = self.net.inner(places_of(batch)[:, None] / 10).square().mean()
        return {"near": value, "small": value}

    def terms(self, batch):
        places = places_of(batch).int().tolist()
        return {"near": len(places) if self.training else sum(places), "small": len(places)}


def test_two_ranks_validate_as_one(tmp_path):
    seen = []
    for number, way in enumerate(({}, TWO)):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        data = new_data(size=8, val=5, batch_size=4 // (number + 1), eval_batch_size=2)
        options = {"max_steps": 1, "val_check_interval": 1}
        train(folder, new_module(Exact), data, [Write(folder)], **options, **way)
        seen.append(written(folder, 0)["metrics"])
    assert {name: seen[1][name] for name in seen[1] if name.startswith("val/")} == pytest.approx(
        {name: seen[0][name] for name in seen[0] if name.startswith("val/")}, rel=1e-6
    )


def test_stopped_is_seen(tmp_path):
    with pytest.raises(Stopped):
        train(tmp_path, new_module(), new_data(), [Recorder(tmp_path, stop=1)], max_steps=2)
