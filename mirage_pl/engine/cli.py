"""What every verb's command line shares: Hydra, two resolvers, and one-line errors. Imports no torch."""

import errno
import logging
import os
import signal
import sys
import warnings
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal import utils as hydra_utils
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from mirage_pl.engine.help import read_configs_once
from mirage_pl.engine.mistakes import check_types, explain, keys, value_overrides
from mirage_pl.engine.place import CONF, HOME, own_configs
from mirage_pl.engine.quoting import quote_words
from mirage_pl.engine.runs.identity import suffix

UNSEEN = logging.getLogger("unseen")
"""Writes to a run's log and not to the console, which shows the same in another form."""
UNSEEN.propagate = False
UNSEEN.addHandler(logging.NullHandler())

ELSEWHERE = "choose another folder (run_dir=, runs=, out=), or see to its permissions"
UNUSABLE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room, or choose another folder (run_dir=, runs=, data=)"),
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG), ELSEWHERE
    ),
}
"""What a user does about a place that can't be written to, by the system's number of the error."""
NONE = {f"{group}=null": f"{group}=[]" for group in ("logger", "experiment")}
"""How Hydra wants to be told that no option of a group is chosen."""


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


def register_own_task() -> None:
    """Make ``task=own`` stand for the task of a run, any of whose keys may be set on the command line."""
    node = OmegaConf.create({"own": True})
    OmegaConf.set_struct(node, False)
    ConfigStore.instance().store(group="task", name="own", node=node)


register_own_task()


def keep_log() -> None:
    """Have a run's own log hold all that is said: what only it is told, and warnings."""
    files = [handler for handler in logging.getLogger().handlers if isinstance(handler, logging.FileHandler)]
    if files:
        UNSEEN.handlers = [*files]
        UNSEEN.setLevel(logging.INFO)
        logging.captureWarnings(True)


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
    """Find the mistake of a user behind an error.

    One is a ``ValueError`` of ours, a config that doesn't resolve, what Lightning refuses to be configured as, or a
    place that can't be written to.
    """
    while isinstance(error, InstantiationException) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OSError) and error.errno in UNUSABLE:
        remedy = UNUSABLE[error.errno]
        return ValueError(f"{error.filename or 'a file'} cannot be written ({error.strerror}); {remedy}")
    refused = type(error).__name__ == "MisconfigurationException"
    expected = isinstance(error, ValueError | OmegaConfBaseException | InstantiationException)
    return error if refused or expected else None


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
            fail(one_line(error))
        except KeyboardInterrupt:
            stop("nothing was written; the same command begins again")

    return main


def fail(line: str) -> NoReturn:
    """End with one line about a mistake, on the console and in the run's log."""
    print(f"error: {line}", file=sys.stderr)
    UNSEEN.error("error: %s", line)
    sys.exit(1)


def stop(kept: str) -> NoReturn:
    """End after Ctrl-C with the exit code that shells expect, and say what becomes of the work."""
    print(f"stopped by Ctrl-C: {kept}", file=sys.stderr)
    UNSEEN.warning("stopped by Ctrl-C: %s", kept)
    sys.exit(128 + signal.SIGINT)


def say(line: str) -> None:
    """Tell where things lie: a plain line on the console, which the run's log has, too."""
    print(line, flush=True)
    UNSEEN.info(line)


def one_line(error: BaseException) -> str:
    """An error's message on one line; of an error in a loading process, what that process said."""
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} has no value; give {error.full_key}=…"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if "Original Traceback" in str(error):
        return lines[-1].removeprefix("ValueError: ")
    return " ".join(" ".join(lines).split())


def compose(config: str, overrides: list[str], return_hydra_config: bool = False) -> DictConfig:
    """Compose one of our configs, within a command or outside."""
    if GlobalHydra.instance().is_initialized():
        return hydra.compose(config, overrides, return_hydra_config)
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose(config, overrides, return_hydra_config)


def compose_run(overrides: list[str]) -> DictConfig:
    """Compose the config of a run."""
    return compose("train", overrides)


def prepare_words(words: Sequence[str]) -> list[str]:
    """Quote what isn't Hydra's grammar (in a sweep commas separate its points), and find a user's own configs."""
    return [*own_configs(words), *quote_words(words, (), swept=bool({"-m", "--multirun"} & set(words)))]


def verb(
    config: str,
    path: str,
    prepare: Callable[[Sequence[str]], list[str]] = prepare_words,
    kept: str = "the same command begins again",
) -> Callable[[], None]:
    """Make a command of a function of a config.

    A user's mistake ends in one line and exit code 1; ``HYDRA_FULL_ERROR=1`` shows the traceback. Ctrl-C ends in one
    line and exit code 130.

    Args:
        config: name of the top file in ``conf/``.
        path: dotted path of the function, whose module is imported when the command runs: ``--help`` loads none.
        prepare: makes of the words that were typed those that Hydra reads.
        kept: what becomes of the work at Ctrl-C.
    """

    def guarded(cfg: DictConfig) -> Any:
        quieten()
        keep_log()
        try:
            check_values(cfg)
            return get_method(path)(cfg)
        except KeyboardInterrupt:
            stop(kept)
        except Exception as error:
            mistake = user_error(error)
            if mistake is None or tracebacks():
                UNSEEN.exception("error: %s", type(error).__name__)
                raise
            fail(one_line(mistake))

    return guided(hydra.main(version_base="1.3", config_path=str(CONF), config_name=config)(guarded), config, prepare)


def guided(
    compose_and_run: Callable[[], None], config: str, prepare: Callable[[Sequence[str]], list[str]]
) -> Callable[[], None]:
    """Make a main of Hydra's: it reads the words that were meant, and what it refuses is one line with the fix."""

    def main() -> None:
        """Run the command."""
        if not tracebacks():
            hydra_utils.run_and_report = lambda func: func()  # Hydra's prints errors, and how to see its own traceback
        warnings.filterwarnings("ignore", message="provider=hydra.searchpath")  # the error after it says the same
        try:
            sys.argv[1:] = [NONE.get(word, word) for word in prepare(sys.argv[1:])]
            read_configs_once()
            compose_and_run()
        except KeyboardInterrupt:  # of a sweep, whose points say for themselves what they keep
            stop("the same command skips what is done and goes on with the rest")
        except (HydraException, OmegaConfBaseException, YAMLError, OSError) as error:
            line = refusal(error, config)
            if line is None or tracebacks():
                raise
            fail(line)

    return main


def refusal(error: Exception, config: str) -> str | None:
    """Why a command line makes no config, or its run no folder; ``None``: that is no mistake of the user's."""
    if isinstance(error, InstantiationException):
        return None
    if isinstance(error, HydraException | OmegaConfBaseException | YAMLError):  # some are an OSError, too
        return explain(error, known_keys(config))
    return one_line(mistake) if (mistake := user_error(error)) else None


def tracebacks() -> bool:
    """Whether the user wants to see where an error comes from."""
    return os.environ.get("HYDRA_FULL_ERROR") == "1"


def check_values(cfg: DictConfig) -> None:
    """Refuse values of the command line whose type can't be right.

    Raises:
        ValueError: names the first.
    """
    if not HydraConfig.initialized() or not (values := value_overrides()):
        return
    given = HydraConfig.get()
    choices = [item for item in given.overrides.task if item not in values]
    try:
        defaults = compose(str(given.job.config_name), choices)
    except (HydraException, OmegaConfBaseException):
        return  # a choice that only goes with a value
    check_types(cfg, defaults, values)


def known_keys(config: str) -> set[str]:
    """Keys and groups of the config that a command asked for, with the options it chose, as far as they are right."""
    words = ArgumentParser(add_help=False, allow_abbrev=False)
    words.add_argument("--config-name", "-cn", default=config)
    words.add_argument("--config-dir", "-cd")
    options, rest = words.parse_known_args(sys.argv[1:])
    searched = [f"hydra.searchpath=[file://{Path(options.config_dir).absolute()}]"] if options.config_dir else []
    searched += [word for word in rest if word.startswith("hydra.searchpath=")]
    choices = [word for word in rest if (CONF / word.lstrip("+").partition("=")[0].split("@")[0]).is_dir()]
    for overrides in ([*searched, *choices], searched):
        try:
            composed = compose(options.config_name, overrides, return_hydra_config=True)
        except (HydraException, OmegaConfBaseException, YAMLError):
            continue
        return {*keys(composed), *map(str, composed.hydra.runtime.choices)}
    return set()
