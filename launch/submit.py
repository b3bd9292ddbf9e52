"""Submit one run: ``python -m launch experiment=…``. Imports no torch.

The run folder gets ``submitted.yaml`` (the resolved config, which the job trains on), ``code/`` (what it imports),
``job.json`` (its number and logs) and ``job/`` (submitit's files and logs). So edits after submitting change nothing.
"""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from time import time
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
from omegaconf import DictConfig, OmegaConf

from launch.job import SUBMITTED, Job
from launch.status import JOB, read_status
from mirage_pl.engine.cli import verb
from mirage_pl.engine.errors import one_line
from mirage_pl.engine.place import CONF, PACKAGE, own_modules
from mirage_pl.engine.runs.entry import open_run
from mirage_pl.engine.runs.folder import CONFIG, last_checkpoint, write_json
from mirage_pl.engine.runs.lock import owned
from mirage_pl.engine.runs.starts import find_starts
from mirage_pl.engine.training.checks import check_config, describe_end, finished_metrics

CODE = ("mirage_pl", "data_modules", "callbacks", "launch", "hydra_plugins")
SHARED = {field.name for field in fields(BaseQueueConf)}
"""Keys that submitit knows for every cluster; it wants the others as, say, ``slurm_partition``."""
OURS = {"_target_", "submit", "submitit_folder", "module", "at_once"}
"""Keys that aren't submitit's."""


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
    check_tasks(cfg, launcher)
    check_cluster(cfg, launcher, cluster)
    if (job := prepare(cfg)) is None:
        return {}
    folder = Path(job.run_dir)
    copy_code(folder / "code")
    (submitted,) = hand_over([job], launcher, cluster, folder / "job", folder / "code")
    facts = note(submitted, folder, cluster)
    print(f"job:        {submitted.job_id} ({cluster})")
    print(f"log:        {facts['stdout']}")
    print(f"follow:     tail -F {facts['stdout']} {facts['stderr']}   or   python -m launch status {cfg.run_dir}")
    print(f"cancel:     {'scancel' if cluster == 'slurm' else 'kill'} {submitted.job_id}")
    print(f"run folder: {cfg.run_dir}")
    return facts


def prepare(cfg: DictConfig) -> Job | None:
    """Check a run, and put it in its folder.

    Returns:
        Its job; ``None`` if nothing is left to do.

    Raises:
        ValueError: a mistake in the config, or a run that is going on.
    """
    check_config(cfg)
    folder = Path(cfg.run_dir).absolute()
    check_free(folder)
    open_run(cfg, {} if last_checkpoint(folder) else find_starts(cfg))
    if cfg.evaluate is None and (done := finished_metrics(cfg, folder)):
        print(describe_end(cfg, done, folder))
        return None
    hydra = {"run": {"dir": str(folder)}, "job": {"name": "train"}}
    content = {**OmegaConf.to_container(cfg, resolve=True), "hydra": hydra}  # type: ignore[dict-item]
    OmegaConf.save(content, folder / f"{SUBMITTED}.yaml")
    return Job(str(folder), os.getcwd())


def note(job: Any, folder: Path, cluster: str) -> dict[str, Any]:
    """Write down in a run folder which job makes it, and where that logs."""
    paths = job.paths
    facts = {"job_id": str(job.job_id), "cluster": cluster, "submitted": time(), "log_folder": str(paths.folder)}
    facts |= {"stdout": str(paths.stdout), "stderr": str(paths.stderr)}
    write_json(folder / JOB, facts)
    return facts


def check_cluster(cfg: DictConfig, launcher: Mapping[str, Any], cluster: str) -> None:
    """Refuse a job for a cluster that isn't there.

    Raises:
        ValueError: names the key.
    """
    if cluster == "slurm":
        check_slurm(launcher["partition"])
    elif cluster != "local":
        raise ValueError(f"hydra/launcher is {cluster}; choose hydra/launcher=slurm or hydra/launcher=local")
    elif cfg.trainer.devices != 1 or cfg.trainer.num_nodes != 1:
        raise ValueError(
            f"hydra/launcher=local starts one process, and trainer.devices={cfg.trainer.devices} and "
            f"trainer.num_nodes={cfg.trainer.num_nodes} want more; start it with python -m mirage_pl.train"
        )


def check_tasks(cfg: DictConfig, launcher: Mapping[str, Any]) -> None:
    """Refuse a job whose processes wouldn't be those that Lightning expects.

    Raises:
        ValueError: names the key.
    """
    for theirs, ours in {"nodes": "num_nodes", "tasks_per_node": "devices"}.items():
        if launcher.get(theirs, cfg.trainer[ours]) != cfg.trainer[ours]:
            raise ValueError(
                f"hydra.launcher.{theirs}={launcher[theirs]} but trainer.{ours}={cfg.trainer[ours]}; "
                f"set trainer.{ours} alone, the launcher follows it"
            )


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
    if status.state in ("queued", "starting"):
        raise ValueError(
            f"run_dir={folder} is {status.state} as job {status.job}; cancel that first, or wait for its end"
        )
    with owned(folder):
        pass


def copy_code(target: Path) -> None:
    """Put a copy of what a run imports into its folder, in place of an earlier one; a user's own modules, too."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for path in own_modules():
        if path.is_dir():
            shutil.copytree(path, target / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(path, target)
    for folder in [*(PACKAGE.parent / name for name in CODE), CONF]:  # an installation has conf/ in a package
        if not (target / folder.relative_to(PACKAGE.parent)).exists():
            shutil.copytree(
                folder, target / folder.relative_to(PACKAGE.parent), ignore=shutil.ignore_patterns("__pycache__")
            )


def hand_over(jobs: Sequence[Job], launcher: Mapping[str, Any], cluster: str, logs: Path, code: Path) -> list[Any]:
    """Give jobs to submitit, several as an array.

    Processes look for code in the copy first, and never in the directory they are started in.

    Args:
        jobs: that ask for the same.
        launcher: what they ask for.
        cluster: ``slurm`` or ``local``.
        logs: where submitit's files go.
        code: the copy.

    Raises:
        ValueError: they were refused.
    """
    import submitit

    sources = os.pathsep.join([str(code), *filter(None, [os.environ.get("PYTHONPATH")])])
    python = shlex.join(["env", "PYTHONSAFEPATH=1", f"PYTHONPATH={sources}", sys.executable])
    made = {"python": python, "max_num_timeout": launcher.get("max_num_timeout", 3)}
    executor = submitit.AutoExecutor(
        logs, cluster=cluster, **{f"{cluster}_{key}": value for key, value in made.items()}
    )
    given = {key: value for key, value in launcher.items() if key not in {*OURS, *made} and value is not None}
    executor.update_parameters(**{key if key in SHARED else f"{cluster}_{key}": v for key, v in given.items()})
    try:
        return executor.submit_array(jobs) if len(jobs) > 1 else [executor.submit(jobs[0])]
    except submitit.core.utils.FailedJobError as error:
        raise ValueError(f"sbatch refused the job: {one_line(error)}") from error


main = verb("launch", "launch.submit.run")
