"""Loggers that go on where an interrupted run's left off, one a run folder."""

import csv
import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

from lightning_fabric.loggers.logger import rank_zero_experiment
from pytorch_lightning.loggers import CSVLogger, MLFlowLogger, WandbLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter


class CSV(CSVLogger):
    """``metrics.csv`` in a folder of the run's, a line for each time that something is logged.

    Args:
        folder: where it goes; pictures and tables go beside.
    """

    def __init__(self, folder: str) -> None:
        super().__init__(folder, name="", version="", flush_logs_every_n_steps=1)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """What writes the file."""
        if self._experiment is None:
            self._experiment = Lines(self.log_dir)
        return self._experiment


class Lines(ExperimentWriter):
    """Appends to the lines that are there; Lightning's deletes them."""

    def _check_log_dir_exists(self) -> None:
        if Path(self.metrics_file_path).is_file():
            with open(self.metrics_file_path, newline="") as file:
                self.metrics_keys = next(csv.reader(file), [])


def wandb(folder: str, offline: bool, **options: Any) -> WandbLogger:
    """Weights & Biases: a run of theirs for each run folder.

    Args:
        folder: where wandb keeps its files.
        offline: write to ``folder`` alone, for ``wandb sync`` to send later.
        options: of ``wandb.init``.

    Raises:
        ValueError: the package is missing, or there is nobody to log in as.
    """
    need("wandb")
    import wandb as theirs

    if not offline and theirs.Settings().mode not in ("offline", "disabled") and not theirs.api.api_key:
        raise ValueError(
            "logger=wandb has no API key; run wandb login, or set WANDB_API_KEY, or log to the run folder alone with "
            "logger.wandb.offline=true"
        )
    Path(folder).mkdir(parents=True, exist_ok=True)
    resume = None if offline else "allow"
    return WandbLogger(
        save_dir=folder, id=remember(Path(folder), uuid4().hex), offline=offline, resume=resume, **options
    )


def mlflow(folder: str, tracking_uri: str, artifacts: str | None, experiment_name: str, run_name: str) -> MLFlowLogger:
    """MLflow: a run of theirs for each run folder.

    Args:
        folder: where it is noted which run that is.
        tracking_uri: where MLflow keeps all runs.
        artifacts: where it keeps their pictures and tables; ``None``: where a server wants them.
        experiment_name: what they are listed under.
        run_name: this one's.

    Raises:
        ValueError: the package is missing.
    """
    need("mlflow")
    Path(folder).mkdir(parents=True, exist_ok=True)
    import mlflow as theirs  # noqa: F401  sets up its loggers

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # a new database is news to it
    logging.getLogger("pytorch_lightning.loggers.mlflow").setLevel(logging.ERROR)  # and a new experiment a warning
    known = Path(folder, REMEMBERED)
    run_id = known.read_text().strip() if known.is_file() else None
    place = None if artifacts is None else Path(artifacts).absolute().as_uri()
    logger = Continued(experiment_name, run_name, tracking_uri, run_id=run_id, artifact_location=place)
    logger.folder = Path(folder)
    return logger


class Continued(MLFlowLogger):
    """Notes in the run folder which run of MLflow's it made."""

    folder: Path

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """MLflow's client."""
        client = super().experiment
        remember(self.folder, str(self._run_id))
        return client


REMEMBERED = "run-id"


def remember(folder: Path, new: str) -> str:
    """The identity of a run folder's run elsewhere: what is noted there, or a new one, which is noted."""
    file = folder / REMEMBERED
    try:
        with file.open("x") as written:
            written.write(new)
    except FileExistsError:
        return file.read_text().strip()
    return new


def need(package: str) -> None:
    """Refuse a logger whose package isn't installed.

    Raises:
        ValueError: says how to install it.
    """
    if find_spec(package) is None:
        raise ValueError(
            f"logger={package} needs the package {package}, which isn't installed; pip install 'mirage_pl[{package}]'"
        )
