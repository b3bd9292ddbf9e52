"""From a command to the first optimizer step: ``python -m benchmarks.launch``; ``--repeats``, ``--json``.

With ``model=tiny`` on the CPU, data and features made before, medians of a few runs. Beside each wall-clock time stand
the seconds of CPU that it took, which say more on a busy machine:

- ``imports``: what training imports, in a process that does nothing else;
- ``train``: ``python -m mirage_pl.train`` to its first step;
- ``submit``: ``python -m launch``, until it has handed the run to SLURM, and to the run's first step, whose CPU isn't
  ours to count; needs a SLURM with a free node.

``--answers`` takes other figures: how long ``--help`` and ``--cfg job`` of each verb take.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, sleep

REPO = Path(__file__).resolve().parents[1]
IMPORTS = "import deepspeed, pytorch_lightning, torch.utils.tensorboard, transformers, mirage_pl.mirage.module"
RUN = ["stage=sft", "trainer.accelerator=cpu", "trainer.max_steps=5", "trainer.limit_val_batches=0"]
RUN += ["callbacks.presence.every=0", "callbacks.scores=null", "loader.batch_size=4"]
RUN += ["task.per_level={train: 12, val: 4, test: 4}"]
ANSWERS = [f"mirage_pl.{verb} --help" for verb in ("train", "evaluate", "infer", "data", "export", "report")]
ANSWERS += ["launch --help", "launch plan --help", "launch status --help", "mirage_pl.train --cfg job"]
JOB = ["hydra.launcher.gpus_per_node=null", "hydra.launcher.cpus_per_task=1"]


def python(*arguments: str) -> None:
    """Run a command of ours to its end."""
    subprocess.run([sys.executable, *arguments], cwd=REPO, check=True, capture_output=True)


def cpu() -> float:
    """Seconds of CPU that processes took which have ended and were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds of wall-clock and of CPU."""
    began, used = perf_counter(), cpu()
    work()
    return perf_counter() - began, cpu() - used


def wait_for(reached: Callable[[], bool]) -> None:
    """Wait until something is so.

    Raises:
        TimeoutError: it isn't after ten minutes.
    """
    end = perf_counter() + 600
    while not reached():
        if perf_counter() > end:
            raise TimeoutError("a run took more than ten minutes")
        sleep(0.01)


def stepped(run: Path) -> bool:
    """Whether a run has taken a step."""
    file = run / "status.json"
    return file.is_file() and json.loads(file.read_text())["step"] > 0


def slurm_answers() -> bool:
    """Whether there is a SLURM, and it is up."""
    if shutil.which("sinfo") is None:
        return False
    return subprocess.run(["sinfo"], capture_output=True, check=False).returncode == 0


def train(run: Path, data: Path) -> float:
    """Seconds to the first step of a training on this machine."""
    began = perf_counter()
    line = [sys.executable, "-m", "mirage_pl.train", *RUN, f"data={data}", f"run_dir={run}"]
    with subprocess.Popen(line, cwd=REPO, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        wait_for(lambda: stepped(run))
        return perf_counter() - began


def submit(run: Path, data: Path) -> tuple[float, float, float]:
    """Seconds until a run is handed over, of CPU for that, and until its first step."""
    began = perf_counter()
    wall, used = timed(lambda: python("-m", "launch", *RUN, *JOB, f"data={data}", f"run_dir={run}"))
    wait_for(lambda: stepped(run))
    taken = perf_counter() - began
    wait_for((run / "metrics.json").is_file)
    return wall, used, taken


def measure(repeats: int, slurm: bool) -> dict[str, dict[str, float]]:
    """Take all figures, in turns."""
    taken: dict[str, list[Sequence[float]]] = {"imports": [], "train": [], "submit": []}
    with TemporaryDirectory() as name:
        folder = Path(name)
        train(folder / "first", folder / "data")  # makes data and features
        for turn in range(repeats):
            taken["imports"].append(timed(lambda: python("-c", IMPORTS)))
            used = cpu()
            taken["train"].append((train(folder / f"train{turn}", folder / "data"), cpu() - used))
            if slurm:
                taken["submit"].append(submit(folder / f"submit{turn}", folder / "data"))
    names = ("seconds", "cpu_seconds", "first_step")
    return {
        key: {name: median(column) for name, column in zip(names, zip(*rows, strict=True), strict=False)}
        for key, rows in taken.items()
        if rows
    }


def measure_answers(repeats: int) -> dict[str, dict[str, float]]:
    """Time the commands that only answer, in turns."""
    taken: dict[str, list[tuple[float, float]]] = {words: [] for words in ANSWERS}
    for _ in range(repeats):
        for words, times in taken.items():
            times.append(timed(partial(python, "-m", *words.split())))
    names = ("seconds", "cpu_seconds")
    return {
        words: {name: median(column) for name, column in zip(names, zip(*times, strict=True), strict=True)}
        for words, times in taken.items()
    }


def table(figures: dict[str, dict[str, float]]) -> str:
    """Lay the figures out, a line each."""
    told = {"imports": "imports alone", "train": "train, to the first step", "submit": "launch, until submitted"}
    lines = [
        f"{told.get(key, key):28}{found['seconds']:6.1f} s ({found['cpu_seconds']:.1f} of CPU)"
        for key, found in figures.items()
    ]
    if "submit" in figures:
        lines.append(f"{'launch, to the first step':28}{figures['submit']['first_step']:6.1f} s")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-slurm", action="store_true", help="don't submit, though there is a SLURM")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--answers", action="store_true", help="time --help and --cfg job instead")
    options = parser.parse_args(arguments)
    if options.answers:
        figures = measure_answers(options.repeats)
    else:
        figures = measure(options.repeats, not options.no_slurm and slurm_answers())
    print(json.dumps(figures) if options.json else table(figures))


if __name__ == "__main__":
    main()
