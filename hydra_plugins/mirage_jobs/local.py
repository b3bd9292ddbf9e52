"""Run the points of a sweep as local processes: one after another, or as many at a time as there are GPUs."""

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

from hydra_plugins.mirage_jobs import Jobs, folder_of, hydra_of, name_points

CONSOLE = "console.log"
OF_THE_SWEEP = re.compile(r"[+~]*hydra[./](mode|sweep|sweeper|launcher)\b")


class Local(Jobs):
    """Run each point in a process of its own, by the command line that would run it without ``-m``.

    Lightning starts a run's other ranks by repeating its command line, which with ``-m`` would start a sweep in each.

    Args:
        module: the module to run.
        at_once: points at the same time; ``None``: as many as there are GPUs for.
        tasks_per_node: devices of a point.
        job: keys of a single run in the background (``python -m launch``); not used here.
    """

    def __init__(self, module: str, at_once: int | None = None, tasks_per_node: Any = 1, **job: Any) -> None:
        if at_once is not None and at_once < 1:
            raise SystemExit(f"error: hydra.launcher.at_once={at_once} must be 1 or more, or null")
        self.module, self.at_once = module, at_once

    def make(self, points: Sequence[JobReturn]) -> list[str]:
        """Start points as devices become free; if the sweep is stopped, stop them too."""
        shares = share_out(visible_gpus(), max(map(devices, points)), self.at_once)
        waiting, failed, alone = list(range(len(points))), [""] * len(points), len(shares) == 1
        names = name_points(points)
        running: dict[int, tuple[subprocess.Popen[bytes], Mapping[str, str]]] = {}
        before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        try:
            while waiting or running:
                while waiting and shares:
                    at, share = waiting.pop(0), shares.pop()
                    print(f"[{at + 1}/{len(points)}] {names[at]}", flush=True)
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
        """The command line of a point: the sweep's, with the point's own values in place of the swept ones."""
        hydra = self.config.hydra
        searched = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
        options = [f"--config-name={hydra.job.config_name}", *(f"--config-dir={path}" for path in searched)]
        hydra_overrides = [item for item in hydra.overrides.hydra if not OF_THE_SWEEP.match(item)]
        return [
            sys.executable,
            "-m",
            self.module,
            *options,
            *(point.overrides or ()),
            *hydra_overrides,
            "hydra.mode=RUN",
        ]


def end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Let points save and exit; on another Ctrl-C, which a terminal sends to them as well, kill the remaining ones."""
    try:
        sleep(0.5)  # Ctrl-C in a terminal reaches them without us
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
    except KeyboardInterrupt:
        for process in processes:
            process.kill()


def devices(point: JobReturn) -> int:
    """Devices of a point; ``sys.maxsize`` stands for all there are."""
    tasks = hydra_of(point).launcher.tasks_per_node
    if isinstance(tasks, int):
        return tasks if tasks > 0 else sys.maxsize
    return sys.maxsize if isinstance(tasks, str) else len(tasks)


def visible_gpus() -> list[str]:
    """Ids of the GPUs that this process may use; imports no torch and initializes none of them."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in visible.split(",") if name]
    if shutil.which("nvidia-smi") is None:
        return []
    listing = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False)
    return [str(number) for number, _ in enumerate(listing.stdout.splitlines())] if listing.returncode == 0 else []


def share_out(gpus: Sequence[str], each: int, at_once: int | None) -> list[Mapping[str, str]]:
    """Environment variables for each point that runs at the same time: GPUs of its own if there are enough."""
    fitting = len(gpus) // each
    if (at_once or fitting) <= 1:
        return [{}]
    if fitting < 2:
        return [{}] * (at_once or 1)
    groups = [",".join(gpus[at * each : (at + 1) * each]) for at in range(fitting)]
    return [{"CUDA_VISIBLE_DEVICES": groups[at % fitting]} for at in range(at_once or fitting)]


def start(command: list[str], share: Mapping[str, str], folder: Path | None) -> subprocess.Popen[bytes]:
    """Start a point, whose output goes to the terminal, or to a file in ``folder``."""
    if folder is None:
        return subprocess.Popen(command, env={**os.environ, **share})
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / CONSOLE, "wb") as file:
        return subprocess.Popen(command, env={**os.environ, **share}, stdout=file, stderr=subprocess.STDOUT)


def reason(code: int, folder: Path, alone: bool) -> str:
    """Return why a point failed; an empty string if it didn't."""
    if code == 0:
        return ""
    ending = f"exit code {code}" if code > 0 else f"killed by signal {-code}"
    if alone:
        return f"{ending}; see above"
    lines = (folder / CONSOLE).read_text(errors="replace").strip().splitlines() or ["no output"]
    return f"{ending}: {lines[-1]}; see {folder / CONSOLE}"
