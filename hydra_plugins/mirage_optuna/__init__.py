"""Hydra's Optuna sweeper over our launchers, which tell what points came to. (Hydra takes sweepers from here alone.)

Trials are not kept: with the same seed Optuna proposes the same points, and those that are done aren't made again.
"""

import logging
from collections.abc import Mapping
from typing import Any

from hydra.plugins.sweeper import Sweeper
from omegaconf import OmegaConf


class Optuna(Sweeper):
    """Choose the points of a sweep one after another, by what those before came to.

    Args:
        objective: key of a run's ``metrics.json``; the launchers read it.
        sampler: options of Optuna's ``TPESampler``.
        options: of ``hydra-optuna-sweeper``.
    """

    def __init__(self, objective: str, sampler: Mapping[str, Any], **options: Any) -> None:
        logging.getLogger("alembic").setLevel(logging.WARNING)  # lists its parts at import
        try:
            from hydra_plugins.hydra_optuna_sweeper._impl import OptunaSweeperImpl
            from optuna.samplers import TPESampler
        except ImportError:
            raise SystemExit("error: hydra/sweeper=optuna is an extra; run pip install -e '.[optuna]'") from None
        self.sweeper = OptunaSweeperImpl(
            TPESampler(**sampler),
            **options,
            study_name=None,
            storage=None,
            search_space=None,
            custom_search_space=None,
            max_failure_rate=1.0,
        )

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        """Take what Hydra gives; what is found best goes to ``runs``."""
        self.sweeper.setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.sweeper.config = OmegaConf.create({"hydra": {"sweep": {"dir": config.runs}}})

    def sweep(self, arguments: list[str]) -> None:
        """Make all points. If every one fails, none is best; why is told at the end of the sweep."""
        try:
            self.sweeper.sweep(arguments)
        except ValueError as error:
            if "No trials are completed" not in str(error):
                raise SystemExit(f"error: hydra/sweeper=optuna: {error}") from None
