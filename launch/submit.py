"""Submit one run: ``python -m launch experiment=…``. Imports no torch.

The run folder gets ``submitted.yaml`` (the resolved config, which the job trains on), ``code/`` (what it imports),
``job.json`` (its number and logs) and ``job/`` (submitit's files and logs). So edits after submitting change nothing.
"""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from time import time
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from launch.job import SUBMITTED, Job
from launch.status import JOB, read_status
from mirage_pl.cli import REPO, one_line, verb
from mirage_pl.runs import CONFIG, find_previous, last_checkpoint, open_run, write_json
from mirage_pl.train import check, finished_metrics

CODE = ("mirage_pl", "data_modules", "callbacks", "launch", "hydra_plugins", "conf")
SHARED = {
    "name",
    "nodes",
    "tasks_per_node",
    "gpus_per_node",
    "cpus_per_task",
    "mem_gb",
    "timeout_min",
    "stderr_to_stdout",
}
"""Keys that submitit knows for every cluster; it wants the others as, say, ``slurm_partition``."""


def run(cfg: DictConfig) -> dict[str, Any]:
    """Submit the run with the launcher that ``hydra/launcher`` chose.

    Raises:
        ValueError: a mistake in the config, or the job can't be submitted here.
    """
    return submit(cfg, OmegaConf.to_container(HydraConfig.get().launcher, resolve=True))  # type: ignore[arg-type]


def submit(cfg: DictConfig, launcher: Mapping[str, Any]) -> dict[str, Any]:
    """Check a run and its job, put both in the run folder, submit, and say where to look.

    Args:
        cfg: the run's config.
        launcher: ``hydra.launcher``.

    Returns:
        What ``job.json`` holds; empty if the run has nothing left to do.

    Raises:
        ValueError: a mistake in the config, a run that is going on, or a job that can't be submitted here.
    """
    cluster = str(launcher["_target_"]).rsplit(".", 1)[-1].removesuffix("Launcher").lower()
    check(cfg)
    check_tasks(cfg, launcher, cluster)
    folder = Path(cfg.run_dir).absolute()
    check_free(folder)
    start = None if last_checkpoint(folder) else cfg.init_from or (cfg.stage.follows and find_previous(cfg)) or None
    open_run(cfg, start)
    if done := finished_metrics(cfg, folder):
        print(f"finished at step {done['step']}; to go on raise trainer.max_steps with run_dir={folder}")
        return {}
    hydra = {"run": {"dir": str(folder)}, "job": {"name": "train"}}
    content = {**OmegaConf.to_container(cfg, resolve=True), "hydra": hydra}  # type: ignore[dict-item]
    OmegaConf.save(content, folder / f"{SUBMITTED}.yaml")
    copy_code(folder / "code")
    job = hand_over(Job(str(folder), os.getcwd()), launcher, cluster)
    paths, number = job.paths, str(job.job_id)
    facts = {"job_id": number, "cluster": cluster, "submitted": time(), "log_folder": str(paths.folder)}
    facts |= {"stdout": str(paths.stdout), "stderr": str(paths.stderr)}
    write_json(folder / JOB, facts)
    print(f"job:        {number} ({cluster})")
    print(f"log:        {paths.stdout}")
    print(f"follow:     tail -F {paths.stdout} {paths.stderr}   or   python -m launch status {cfg.run_dir}")
    print(f"cancel:     {'scancel' if cluster == 'slurm' else 'kill'} {number}")
    print(f"run folder: {cfg.run_dir}")
    return facts


def check_tasks(cfg: DictConfig, launcher: Mapping[str, Any], cluster: str) -> None:
    """Refuse a job whose processes wouldn't be those that Lightning expects, and one for a cluster that isn't there.

    Raises:
        ValueError: names the key.
    """
    if cluster not in ("slurm", "local"):
        raise ValueError(f"hydra/launcher is {cluster}; choose hydra/launcher=slurm or hydra/launcher=local")
    pairs = {"nodes": "num_nodes", "tasks_per_node": "devices"}
    if cluster == "local":
        if all(cfg.trainer[key] == 1 for key in pairs.values()):
            return
        raise ValueError(
            f"hydra/launcher=local starts one process, and trainer.devices={cfg.trainer.devices} and "
            f"trainer.num_nodes={cfg.trainer.num_nodes} want more; start it with python -m mirage_pl.train"
        )
    for theirs, ours in pairs.items():
        if launcher[theirs] != cfg.trainer[ours]:
            raise ValueError(
                f"hydra.launcher.{theirs}={launcher[theirs]} but trainer.{ours}={cfg.trainer[ours]}; "
                f"set trainer.{ours} alone, the launcher follows it"
            )
    check_slurm(launcher.get("partition"))


def check_slurm(partition: str | None) -> None:
    """Refuse where there is no SLURM, or not that partition.

    Args:
        partition: one, or several with commas between; ``None`` for the default.

    Raises:
        ValueError: says what there is.
    """
    if missing := [name for name in ("sbatch", "srun", "sinfo") if shutil.which(name) is None]:
        raise ValueError(
            f"no SLURM here: {' and '.join(missing)} not on the PATH; submit from a login node, or run it on this "
            "machine with hydra/launcher=local"
        )
    asked = subprocess.run(["sinfo", "--noheader", "--format=%R"], capture_output=True, text=True, check=False)
    if asked.returncode:
        raise ValueError(f"SLURM does not answer: {asked.stderr.strip()}; ask its administrators")
    known = sorted(set(asked.stdout.split()))
    if unknown := [name for name in (partition or "").split(",") if name and name not in known]:
        raise ValueError(f"hydra.launcher.partition={unknown[0]} does not exist; choose one of {', '.join(known)}")


def check_free(folder: Path) -> None:
    """Refuse to submit a run that is going on.

    Raises:
        ValueError: says where.
    """
    if not (folder / CONFIG).is_file():
        return
    status = read_status(folder)
    if status.state in ("queued", "starting") or (status.state == "running" and status.node):
        where = f"on {status.node}" if status.node else f"as job {status.job}"
        raise ValueError(f"run_dir={folder} is {status.state} {where}; cancel that first, or wait for its end")


def copy_code(target: Path) -> None:
    """Put a copy of what a run imports into its folder, in place of an earlier one."""
    shutil.rmtree(target, ignore_errors=True)
    for name in CODE:
        shutil.copytree(REPO / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))


def hand_over(job: Job, launcher: Mapping[str, Any], cluster: str) -> Any:
    """Give a job to submitit.

    Processes look for code in the copy first, and never in the directory they are started in.

    Raises:
        ValueError: it was refused.
    """
    import submitit

    folder = Path(job.run_dir)
    sources = os.pathsep.join([str(folder / "code"), *filter(None, [os.environ.get("PYTHONPATH")])])
    python = shlex.join(["env", "PYTHONSAFEPATH=1", f"PYTHONPATH={sources}", sys.executable])
    made = {"python": python, "max_num_timeout": launcher.get("max_num_timeout", 3)}
    executor = submitit.AutoExecutor(
        folder / "job", cluster=cluster, **{f"{cluster}_{key}": value for key, value in made.items()}
    )
    skipped = {"_target_", "submitit_folder", "array_parallelism", "module", "at_once", *made}
    given = {key: value for key, value in launcher.items() if key not in skipped and value is not None}
    executor.update_parameters(**{key if key in SHARED else f"{cluster}_{key}": v for key, v in given.items()})
    try:
        return executor.submit(job)
    except submitit.core.utils.FailedJobError as error:
        raise ValueError(f"sbatch refused the job: {one_line(error)}") from error


main = verb("launch")(run)
