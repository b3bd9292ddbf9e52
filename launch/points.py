"""Submit the points of a sweep to SLURM, for ``hydra/launcher=slurm``. Imports no torch.

Each run folder gets what one submitted by itself has, but for the code and submitit's files: all points share these.
"""

import shutil
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from omegaconf import DictConfig

from launch.job import Job
from launch.submit import check_slurm, check_tasks, copy_code, hand_over, note, prepare
from mirage_pl.engine.errors import one_line


def submit(cfgs: Sequence[DictConfig], launchers: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Submit points, those that ask for the same in one array.

    Args:
        cfgs: of each point its config.
        launchers: of each point ``hydra.launcher``.

    Returns:
        Of each point submitit's job; why there is none, if it can't be; ``None`` if it has nothing left to do.

    Raises:
        ValueError: no job can be submitted here.
    """
    for partition in {launcher["partition"] for launcher in launchers}:
        check_slurm(partition)
    handed: list[Any] = [make_ready(cfg, launcher) for cfg, launcher in zip(cfgs, launchers, strict=True)]
    arrays: dict[str, list[int]] = {}
    for at, job in enumerate(handed):
        if isinstance(job, Job):
            arrays.setdefault(repr(sorted(launchers[at].items())), []).append(at)
    for places in arrays.values():
        jobs = submit_array([handed[at] for at in places], launchers[places[0]])
        for at, job in zip(places, jobs, strict=True):
            handed[at] = job
    return handed


def make_ready(cfg: DictConfig, launcher: Mapping[str, Any]) -> Job | str | None:
    """Check a point and put it in its folder; as words, why it can't be made; ``None`` if nothing is left to do."""
    try:
        check_tasks(cfg, launcher)
        return prepare(cfg)
    except ValueError as error:
        return one_line(error)


def submit_array(jobs: Sequence[Job], launcher: Mapping[str, Any]) -> list[Any]:
    """Submit jobs that ask for the same; in place of each job of submitit's why there is none, if they are refused."""
    logs = Path(launcher["submitit_folder"]).absolute()
    try:
        made = hand_over(jobs, launcher, "slurm", logs, keep_code(logs.parent))
    except ValueError as error:
        return [one_line(error)] * len(jobs)
    for job, submitted in zip(jobs, made, strict=True):
        note(submitted, Path(job.run_dir), "slurm")
    return made


def keep_code(folder: Path) -> Path:
    """Keep a copy of what runs import in a folder, named by what it holds, so that it is there once and never changed.

    Returns:
        The copy.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fresh = Path(mkdtemp(prefix="code-", suffix=".partial", dir=folder))
    copy_code(fresh)
    digest = sha256()
    for file in sorted(file for file in fresh.rglob("*") if file.is_file()):
        digest.update(str(file.relative_to(fresh)).encode() + b"\0" + file.read_bytes() + b"\0")
    kept = folder / f"code-{digest.hexdigest()[:12]}"
    if kept.exists():
        shutil.rmtree(fresh)
    else:
        fresh.rename(kept)
    return kept
