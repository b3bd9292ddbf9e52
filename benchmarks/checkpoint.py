"""How long training waits for a checkpoint: ``python -m benchmarks.checkpoint``; ``--gib``, ``--repeats``, ``--json``.

Medians of saves in turns, in the middle of a training, with the optimizer's state: of ``model=tiny``, and of as much as
a bigger model has, in matrices of 16 MiB. On the CPU, or with ``--accelerator cuda`` on a GPU:

- ``blocking``: a save as it is without more;
- ``overlapped``: with ``async_checkpoint=true``, until training goes on;
- ``written``: that save until the file is there, while nothing else runs;
- ``floor``: ``torch.save`` of the same weights and optimizer states.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from benchmarks.launch import RUN
from benchmarks.timing import seconds
from mirage_pl.engine.checkpoints.saving import Files, Overlapped
from mirage_pl.engine.cli import compose, silence_libraries
from mirage_pl.engine.training import fit
from mirage_pl.engine.training.allocator import keep_freed_memory

WIDTH = 2048
QUIET: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class Saves(pl.Callback):
    """Saves in all ways after a step, and writes ``figures.json``.

    Args:
        folder: where to.
        repeats: saves of each kind, after one that isn't counted.
        step: optimizer steps before that.
    """

    def __init__(self, folder: str, repeats: int, step: int = 1) -> None:
        self.folder, self.repeats, self.step = Path(folder), repeats, step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure."""
        if trainer.global_step != self.step:
            return
        file = self.folder / "last.ckpt"
        states = [optimizer.state_dict() for optimizer in trainer.optimizers]
        tensors = {"state_dict": pl_module.state_dict(), "optimizer_states": states}
        rounds = [self.save(trainer, file, tensors) for _ in range(self.repeats + 1)][1:]
        figures = {name: median(found[name] for found in rounds) for name in rounds[0]}
        figures |= {"ratio": figures["blocking"] / figures["overlapped"], "megabytes": file.stat().st_size / 1e6}
        (self.folder / "figures.json").write_text(json.dumps(figures))

    def save(self, trainer: pl.Trainer, file: Path, tensors: Any) -> dict[str, float]:
        """Seconds of one save of each kind."""
        found, files, overlapped = {}, Files(), Overlapped()
        kept: Any = trainer.strategy.checkpoint_io
        save: Callable[[], None] = lambda: trainer.save_checkpoint(file, weights_only=False)  # noqa: E731
        found["floor"] = seconds(lambda: files.save_checkpoint(tensors, file))
        trainer.strategy.checkpoint_io = files
        found["blocking"] = seconds(save)
        trainer.strategy.checkpoint_io = overlapped
        found["overlapped"] = seconds(save)
        found["written"] = found["overlapped"] + seconds(overlapped.teardown)
        trainer.strategy.checkpoint_io = kept
        return found


class Wide(pl.LightningModule):
    """Does next to nothing, to many weights.

    Args:
        gib: weights and AdamW's two states together.
    """

    def __init__(self, gib: float) -> None:
        super().__init__()
        count = max(1, round(gib * 2**30 / (3 * 4 * WIDTH**2)))
        self.weights = nn.ParameterList(torch.randn(WIDTH, WIDTH) for _ in range(count))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Touch all weights."""
        return torch.stack([weight[0].mean() for weight in self.weights]).sum() * batch.mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(self.parameters())


def tiny(folder: Path, repeats: int, accelerator: str) -> None:
    """Train the tiny model for a few steps."""
    saves = f"+callbacks.saves={{_target_: benchmarks.checkpoint.Saves, folder: {folder}, repeats: {repeats}, step: 3}}"
    run = [*RUN, f"trainer.accelerator={accelerator}", "callbacks.progress=null", f"data={folder}/data"]
    fit.run(compose("train", [*run, f"run_dir={folder}/run", saves]))


def wide(folder: Path, repeats: int, accelerator: str, gib: float) -> None:
    """Train many weights for a step."""
    keep_freed_memory()  # as `train` does
    options: dict[str, Any] = {"accelerator": accelerator, "max_steps": 1, "callbacks": [Saves(str(folder), repeats)]}
    pl.Trainer(**options, **QUIET).fit(Wide(gib), torch.ones(1, 1))


def measure(repeats: int, gib: float, accelerator: str = "cpu") -> dict[str, dict[str, float]]:
    """Figures of both models."""
    figures = {}
    works: dict[str, Callable[[Path], None]] = {
        "tiny": lambda folder: tiny(folder, repeats, accelerator),
        "wide": lambda folder: wide(folder, repeats, accelerator, gib),
    }
    for name, work in works.items():
        with TemporaryDirectory() as folder:
            work(Path(folder))
            figures[name] = json.loads((Path(folder) / "figures.json").read_text())
    return figures


def table(figures: dict[str, dict[str, float]]) -> str:
    """Lay the figures out, a line each."""
    lines = [f"{'':6}{'file':>12}{'blocking':>12}{'overlapped':>12}{'ratio':>8}{'written':>12}{'torch.save':>12}"]
    for name, found in figures.items():
        times = [f"{found[key]:10.3f} s" for key in ("blocking", "overlapped", "written", "floor")]
        times.insert(2, f"{found['ratio']:8.1f}")
        lines.append(f"{name:6}{found['megabytes']:9.1f} MB{''.join(times)}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=1.5, help="weights and optimizer states of the bigger one")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--accelerator", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    silence_libraries()
    figures = measure(options.repeats, options.gib, options.accelerator)
    print(json.dumps(figures) if options.json else table(figures))


if __name__ == "__main__":
    main()
