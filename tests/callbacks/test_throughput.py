from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from callbacks.throughput import Throughput, known_peak_tflops


class Rows(list):
    """A batch that knows its columns."""

    num_real, num_columns = 6, 8


class Bench:
    """A callback with a clock that is moved by hand; what it logs is kept, figure by figure."""

    def __init__(self, monkeypatch, world_size=1, device="cpu", flops=None, **options):
        self.now, self.logged = 0.0, {}
        monkeypatch.setattr("callbacks.throughput.perf_counter", lambda: self.now)
        self.trainer = SimpleNamespace(world_size=world_size)
        self.module = SimpleNamespace(device=torch.device(device), log=self.log)
        if flops is not None:
            self.module.flops = lambda batch: flops
        self.callback = Throughput(**options)
        self.callback.on_train_start(self.trainer, self.module)

    def log(self, name, value, **_):
        self.logged.setdefault(name, []).append(value)

    def batch(self, work, wait=0.0, rows=(1, 2, 3)):
        self.now += wait
        self.callback.on_train_batch_start(self.trainer, self.module, rows, 0)
        self.now += work
        self.callback.on_train_batch_end(self.trainer, self.module, None, rows, 0)


def test_every_figure_by_hand(monkeypatch):
    bench = Bench(monkeypatch, world_size=2, flops=3e12, window=2, skip=0, peak_tflops=6.0)
    bench.batch(work=1, rows=Rows([1, 2, 3]))
    bench.batch(wait=2, work=1, rows=Rows([1, 2, 3]))
    assert bench.logged.pop("peak_memory_gib")[0] > 0.01
    assert bench.logged == {
        "samples/s": [2 * 6 / 4],
        "tokens/s": [2 * 12 / 4],
        "padding_share": [0.25],
        "data_wait_share": [0.5],
        "achieved_tflops": [6 / 4],
        "mfu": [6 / 4 / 6],
    }


def test_what_batch_and_module_do_not_tell_is_not_logged(monkeypatch):
    bench = Bench(monkeypatch, window=1, skip=0, peak_tflops=6.0)
    bench.batch(work=1)
    assert bench.logged.keys() == {"samples/s", "data_wait_share", "peak_memory_gib"}


def test_mfu_needs_a_peak(monkeypatch):
    bench = Bench(monkeypatch, flops=3e12, window=1, skip=0)
    bench.batch(work=1)
    assert bench.logged["achieved_tflops"] == [3.0]
    assert "mfu" not in bench.logged


def test_a_window_starts_where_the_last_one_ended(monkeypatch):
    bench = Bench(monkeypatch, window=2, skip=0)
    for work, wait in [(1, 0), (1, 0), (1, 2), (3, 0)]:
        bench.batch(work, wait)
    assert bench.logged["samples/s"] == [6 / 2, 6 / 6]
    assert bench.logged["data_wait_share"] == [0, 2 / 6]


@pytest.mark.parametrize("skip", [1, 2, 3])
def test_warm_up_is_in_no_figure_whether_shorter_or_longer_than_a_window(monkeypatch, skip):
    bench = Bench(monkeypatch, window=2, skip=skip)
    for _ in range(skip):
        bench.batch(work=100)
    assert not bench.logged
    bench.batch(work=1)
    bench.batch(work=1)
    assert bench.logged["samples/s"] == [3.0]


def test_a_second_fit_warms_up_again_and_does_not_count_the_time_between(monkeypatch):
    bench = Bench(monkeypatch, window=1, skip=1)
    bench.batch(work=1)
    bench.callback.on_train_start(bench.trainer, bench.module)
    bench.batch(wait=100, work=100)
    assert not bench.logged
    bench.batch(work=1)
    assert bench.logged["samples/s"] == [3.0]


@pytest.mark.parametrize("pauses", [["validation"], ["checkpoint"], ["validation", "checkpoint"]])
def test_validation_and_checkpoints_are_neither_work_nor_waiting(monkeypatch, pauses):
    bench = Bench(monkeypatch, window=3, skip=0)
    bench.batch(work=1)
    for pause in pauses:
        if pause == "validation":
            bench.callback.on_validation_start(bench.trainer, bench.module)
        else:
            bench.callback.on_save_checkpoint(bench.trainer, bench.module, {})
        bench.now += 100
    bench.batch(work=1)
    bench.batch(wait=2, work=1)
    assert bench.logged["samples/s"] == [9 / 5]
    assert bench.logged["data_wait_share"] == [2 / 5]


def test_on_cuda_queued_work_is_waited_for_once_a_window_and_counted(monkeypatch):
    bench = Bench(monkeypatch, window=2, skip=2)  # built on the CPU: this machine may have no CUDA device
    bench.module.device = torch.device("cuda")
    queued = [10.0, 5.0, 7.0, 100.0]  # after warm-up; at validation; at the window's end; validation's own

    def synchronize(device):
        bench.now += queued.pop(0)

    monkeypatch.setattr("torch.cuda.synchronize", synchronize)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    monkeypatch.setattr("torch.cuda.max_memory_allocated", lambda device: 3 * 2**30)
    for _ in range(3):
        bench.batch(work=1)
    bench.callback.on_validation_start(bench.trainer, bench.module)
    bench.callback.on_save_checkpoint(bench.trainer, bench.module, {})
    bench.batch(work=1)
    assert queued == [100.0]
    assert bench.logged["samples/s"] == [6 / (1 + 5 + 1 + 7)]
    assert bench.logged["peak_memory_gib"] == [3.0]


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H200", 989),
        ("NVIDIA H200 NVL", 835),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA L40S", 362),
        ("NVIDIA RTX A6000", 155),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("NVIDIA A10", None),
    ],
)
def test_the_peak_of_a_known_gpu_is_found_by_its_name(monkeypatch, name, peak):
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: name)
    found = known_peak_tflops(torch.device("cuda"))
    assert found == pytest.approx(float("nan") if peak is None else peak, nan_ok=True)


def test_a_window_without_batches_is_refused():
    with pytest.raises(ValueError, match="window=0 must be 1 or more"):
        Throughput(window=0)


class Line(pl.LightningModule):
    """A line through numbers, that says what it costs."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        return self.layer(torch.tensor([[float(x)] for x in batch])).sum()

    def validation_step(self, batch, batch_idx):
        pass

    def flops(self, batch):
        return 6.0 * len(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("pause", ["validation", "checkpoint"])
def test_a_real_trainer_logs_every_figure_and_no_waiting_when_every_batch_is_followed_by_a_pause(tmp_path, pause):
    numbers = torch.utils.data.DataLoader(range(8), batch_size=2, collate_fn=Rows)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        val_check_interval=1,
        num_sanity_val_steps=0,
        callbacks=[
            Throughput(window=2, skip=1, peak_tflops=1.0),
            *([ModelCheckpoint(tmp_path, every_n_train_steps=1)] if pause == "checkpoint" else []),
        ],
        enable_checkpointing=pause == "checkpoint",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Line(), numbers, numbers if pause == "validation" else None)
    figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
    speeds = {"samples/s", "tokens/s", "achieved_tflops", "mfu"}
    assert figures.keys() == speeds | {"padding_share", "data_wait_share", "peak_memory_gib"}
    assert all(figures[name] > 0 for name in speeds)
    assert figures["padding_share"] == 0.25
    assert figures["data_wait_share"] == 0
    assert trainer.progress_bar_metrics.keys() == {"samples/s"}
