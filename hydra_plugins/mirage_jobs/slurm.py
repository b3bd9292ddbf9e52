"""The points of a sweep as SLURM jobs through submitit."""

import subprocess
from collections.abc import Sequence
from time import sleep
from typing import Any

from hydra.core.utils import JobReturn
from hydra.utils import get_method

from hydra_plugins.mirage_jobs import Jobs, names, resolved

ABSENCES = 3
"""Looks at SLURM's queue after which a job that isn't in it, and left no result, counts as dead."""


class Slurm(Jobs):
    """Submit all points and wait for them. Jobs go on if the waiting is ended.

    Args:
        submit: dotted path of what submits: takes the points' configs and their launchers' keys, and returns of each
            point submitit's job, why there is none, or ``None``.
        keys: that a job has; each point has its own.
    """

    def __init__(self, submit: str, **keys: Any) -> None:
        self.submit = get_method(submit)

    def make(self, points: Sequence[JobReturn]) -> list[str]:
        """Submit, say how to follow and cancel, and wait."""
        try:
            handed = self.submit(*zip(*map(resolved, points), strict=True))
        except ValueError as error:
            raise SystemExit(f"error: {error}") from None
        jobs = [job for job in handed if job is not None and not isinstance(job, str)]
        for name, job in zip(names(points), handed, strict=True):
            if job in jobs:
                print(f"job {job.job_id}: {name}; log: {job.paths.stderr}", flush=True)
        if jobs:
            arrays = ",".join(sorted({array_of(job) for job in jobs}))
            print(f"follow: squeue --array --jobs={arrays}   cancel: scancel {arrays.replace(',', ' ')}", flush=True)
            print("the jobs go on without this command", flush=True)
            wait(jobs)
        return [reason(job) if job in jobs else job or "" for job in handed]


def array_of(job: Any) -> str:
    """Number of the array that a job is in, or its own."""
    return str(job.job_id).split("_")[0]


def wait(jobs: Sequence[Any], every: float = 5.0) -> None:
    """Wait until every job has left a result, or is gone from SLURM's queue. Accounting isn't needed."""
    absences = dict.fromkeys(jobs, 0)
    while absences:
        sleep(every)
        arrays = ",".join(sorted({array_of(job) for job in absences}))
        asked = ["squeue", "--noheader", "--array", "--format=%i", f"--jobs={arrays}"]
        queue = subprocess.run(asked, capture_output=True, text=True, check=False)
        answered = queue.returncode == 0 or "Invalid job id" in queue.stderr
        for job in list(absences):
            absences[job] += answered and str(job.job_id) not in queue.stdout.split()
            if job.paths.result_pickle.is_file() or absences[job] >= ABSENCES:
                del absences[job]


def reason(job: Any) -> str:
    """Why a job failed; an empty word if it didn't."""
    log = job.paths.stderr
    if job.paths.result_pickle.is_file():
        import submitit

        try:
            job.task(0).result()
            return ""
        except (submitit.core.utils.FailedJobError, submitit.core.utils.UncompletedJobError):
            pass
    lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
    told = ([line for line in lines if line.startswith(start)] for start in ("error: ", "srun: error: ", ""))
    said = next((found[-1] for found in told if found), "ended without a word")
    return f"{said}; see {log}"
