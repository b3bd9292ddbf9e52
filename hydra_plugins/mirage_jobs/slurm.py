"""Run the points of a sweep as SLURM jobs through submitit."""

import subprocess
from collections.abc import Sequence
from time import sleep
from typing import Any

from hydra.core.utils import JobReturn
from hydra.utils import get_method

from hydra_plugins.mirage_jobs import Jobs, name_points, resolved

ABSENCES = 3
"""Times that a job without a result is missing in SLURM's queue before it counts as dead."""


class Slurm(Jobs):
    """Submit all points and wait for them. The jobs continue if this process ends.

    Args:
        submit: dotted path of a function that takes the points' configs and their launchers' keys, and returns for each
            point submitit's job, the reason why there is none, or ``None`` if nothing is left to do.
        keys: of a job; not used here, as each point has its own.
    """

    def __init__(self, submit: str, **keys: Any) -> None:
        self.submit = get_method(submit)

    def make(self, points: Sequence[JobReturn]) -> list[str]:
        """Submit, print how to follow and cancel the jobs, and wait."""
        try:
            handed = self.submit(*zip(*map(resolved, points), strict=True))
        except ValueError as error:
            raise SystemExit(f"error: {error}") from None
        jobs = [job for job in handed if job is not None and not isinstance(job, str)]
        for name, job in zip(name_points(points), handed, strict=True):
            if job in jobs:
                print(f"job {job.job_id}: {name}; log: {job.paths.stderr}", flush=True)
        if jobs:
            arrays = ",".join(sorted({array_of(job) for job in jobs}))
            print(f"follow: squeue --array --jobs={arrays}   cancel: scancel {arrays.replace(',', ' ')}", flush=True)
            print("the jobs go on without this command", flush=True)
            wait(jobs)
        return [reason(job) if job in jobs else job or "" for job in handed]


def array_of(job: Any) -> str:
    """Number of a job's array, or of the job itself."""
    return str(job.job_id).split("_")[0]


def wait(jobs: Sequence[Any], every: float = 5.0) -> None:
    """Wait until every job has a result, or has left SLURM's queue. Needs no accounting."""
    absences = dict.fromkeys(jobs, 0)
    while absences:
        sleep(every)
        arrays = ",".join(sorted({array_of(job) for job in absences}))
        command = ["squeue", "--noheader", "--array", "--format=%i", f"--jobs={arrays}"]
        queue = subprocess.run(command, capture_output=True, text=True, check=False)
        answered = queue.returncode == 0 or "Invalid job id" in queue.stderr
        for job in list(absences):
            absences[job] += answered and str(job.job_id) not in queue.stdout.split()
            if job.paths.result_pickle.is_file() or absences[job] >= ABSENCES:
                del absences[job]


def reason(job: Any) -> str:
    """Return why a job failed; an empty string if it didn't."""
    log = job.paths.stderr
    if job.paths.result_pickle.is_file():
        import submitit

        try:
            job.task(0).result()
            return ""
        except (submitit.core.utils.FailedJobError, submitit.core.utils.UncompletedJobError):
            pass
    lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
    candidates = ([line for line in lines if line.startswith(start)] for start in ("error: ", "srun: error: ", ""))
    last = next((errors[-1] for errors in candidates if errors), "ended without a word")
    return f"{last}; see {log}"
