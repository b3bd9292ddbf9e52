"""How runs are getting on: ``python -m launch status RUNS...``, a line each. Imports no torch.

A run's own ``status.json`` (``callbacks/presence.py``) says most. Runs from before there was one, or without that
callback, are read from TensorBoard's events. ``metrics.json`` and ``checkpoints/last.ckpt`` make a run done.
"""

import json
import logging
import re
import socket
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import time
from typing import Any

from omegaconf import OmegaConf

from mirage_pl.engine.cli import command
from mirage_pl.engine.runs.folder import CONFIG, METRICS, find_runs_below, is_finished, make_strict
from mirage_pl.engine.runs.lock import LOCK, job_state, process_lives, read_owner

STATUS, JOB = "status.json", "job.json"
RECORD = re.compile(r"^\[[^]]*\]\[[^]]*\]\[(\w+)\] - ", re.MULTILINE)
"""Begins a record of a run's log, and has its level."""
READ, SHOWN = 100_000, 4000
"""Characters of a log's end that are read, and that are kept."""


@dataclass(frozen=True)
class Status:
    """What is known of a run.

    Attributes:
        run: its folder.
        state: ``done``, ``running``, ``queued``, ``starting`` (its job runs, and it hasn't spoken yet), ``failed`` or
            ``stopped`` (goes on when the same command is typed again).
        step: optimizer steps taken.
        max_steps: of all; ``None`` if its length is given in epochs.
        seconds_left: of training; ``None`` if it isn't running or can't be told.
        loss: the last one logged.
        node: where it runs or ran.
        job: its SLURM job.
        tail: the end of its log or traceback, for one that failed or stopped; why SLURM lets it wait.
    """

    run: Path
    state: str
    step: int | None = None
    max_steps: int | None = None
    seconds_left: float | None = None
    loss: float | None = None
    node: str | None = None
    job: str | None = None
    tail: str = ""

    def line(self) -> list[str]:
        """What is printed of it."""
        steps = "" if self.step is None else f"{self.step}" + (f"/{self.max_steps}" if self.max_steps else "")
        left = "" if self.seconds_left is None else f"{duration(self.seconds_left)} left"
        loss = "" if self.loss is None else f"loss {self.loss:.4g}"
        job = f"job {self.job}" if self.job else ""
        return [self.state, str(self.run), steps, left, loss, self.node or "", job]


def duration(seconds: float) -> str:
    """Seconds in the two largest units that matter."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def run(arguments: Sequence[str]) -> list[Status]:
    """Print a line for every run and the end of the log of those that failed.

    Args:
        arguments: of the command line.

    Raises:
        ValueError: there is no run.
    """
    options = parser().parse_args(arguments)
    found = [read_status(folder, options.quiet) for folder in find_runs(options.runs)]
    if options.json:
        rows = make_strict([asdict(status) | {"run": str(status.run)} for status in found])
        print(json.dumps(rows, indent=2, allow_nan=False))
        return found
    lines = [status.line() for status in found]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for status, line in zip(found, lines, strict=True):
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True) if width]
        print("  ".join(cells).rstrip())
        for words in status.tail.splitlines()[-options.tail :] if options.tail else ():
            print(f"        {words}")
    counted = {state: [status.state for status in found].count(state) for state in {s.state for s in found}}
    print(f"{len(found)} runs: " + ", ".join(f"{number} {state}" for state, number in sorted(counted.items())))
    return found


def find_runs(places: Sequence[Path]) -> list[Path]:
    """Run folders at or below some places, in their order, each once.

    Raises:
        ValueError: there is none at one of them.
    """
    return list(dict.fromkeys(run for place in places for run in find_runs_below(place)))


def read_status(folder: Path, quiet: float = 600.0) -> Status:
    """Tell how a run is getting on.

    Args:
        folder: the run folder.
        quiet: seconds without a word after which a run on another node, or from before ``run.lock``, counts as
            stopped.

    Raises:
        ValueError: a file is broken.
    """
    said, job = read_json(folder / STATUS), read_json(folder / JOB)
    metrics, events = folder / METRICS, newest(folder.glob("tensorboard/events.out.tfevents.*"))
    spoken = max(float(said.get("updated", 0)), events)
    most = steps_of(folder) if not said else said["max_steps"] if said["max_steps"] > 0 else None
    if is_finished(folder) and (said.get("state") == "ended" or metrics.stat().st_mtime >= spoken - 1):
        last = read_json(metrics)
        return Status(folder, "done", last.get("step"), most, None, last.get("train/loss"), said.get("node"))
    if job.get("submitted", 0) > spoken:  # submitted, or submitted again, and nothing heard of it since
        if not (waits := job_waits(job)):
            return Status(folder, "failed", max_steps=most, job=job["job_id"], tail=job_tail(job))
        return Status(folder, waits[0], max_steps=most, job=job["job_id"], tail=waits[1])
    if not said:
        step, loss, left = read_events(folder / "tensorboard", most)
        alive = is_owned(folder, quiet)
        tail = "" if alive else log_tail(folder)
        state = "running" if alive else "failed" if tail else "stopped"
        return Status(folder, state, step, most, left if alive else None, loss, tail=tail)
    going = said["state"] in ("running", "ended")  # one that has ended still writes its last checkpoint and metrics
    alive = going and is_alive(said, quiet)
    state, tail = ("running" if alive else "stopped") if going else said["state"], ""
    if not alive:
        again = slurm_waits(said["job"]) if state == "stopped" and said["job"] else None
        error = log_tail(folder) if going else ""
        state, tail = again or ("failed" if error else state, said["error"] or error or job_tail(job))
    return Status(
        folder,
        state,
        said["step"],
        most,
        said["seconds_left"] if alive else None,
        said["loss"],
        said["node"],
        said["job"],
        tail,
    )


def is_alive(said: dict[str, Any], quiet: float) -> bool:
    """Whether a run that said it was running still does: its process on this node, its last word on another."""
    if said["node"] != socket.gethostname():
        known = job_state(said["job"]) if said["job"] else None
        return bool(time() - said["updated"] < quiet) if known is None else known[0] == "RUNNING"
    return process_lives(said["pid"])


def is_owned(folder: Path, quiet: float) -> bool:
    """Whether a process trains in a folder that has no status yet: the one that its lock names."""
    logs = [*folder.glob("*.log"), *folder.glob("tensorboard/*"), *folder.glob(LOCK)]
    spoken = newest(logs)
    if not (folder / LOCK).is_file():
        return time() - spoken < quiet
    owner = read_owner(folder)  # its name is taken off when it ends
    return bool(owner) and is_alive(owner | {"updated": spoken}, quiet)


def log_tail(folder: Path) -> str:
    """The last record of a run's log if it is an error, with its traceback; else empty."""
    files = sorted(folder.glob("*.log"), key=lambda file: file.stat().st_mtime)
    text = files[-1].read_text(errors="replace")[-READ:] if files else ""
    records = [*RECORD.finditer(text)]
    return text[records[-1].start() :].strip()[-SHOWN:] if records and records[-1][1] == "ERROR" else ""


def steps_of(folder: Path) -> int | None:
    """Steps that a run's config asks for; ``None`` if it doesn't say."""
    steps = OmegaConf.select(OmegaConf.load(folder / CONFIG), "trainer.max_steps")
    return steps if isinstance(steps, int) and steps > 0 else None


def read_events(folder: Path, most: int | None) -> tuple[int | None, float | None, float | None]:
    """Last step, last loss and seconds left, of TensorBoard's events; the pace is that of the last ten lines."""
    if not any(folder.glob("events.out.tfevents.*")):
        return None, None, None
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logging.getLogger("tensorboard").setLevel(logging.WARNING)
    read = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 1}).Reload()
    losses = read.Scalars("train/loss") if "train/loss" in read.Tags()["scalars"] else []
    if not losses:
        return None, None, None
    first, last = losses[max(0, len(losses) - 10)], losses[-1]
    steps = last.step - first.step
    left = None if most is None or steps <= 0 else (last.wall_time - first.wall_time) / steps * (most - last.step)
    return last.step, last.value, left


def newest(files: Any) -> float:
    """When the last of some files was written; 0 if there is none."""
    return max((file.stat().st_mtime for file in files), default=0.0)


def job_waits(job: dict[str, Any]) -> tuple[str, str] | None:
    """How a submitted job waits to train, and why; ``None`` if it is over: it has a result, or nobody knows it."""
    if any(Path(job["log_folder"]).glob(f"{job['job_id']}_*_result.pkl")):
        return None
    if job["cluster"] == "local":
        return ("starting", "") if process_lives(int(job["job_id"])) else None
    return ("queued", "") if job_state(job["job_id"]) is None else slurm_waits(job["job_id"])


def slurm_waits(job: str) -> tuple[str, str] | None:
    """How a job waits in SLURM, and SLURM's word for why; ``None`` if it doesn't, or SLURM can't be asked."""
    state, reason = job_state(job) or ("", "")
    if state in ("RUNNING", "CONFIGURING"):
        return "starting", ""
    return ("queued", f"SLURM: {reason}") if state in ("PENDING", "REQUEUED", "SUSPENDED") else None


def job_tail(job: dict[str, Any]) -> str:
    """The end of what a submitted job wrote to its error log."""
    file = Path(job.get("stderr", ""))
    return file.read_text(errors="replace")[-SHOWN:].strip() if file.is_file() else ""


def read_json(file: Path) -> dict[str, Any]:
    """Read a file of a run folder; empty if it isn't there.

    Raises:
        ValueError: it is no JSON object.
    """
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file}: no JSON ({error}); delete it") from None
    if not isinstance(content, dict):
        raise ValueError(f"{file}: no JSON object; delete it")
    return content


def parser() -> ArgumentParser:
    """The command line."""
    made = ArgumentParser(
        prog="python -m launch status",
        description="Say of every run whether it is done, running, queued, starting, stopped or failed, how far it is, "
        "when it will end, its last loss and its node; and the end of the log of those that failed.",
    )
    made.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folder, or a folder that holds some")
    made.add_argument("--quiet", type=float, default=600.0, metavar="SECONDS", help="without a word: stopped (600)")
    made.add_argument("--tail", type=int, default=5, metavar="LINES", help="of the log of a run that failed (5)")
    made.add_argument("--json", action="store_true", help="print the same as JSON")
    return made


main = command("launch.status.run")
