"""The points of a sweep as an array of SLURM jobs through submitit."""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import fields
from time import sleep
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher

from hydra_plugins.mirage_jobs import Jobs, hydra_of, names

ABSENCES = 3
"""Looks at SLURM's queue after which a job that isn't in it, and left no result, counts as dead."""


class Slurm(Jobs, SlurmLauncher):
    """Submit the points as one array and wait for all of them. Jobs go on if the waiting is ended.

    Args:
        params: submitit's keys; other than its own launcher's, ``srun_args`` too.
    """

    def __init__(self, **params: Any) -> None:
        SlurmLauncher.__init__(self, **params)

    def __call__(self, *point: Any) -> JobReturn:
        """On a node: make a point; one that fails ends the job with an error, so that SLURM knows it."""
        try:
            ended: JobReturn = SlurmLauncher.__call__(self, *point)
        except SystemExit as end:
            if end.code == 1:
                raise RuntimeError("the run ended with the error above") from None
            raise
        _ = ended.return_value  # raises the error of a point that had one
        return ended

    def make(self, points: Sequence[JobReturn]) -> list[str]:
        """Submit, say how to follow and cancel, and wait."""
        jobs = self.submit(points)
        array = str(jobs[0].job_id).split("_")[0]
        for name, job in zip(names(points), jobs, strict=True):
            print(f"job {job.job_id}: {name}; log: {job.paths.stderr}", flush=True)
        print(
            f"follow: squeue --array --jobs={array}   cancel: scancel {array}   the jobs go on without this", flush=True
        )
        wait(jobs, array)
        return [reason(job) for job in jobs]

    def submit(self, points: Sequence[JobReturn]) -> list[Any]:
        """Hand the points over, in one array."""
        import submitit

        if shutil.which("srun") is None:
            raise SystemExit(
                "error: no SLURM here: srun is not on the PATH; sweep on a login node, or without hydra/launcher=slurm"
            )
        own = {"submitit_folder", "max_num_timeout"}
        shared = {field.name for field in fields(BaseQueueConf)}
        given = {key: value for key, value in self.params.items() if key not in own and value is not None}
        folder, retries = self.params["submitit_folder"], self.params["max_num_timeout"]
        executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=retries)
        executor.update_parameters(**{key if key in shared else f"slurm_{key}": value for key, value in given.items()})
        numbers = [hydra_of(point).job.num for point in points]
        state = Singleton.get_state()
        calls = [
            (point.overrides, "hydra.sweep.dir", at, str(at), state) for point, at in zip(points, numbers, strict=True)
        ]
        try:
            return list(executor.map_array(self, *zip(*calls, strict=True)))
        except submitit.core.utils.FailedJobError as error:
            raise SystemExit(f"error: sbatch refused the jobs: {' '.join(str(error).split())}") from None


def wait(jobs: Sequence[Any], array: str, every: float = 5.0) -> None:
    """Wait until every job has left a result, or is gone from SLURM's queue. Accounting isn't needed."""
    absences = dict.fromkeys(jobs, 0)
    while absences:
        sleep(every)
        asked = ["squeue", "--noheader", "--array", "--format=%i", f"--jobs={array}"]
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
