"""One writer for a run folder: the process that trains in it. Imports no torch.

``run.lock`` names that process and is locked by the operating system while it lives. Some file systems don't lock
across nodes; there the file's content counts, unless SLURM says that the job has ended, or, for a process without a
job, the folder hasn't changed for ``QUIET`` seconds.
"""

import errno
import fcntl
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import time
from typing import Any

from mirage_pl.engine.runs.folder import first_process

LOCK = "run.lock"
SIGNS = (LOCK, "status.json", "train.log")
QUIET = 600.0
"""Seconds without a sign of life after which a process on another node counts as gone."""


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Hold the run's lock; the other processes of the same run enter with the first one.

    The lock is released when its process dies. A SLURM job that was requeued is still the same owner.

    Raises:
        ValueError: another process holds it; names its node and number.
    """
    if not first_process():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK, "a+") as file:
        owner = read_owner(folder)
        if not lock_file(file.fileno(), owner) or lives_elsewhere(owner, folder):
            raise ValueError(describe_owner(folder, owner))
        file.truncate(0)
        file.write(json.dumps(describe_process(), allow_nan=False))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def describe_process() -> dict[str, Any]:
    """Node, number and SLURM job of this process."""
    return {"node": socket.gethostname(), "pid": os.getpid(), "job": slurm_job()}


def slurm_job() -> str | None:
    """This process's SLURM job; ``ARRAY_TASK`` for a job of an array."""
    array, place = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{place}" if array and place else os.environ.get("SLURM_JOB_ID")


def read_owner(folder: Path) -> dict[str, Any]:
    """The owner that the lock names; empty if there is none, or the file is damaged."""
    try:
        owner = json.loads((folder / LOCK).read_text() or "{}")
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}


def lock_file(number: int, owner: dict[str, Any]) -> bool:
    """Lock an open file; where the file system can't, succeed unless the owner lives on this node."""
    try:
        fcntl.lockf(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        return not (owner.get("node") == socket.gethostname() and process_lives(owner["pid"]))
    return True


def lives_elsewhere(owner: dict[str, Any], folder: Path) -> bool:
    """Whether the owner seems to run on another node."""
    if not owner or owner["node"] == socket.gethostname() or (owner["job"] and owner["job"] == slurm_job()):
        return False
    state = job_state(owner["job"]) if owner["job"] else None
    if state is not None:
        return state[0] not in ("", "PENDING")
    signs = [(folder / name).stat().st_mtime for name in SIGNS if (folder / name).is_file()]
    return time() - max(signs) < QUIET


def describe_owner(folder: Path, owner: dict[str, Any]) -> str:
    """Say which process holds the run, and what to do."""
    if not owner:
        return f"run_dir={folder} is being trained by another process; wait for its end, or choose another run_dir"
    job = f" (SLURM job {owner['job']})" if owner["job"] else ""
    end = f"scancel {owner['job']}" if owner["job"] else f"kill {owner['pid']} there"
    return (
        f"run_dir={folder} is being trained by process {owner['pid']} on {owner['node']}{job}; wait for its end, or "
        f"end it with {end}, or choose another run_dir; if that process is gone, delete {folder / LOCK}"
    )


def process_lives(number: int) -> bool:
    """Whether this machine has a process of that number."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's, so it is there
        return True
    return True


def job_state(job: str) -> tuple[str, str] | None:
    """State of a SLURM job, as ``RUNNING``, and why it waits.

    Returns:
        Two empty words if SLURM's queue doesn't have it, ``None`` if SLURM can't be asked.
    """
    if shutil.which("squeue") is None:
        return None
    command = ["squeue", "--noheader", "--array", "--format=%T %r", f"--jobs={job}"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode and "Invalid job id" not in answer.stderr:
        return None
    state, _, reason = answer.stdout.partition("\n")[0].partition(" ")
    return state, reason
