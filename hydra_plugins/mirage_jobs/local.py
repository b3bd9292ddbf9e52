"""The points of a sweep as processes of this machine: one after another, or as many at once as there are GPUs."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import sleep
from typing import Any

from hydra.core.utils import JobReturn

from hydra_plugins.mirage_jobs import Jobs, folder_of, hydra_of, names

CONSOLE = "console.log"
OF_THE_SWEEP = re.compile(r"[+~]*hydra[./](mode|sweep|sweeper|launcher)\b")


class Local(Jobs):
    """Make each point as the command without ``-m`` would, in a process of its own.

    So several devices work: Lightning starts a run's further processes by its command line, which with ``-m`` would be
    a sweep for each of them.

    Args:
        module: what is run.
        at_once: points at the same time; ``None``: as many as the GPUs are enough for.
        tasks_per_node: devices of a point.
        job: keys that count for a single run in the background (``python -m launch``), not here.
    """

    def __init__(self, module: str, at_once: int | None = None, tasks_per_node: Any = 1, **job: Any) -> None:
        if at_once is not None and at_once < 1:
            raise SystemExit(f"error: hydra.launcher.at_once={at_once} must be 1 or more, or null")
        self.module, self.at_once = module, at_once

    def make(self, points: Sequence[JobReturn]) -> list[str]:
        """Start points as devices get free; if the sweep is ended, end them too."""
        shares = share_out(visible_gpus(), max(map(devices, points)), self.at_once)
        waiting, failed, alone = list(range(len(points))), [""] * len(points), len(shares) == 1
        told = names(points)
        running: dict[int, tuple[subprocess.Popen[bytes], Mapping[str, str]]] = {}
        before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        try:
            while waiting or running:
                while waiting and shares:
                    at, share = waiting.pop(0), shares.pop()
                    print(f"[{at + 1}/{len(points)}] {told[at]}", flush=True)
                    folder = None if alone else folder_of(points[at])
                    running[at] = start(self.command(points[at]), share, folder), share
                for at in [at for at, (process, _) in running.items() if process.poll() is not None]:
                    process, share = running.pop(at)
                    failed[at] = reason(process.returncode, folder_of(points[at]), alone)
                    shares.append(share)
                sleep(0.1)
        except BaseException:
            end([process for process, _ in running.values()])
            raise
        finally:
            signal.signal(signal.SIGTERM, before)
        return failed

    def command(self, point: JobReturn) -> list[str]:
        """The command line of a point: the sweep's, with its values in place of those that are swept."""
        hydra = self.config.hydra
        searched = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
        options = [f"--config-name={hydra.job.config_name}", *(f"--config-dir={path}" for path in searched)]
        kept = [item for item in hydra.overrides.hydra if not OF_THE_SWEEP.match(item)]
        return [sys.executable, "-m", self.module, *options, *(point.overrides or ()), *kept, "hydra.mode=RUN"]


def end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Have points save and go; at a further Ctrl-C, which a terminal sends to them too, end what is left of them."""
    try:
        sleep(0.5)  # of Ctrl-C they have heard by themselves
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
    except KeyboardInterrupt:
        for process in processes:
            process.kill()


def devices(point: JobReturn) -> int:
    """Devices of a point; all there are count as many."""
    given = hydra_of(point).launcher.tasks_per_node
    if isinstance(given, int):
        return given if given > 0 else sys.maxsize
    return sys.maxsize if isinstance(given, str) else len(given)


def visible_gpus() -> list[str]:
    """GPUs of this machine that processes may see. Loads no torch, and touches none of them."""
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in named.split(",") if name]
    if shutil.which("nvidia-smi") is None:
        return []
    asked = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False)
    return [str(number) for number, _ in enumerate(asked.stdout.splitlines())] if asked.returncode == 0 else []


def share_out(gpus: Sequence[str], each: int, at_once: int | None) -> list[Mapping[str, str]]:
    """Environments of the points that run at the same time: GPUs of their own, where there are enough for several."""
    fitting = len(gpus) // each
    if (at_once or fitting) <= 1:
        return [{}]
    if fitting < 2:
        return [{}] * (at_once or 1)
    groups = [",".join(gpus[at * each : (at + 1) * each]) for at in range(fitting)]
    return [{"CUDA_VISIBLE_DEVICES": groups[at % fitting]} for at in range(at_once or fitting)]


def start(command: list[str], share: Mapping[str, str], folder: Path | None) -> subprocess.Popen[bytes]:
    """Start a point, with the terminal, or with a file in its folder in place of it."""
    if folder is None:
        return subprocess.Popen(command, env={**os.environ, **share})
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / CONSOLE, "wb") as file:
        return subprocess.Popen(command, env={**os.environ, **share}, stdout=file, stderr=subprocess.STDOUT)


def reason(code: int, folder: Path, alone: bool) -> str:
    """Why a point failed; an empty word if it didn't."""
    if code == 0:
        return ""
    said = f"exit code {code}" if code > 0 else f"killed by signal {-code}"
    if alone:
        return f"{said}; see above"
    lines = (folder / CONSOLE).read_text(errors="replace").strip().splitlines() or ["no output"]
    return f"{said}: {lines[-1]}; see {folder / CONSOLE}"
