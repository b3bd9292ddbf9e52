"""Loggers that continue where an interrupted run stopped logging, one for each run folder."""

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
    """``metrics.csv`` in a folder of the run's, a line for each logging call.

    Args:
        folder: of the file; pictures and tables go beside it.
    """

    def __init__(self, folder: str) -> None:
        super().__init__(folder, name="", version="", flush_logs_every_n_steps=1)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The writer of the file."""
        if self._experiment is None:
            self._experiment = Lines(self.log_dir)
        return self._experiment


class Lines(ExperimentWriter):
    """Appends to an existing file, which Lightning's writer deletes."""

    def _check_log_dir_exists(self) -> None:
        if Path(self.metrics_file_path).is_file():
            with open(self.metrics_file_path, newline="") as file:
                self.metrics_keys = next(csv.reader(file), [])


def wandb(folder: str, offline: bool, **options: Any) -> WandbLogger:
    """Weights & Biases, with one W&B run for each run folder.

    Args:
        folder: where wandb keeps its files.
        offline: write to ``folder`` only, to be sent later with ``wandb sync``.
        options: of ``wandb.init``.

    Raises:
        ValueError: the package or an API key is missing.
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
    """MLflow, with one MLflow run for each run folder.

    Args:
        folder: the run folder, where the id of the MLflow run is kept.
        tracking_uri: MLflow's store of all runs.
        artifacts: MLflow's store of pictures and tables; ``None``: the server's default.
        experiment_name: MLflow's experiment.
        run_name: name of the run in MLflow.

    Raises:
        ValueError: the package is missing.
    """
    need("mlflow")
    Path(folder).mkdir(parents=True, exist_ok=True)
    import mlflow as theirs  # noqa: F401  sets up the loggers that are quietened below

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it reports a new database
    logging.getLogger("pytorch_lightning.loggers.mlflow").setLevel(logging.ERROR)  # it warns about a new experiment
    id_file = Path(folder, REMEMBERED)
    run_id = id_file.read_text().strip() if id_file.is_file() else None
    place = None if artifacts is None else Path(artifacts).absolute().as_uri()
    logger = Continued(experiment_name, run_name, tracking_uri, run_id=run_id, artifact_location=place)
    logger.folder = Path(folder)
    return logger


class Continued(MLFlowLogger):
    """Keeps the id of its MLflow run in the run folder."""

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
    """Return the id that a run folder has kept of its run elsewhere; without one keep and return the new id."""
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
