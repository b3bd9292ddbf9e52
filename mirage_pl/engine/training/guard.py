"""Refuse a run before Hydra makes its folder."""

from collections.abc import Callable
from functools import partial
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from mirage_pl.engine.cli import check_values, fail
from mirage_pl.engine.errors import one_line
from mirage_pl.engine.keys import check_keys
from mirage_pl.engine.training.checks import check_config, check_place


class Guard(Callback):
    """Ends a command whose config can't work on any machine, in one line; Hydra turns errors here into warnings."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Check the run, where Hydra would write into its folder."""
        if config.hydra.output_subdir is not None:
            HydraConfig.instance().set_config(config)  # the name of the folder depends on the options
            refuse(config, check_values, check_config)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Check what all points of a sweep share."""
        refuse(config, partial(check_keys, verb="train"), lambda shared: check_place(shared.run_dir))


def refuse(config: DictConfig, *checks: Callable[[DictConfig], None]) -> None:
    """End with the line of the first check that fails; what doesn't resolve is left to the verb."""
    try:
        for check in checks:
            check(config)
    except OmegaConfBaseException:
        return
    except ValueError as error:
        fail(one_line(error))
