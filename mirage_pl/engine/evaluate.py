"""Score a checkpoint and write its page: ``python -m mirage_pl.evaluate ckpt=RUN``, and what ``train`` ends with."""

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError

from mirage_pl.engine.cli import compose
from mirage_pl.engine.evaluation import scoring
from mirage_pl.engine.evaluation.setup import complete_config, find_kind
from mirage_pl.engine.keys import check_keys
from mirage_pl.engine.mistakes import explain_key, list_keys
from mirage_pl.engine.reports.evaluation import write_report
from mirage_pl.engine.runs.folder import METRICS


def run(cfg: DictConfig) -> dict[str, Any]:
    """Score a checkpoint and write its report; see :func:`mirage_pl.engine.evaluation.scoring.run`."""
    return scoring.run(cfg, write_report)


def compose_evaluation(training: DictConfig, folder: Path) -> DictConfig:
    """Compose the evaluation that a run asks for by ``evaluate``.

    Raises:
        ValueError: a key that ``conf/evaluate.yaml`` doesn't have, or a value that it can't have.
    """
    cfg = compose("evaluate", [f"evaluation={find_kind(training)}"])
    cfg.ckpt = str(folder)
    OmegaConf.set_struct(cfg, True)
    try:
        cfg.merge_with(training.evaluate)
    except ConfigKeyError as error:
        key = f"evaluate.{error.full_key}"
        raise ValueError(explain_key(key, "", [*list_keys(cfg, "evaluate.")])) from None
    check_keys(cfg, "evaluate", within="evaluate")
    return cfg


def evaluate_run(training: DictConfig, folder: Path) -> None:
    """Score a run that has just ended on its own task, unless it has been scored at this step.

    Args:
        training: the run's config; its ``evaluate`` holds values of ``conf/evaluate.yaml``.
        folder: the run folder.

    Raises:
        ValueError: a key that ``conf/evaluate.yaml`` doesn't have.
    """
    cfg = compose_evaluation(training, folder)
    label = complete_config(cfg, training, folder).label
    file = folder / "evaluation" / label / METRICS
    earlier = json.loads(file.read_text()) if file.is_file() else {}
    if not (earlier.get("finished") and earlier["steps"] == json.loads((folder / METRICS).read_text())["step"]):
        run(cfg)
