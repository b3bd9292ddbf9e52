"""Hydra's Optuna sweeper for our launchers, which read the objective. Hydra looks for sweepers in this namespace only.

Trials aren't stored: with the same seed Optuna proposes the same points, and finished runs aren't repeated.
"""

import logging
from collections.abc import Mapping
from typing import Any

from hydra.plugins.sweeper import Sweeper
from omegaconf import OmegaConf


class Optuna(Sweeper):
    """Choose each point of a sweep by the objective of those before.

    Args:
        objective: key of a run's ``metrics.json``; the launchers read it.
        sampler: options of Optuna's ``TPESampler``.
        options: of ``hydra-optuna-sweeper``.
    """

    def __init__(self, objective: str, sampler: Mapping[str, Any], **options: Any) -> None:
        logging.getLogger("alembic").setLevel(logging.WARNING)  # its import lists the available samplers
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
        """Keep Hydra's context; the best point is written to ``runs``."""
        self.sweeper.setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.sweeper.config = OmegaConf.create({"hydra": {"sweep": {"dir": config.runs}}})

    def sweep(self, arguments: list[str]) -> None:
        """Run all points. If every one fails there is no best point; the sweep's summary says why."""
        try:
            self.sweeper.sweep(arguments)
        except ValueError as error:
            if "No trials are completed" not in str(error):
                raise SystemExit(f"error: hydra/sweeper=optuna: {error}") from None
