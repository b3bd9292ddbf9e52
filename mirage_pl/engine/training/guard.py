"""Refuse a run before Hydra makes its folder."""

from contextlib import suppress
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
        if config.hydra.output_subdir is None:
            return
        HydraConfig.instance().set_config(config)  # the name of the folder depends on the options
        with suppress(OmegaConfBaseException):  # the verb reports it
            try:
                check_values(config)
                check_config(config)
            except ValueError as error:
                if not isinstance(error, OmegaConfBaseException):
                    fail(one_line(error))

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Check what all points of a sweep share."""
        with suppress(OmegaConfBaseException):
            try:
                check_keys(config, "train")
                check_place(config.run_dir)
            except ValueError as error:
                if not isinstance(error, OmegaConfBaseException):
                    fail(one_line(error))
