"""What every verb's command line shares: Hydra, two resolvers, and one-line errors. Imports no torch."""

import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import InstantiationException
from hydra.types import RunMode
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mirage_pl.engine.place import CONF, HOME, own_configs
from mirage_pl.engine.quoting import quote_words
from mirage_pl.engine.runs.identity import suffix


def swept_by() -> str | None:
    """The launcher of the sweep that this is a point of; ``None``: it is none."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    return HydraConfig.get().runtime.choices.get("hydra/launcher")


OmegaConf.register_new_resolver("repo", lambda path: str(HOME / path), replace=True)
OmegaConf.register_new_resolver("variant", lambda _root_: suffix(_root_, compose_run), replace=True)


def register_plugins() -> None:
    """Make our sweeper and launchers known; Hydra must have loaded its own plugins, on which they are built."""
    plugins = Plugins.instance()
    from hydra_plugins.mirage_jobs.local import Local
    from hydra_plugins.mirage_jobs.slurm import Slurm
    from hydra_plugins.mirage_matrix import Matrix
    from hydra_plugins.mirage_optuna import Optuna

    for plugin in (Matrix, Optuna, Local, Slurm):
        plugins.register(plugin)
    # The extra's own config has the name of ours, for which Hydra would take it as a schema.
    ConfigStore.instance().repo["hydra"].get("sweeper", {}).pop("optuna.yaml", None)


register_plugins()


def quieten() -> None:
    """Keep libraries' advertisements and their own deprecations out of a user's console."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for name in ("pytorch_lightning.utilities.rank_zero", "tensorboard"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")
    warnings.filterwarnings("ignore", message=r".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=r".*`srun` command is available.*")  # python -m launch is our way to it


def user_error(error: BaseException) -> BaseException | None:
    """Find the mistake of a user behind an error: a ``ValueError`` of ours, or a config that doesn't resolve."""
    while isinstance(error, InstantiationException) and error.__cause__ is not None:
        error = error.__cause__
    return error if isinstance(error, ValueError | OmegaConfBaseException | InstantiationException) else None


def command(path: str) -> Callable[[], None]:
    """Make a main of a function of the command line's words, for a command without a config.

    A user's mistake, a ``ValueError`` or ``OSError``, ends in one line and exit code 1.

    Args:
        path: dotted path of the function, whose module is imported when the command runs.
    """

    def main() -> None:
        """Run the command."""
        try:
            get_method(path)(sys.argv[1:])
        except (ValueError, OSError) as error:
            print(f"error: {one_line(error)}", file=sys.stderr)
            sys.exit(1)

    return main


def one_line(error: BaseException) -> str:
    """An error's message on one line; of an error in a loading process, what that process said."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if "Original Traceback" in str(error):
        return lines[-1].removeprefix("ValueError: ")
    return " ".join(" ".join(lines).split())


def compose(config: str, overrides: list[str]) -> DictConfig:
    """Compose one of our configs, within a command or outside."""
    if GlobalHydra.instance().is_initialized():
        return hydra.compose(config, overrides)
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose(config, overrides)


def compose_run(overrides: list[str]) -> DictConfig:
    """Compose the config of a run."""
    return compose("train", overrides)


def prepare_words(words: Sequence[str]) -> list[str]:
    """Quote what isn't Hydra's grammar (in a sweep commas separate its points), and find a user's own configs."""
    return [*own_configs(words), *quote_words(words, (), swept=bool({"-m", "--multirun"} & set(words)))]


def verb(config: str, path: str, prepare: Callable[[Sequence[str]], list[str]] = prepare_words) -> Callable[[], None]:
    """Make a command of a function of a config.

    A user's mistake ends in one line and exit code 1; ``HYDRA_FULL_ERROR=1`` shows the traceback.

    Args:
        config: name of the top file in ``conf/``.
        path: dotted path of the function, whose module is imported when the command runs: ``--help`` loads none.
        prepare: makes of the words that were typed those that Hydra reads.
    """

    def guarded(cfg: DictConfig) -> Any:
        quieten()
        try:
            return get_method(path)(cfg)
        except Exception as error:
            mistake = user_error(error)
            if mistake is None or os.environ.get("HYDRA_FULL_ERROR") == "1":
                raise
            print(f"error: {one_line(mistake)}", file=sys.stderr)
            sys.exit(1)

    hydra_main = hydra.main(version_base="1.3", config_path=str(CONF), config_name=config)(guarded)

    def main() -> None:
        """Run the command."""
        sys.argv[1:] = prepare(sys.argv[1:])
        hydra_main()

    return main
