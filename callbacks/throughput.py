"""How fast training goes, what it waits for, and how much of the hardware it uses."""

import resource
import sys
from dataclasses import dataclass
from math import isnan, nan
from time import perf_counter
from typing import Annotated, Any

import pytorch_lightning as pl
import torch
from annotated_types import Ge, Gt

PEAK_TFLOPS = {
    "MIG": nan,  # part of a GPU; its name doesn't say which share of the peak it has
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H200 NVL": 835.0,
    "H100": 989.0,
    "H200": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "A6000": 155.0,
}
"""Dense bfloat16 peaks from the data sheets; the first key that is part of a device's name counts."""


@dataclass
class Window:
    """Sums between two log calls. What batch or module don't provide is ``nan``, as is every figure made of it."""

    samples: int = 0
    tokens: float = 0.0
    columns: float = 0.0
    flops: float = 0.0
    worked: float = 0.0
    waited: float = 0.0

    def add(self, pl_module: pl.LightningModule, batch: Any) -> None:
        """Count a batch."""
        flops = getattr(pl_module, "flops", None)
        self.samples += len(batch)
        self.tokens += getattr(batch, "num_real", nan)
        self.columns += getattr(batch, "num_columns", nan)
        self.flops += flops(batch) if callable(flops) else nan

    def figures(self, world_size: int, peak_tflops: float) -> dict[str, float]:
        """All figures by name; this rank's batches are taken as typical of all ranks."""
        seconds = self.worked + self.waited
        tflops = self.flops / seconds / 1e12
        return {
            "samples/s": self.samples * world_size / seconds,
            "tokens/s": self.tokens * world_size / seconds,
            "padding_share": 1 - self.tokens / self.columns,
            "data_wait_share": self.waited / seconds,
            "achieved_tflops": tflops,
            "mfu": tflops / peak_tflops,
        }


class Throughput(pl.Callback):
    """Log these figures over the last ``window`` training batches, each where its inputs are known.

    - ``samples/s``: of all ranks.
    - ``tokens/s``: of all ranks, without padding. Needs ``batch.num_real``, the real columns of all rows.
    - ``padding_share``: of all columns. Needs ``batch.num_columns``, rows times columns, too.
    - ``data_wait_share``: share of time between the end of a batch and the start of the next.
    - ``achieved_tflops``: operations of the model, per device and second. Needs ``pl_module.flops(batch)``.
    - ``mfu``: the same as a share of the device's peak.
    - ``peak_memory_gib``: of tensors since training began, on CUDA; else the process's largest resident set.

    Validation and checkpoints between two batches don't count. CUDA works through its queue while the process waits for
    data, so ``data_wait_share`` is an upper bound there. A window ends when the queue is empty, so that its time covers
    all its work, except what runs while a validation or a checkpoint is being prepared.

    Args:
        window: batches between two log calls.
        skip: batches of warm-up at each start, which are in no figure.
        peak_tflops: of one device in the run's dtype; ``None``: a known GPU's dense bfloat16 peak.

    Raises:
        ValueError: ``window`` below 1.
    """

    def __init__(
        self, window: int = 10, skip: Annotated[int, Ge(0)] = 2, peak_tflops: Annotated[float, Gt(0)] | None = None
    ) -> None:
        if window < 1:
            raise ValueError(f"callbacks.throughput.window={window} must be 1 or more batches; 10 is usual")
        self.window, self.skip, self.peak_tflops = window, skip, peak_tflops
        self._restart()

    def _restart(self) -> None:
        self.sums, self.batches = Window(), 0
        self.started, self.ended = 0.0, nan  # ended is nan where the time until the next batch doesn't count

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget an earlier fit."""
        self._restart()
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pl_module.device)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note how long the batch took to load."""
        self.started = perf_counter()
        self.sums.waited += 0.0 if isnan(self.ended) else self.started - self.ended

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log every ``window`` batches; one window ends with the warm-up and isn't logged."""
        self.batches += 1
        self.sums.add(pl_module, batch)
        complete = (self.batches - self.skip) % self.window == 0
        if complete:
            finish_queue(pl_module.device)
        self.ended = perf_counter()
        self.sums.worked += self.ended - self.started
        if complete:
            if self.batches > self.skip:
                self._log(trainer, pl_module)
            self.sums = Window()

    def _log(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        peak_tflops = self.peak_tflops or known_peak_tflops(pl_module.device)
        figures = self.sums.figures(trainer.world_size, peak_tflops)
        figures["peak_memory_gib"] = peak_memory(pl_module.device) / 2**30
        for name, value in figures.items():
            if not isnan(value):
                pl_module.log(name, value, prog_bar=name == "samples/s", batch_size=1)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave validation out of the wait for data."""
        self._pause(pl_module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Leave saving out of the wait for data."""
        self._pause(pl_module)

    def _pause(self, pl_module: pl.LightningModule) -> None:
        """Count queued training work, and nothing from then until the next batch."""
        if isnan(self.ended):
            return  # a checkpoint after validation: what is queued now isn't training's
        paused = perf_counter()
        finish_queue(pl_module.device)
        self.sums.worked += perf_counter() - paused
        self.ended = nan


def finish_queue(device: torch.device) -> None:
    """Wait until a CUDA device has done all its queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def known_peak_tflops(device: torch.device) -> float:
    """Dense bfloat16 peak of a device, ``nan`` where it isn't known."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return next((peak for key, peak in PEAK_TFLOPS.items() if key in name), nan)


def peak_memory(device: torch.device) -> float:
    """Most bytes in use so far: tensors on a CUDA device, else this process's resident set (without its workers)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return resident if sys.platform == "darwin" else resident * 1024  # Linux counts in KiB
