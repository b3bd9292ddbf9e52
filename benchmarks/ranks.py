"""Two CPU ranks against one process, the same global batch: ``python -m benchmarks.ranks``; ``--strategy``, ``--json``.

Samples a second of trainings of the tiny model, as the runs themselves log them. The share of communication is what two
ranks lose against two processes that train half a batch each at the same time and know nothing of each other: they
compute as much, and get as much of the machine.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

REPO = Path(__file__).resolve().parents[1]
QUIET = [f"callbacks.{name}=null" for name in ("progress", "scores", "best", "last")]
WARM = 5
"""Steps at the start that are not measured."""


class Training:
    """A training that runs in the background.

    Args:
        folder: its run folder.
        batch: samples of a batch.
        steps: that are measured.
        threads: of each process.
        overrides: more of the config.
    """

    def __init__(self, folder: Path, batch: int, steps: int, threads: int, *overrides: str) -> None:
        self.folder = folder
        measured = [f"callbacks.throughput.window={steps}", f"callbacks.throughput.skip={WARM}"]
        options = ["trainer.accelerator=cpu", "trainer.limit_val_batches=0", f"trainer.max_steps={steps + WARM}"]
        data = [f"data={folder.parent}/data", "task.per_level={train: 300, val: 4, test: 4}"]
        line = [sys.executable, "-m", "mirage_pl.train", "stage=stage1", f"run_dir={folder}", *QUIET, *data]
        line += [*options, *measured, f"loader.batch_size={batch}", *overrides]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(REPO)}
        with (folder.parent / f"{folder.name}.log").open("w") as log:
            self.process = subprocess.Popen(line, cwd=REPO, env=environment, stdout=log, stderr=subprocess.STDOUT)

    def samples_per_second(self) -> float:
        """Wait for its end.

        Raises:
            RuntimeError: it failed.
        """
        if self.process.wait():
            raise RuntimeError(self.folder.with_name(f"{self.folder.name}.log").read_text())
        return float(json.loads((self.folder / "metrics.json").read_text())["samples/s"])


def measure(folder: Path, strategy: str, batch: int, steps: int) -> dict[str, float]:
    """One process with two threads, two ranks with one each, and two strangers."""
    one = Training(folder / "one", batch, steps, 2).samples_per_second()
    two = Training(folder / "two", batch // 2, steps, 1, "trainer.devices=2", f"strategy={strategy}")
    together = two.samples_per_second()
    strangers = [Training(folder / name, batch // 2, steps, 1) for name in ("left", "right")]
    apart = sum(stranger.samples_per_second() for stranger in strangers)
    return {"one": one, "two_ranks": together, "ratio": together / one, "communication": 1 - together / apart}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategy", default="deepspeed_zero2", help="of conf/strategy")
    parser.add_argument("--batch", type=int, default=32, help="samples of both ranks together")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    with TemporaryDirectory() as name:
        figures = measure(Path(name), options.strategy, options.batch, options.steps)
    text = (
        f"{options.strategy}: {figures['two_ranks']:.1f} samples/s of two ranks, {figures['one']:.1f} of one process "
        f"({figures['ratio']:.2f} times), {figures['communication']:.0%} of the time in communication"
    )
    print(json.dumps(figures) if options.json else text)


if __name__ == "__main__":
    main()
