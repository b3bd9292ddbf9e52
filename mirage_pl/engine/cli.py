"""The command line that every verb shares: Hydra, three resolvers, errors in one line. Imports no torch."""

import logging
import os
import signal
import sys
import warnings
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal import utils as hydra_utils
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.types import RunMode
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from mirage_pl.engine.arguments import takes_value
from mirage_pl.engine.errors import find_mistake, leave_unread, one_line
from mirage_pl.engine.help import improve_help
from mirage_pl.engine.mistakes import OPTIONAL, describe_refusal, list_keys
from mirage_pl.engine.options import OWN, explain_no_option
from mirage_pl.engine.place import CONF, HOME, own_configs
from mirage_pl.engine.quoting import quote_words
from mirage_pl.engine.runs.identity import hash_variant
from mirage_pl.engine.value_types import check_types, list_value_overrides

UNSEEN = logging.getLogger("console")
"""Writes to the run's log only; the console shows the same in another form."""
UNSEEN.propagate = False
UNSEEN.addHandler(logging.NullHandler())

NONE = {f"{group}=null": f"{group}=[]" for group in OPTIONAL}
"""What Hydra expects in place of ``GROUP=null``."""


def sweep_launcher() -> str | None:
    """The launcher of the sweep that this run belongs to; ``None`` if it belongs to none."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    return HydraConfig.get().runtime.choices.get("hydra/launcher")


def name_family(task: str, other: str) -> str:
    """Name what ``conf/tokens`` has for a task: ``a`` for ``a/b``; the task itself where all families share it."""
    shared = (CONF / "tokens" / f"{task}.yaml").is_file()
    return task if shared else (task.split("/")[:-1] or [other])[0]


OmegaConf.register_new_resolver("repo", lambda path: str(HOME / path), replace=True)
OmegaConf.register_new_resolver("family", name_family, replace=True)
OmegaConf.register_new_resolver("variant", lambda _root_: hash_variant(_root_, compose_run), replace=True)


def register_plugins() -> None:
    """Register our sweepers and launchers. They subclass Hydra's own plugins, which must be loaded first."""
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
    """Register ``task=own``: the task that the run was trained on, with every key open to overrides."""
    node = OmegaConf.create({"own": True}, flags={"struct": False})
    ConfigStore.instance().store(group="task", name=OWN, node=node)


register_own_task()


def keep_log() -> None:
    """Send warnings, and what is meant for the log alone, to the run's log file."""
    files = [handler for handler in logging.getLogger().handlers if isinstance(handler, logging.FileHandler)]
    logging.raiseExceptions = False  # or a full disk is a traceback for each line of the log
    if files:
        UNSEEN.handlers = [*files]
        UNSEEN.setLevel(logging.INFO)
        logging.captureWarnings(True)


def silence_libraries() -> None:
    """Keep tips and deprecation warnings of libraries off the console."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for name in ("pytorch_lightning.utilities.rank_zero", "tensorboard"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # warns of a kernel that it doesn't need
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")
    warnings.filterwarnings("ignore", message=r".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=r".*Total length of `list` across ranks is zero.*")  # no validation file
    warnings.filterwarnings("ignore", message=r".*is smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=r".*exists and is not empty.*")  # a run that goes on
    warnings.filterwarnings("ignore", message=r".*in eval mode at the start of training.*")  # what is frozen is
    warnings.filterwarnings("ignore", message=r".*callbacks used to create the checkpoint need to be provided.*")
    warnings.filterwarnings("ignore", message=r".*`srun` command is available.*")  # python -m launch is our way to it


def command(path: str, parser: Callable[[], ArgumentParser] | None = None) -> Callable[[], None]:
    """Make a ``main`` for a command without a config, from a function that takes the command line's words.

    A ``ValueError`` or ``OSError`` ends in one line and exit code 1.

    Args:
        path: dotted path of the function, whose module is imported when the command runs.
        parser: makes the command line's parser, which answers ``--help`` and mistakes before that import.
    """

    def main() -> None:
        """Run the command."""
        if parser is not None:
            parser().parse_args(sys.argv[1:])
        try:
            get_method(path)(sys.argv[1:])
        except BrokenPipeError:
            leave_unread()
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
    """Exit with code 130, as shells expect after Ctrl-C, and print what happens to the work so far."""
    print(f"stopped by Ctrl-C: {kept}", file=sys.stderr)
    UNSEEN.warning("stopped by Ctrl-C: %s", kept)
    sys.exit(128 + signal.SIGINT)


def say(line: str) -> None:
    """Print a line, and write it to the run's log."""
    print(line, flush=True)
    UNSEEN.info(line)


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
    """Quote words that aren't in Hydra's grammar, and add the user's own config folder."""
    return [*own_configs(words), *quote_words(words, (), swept=bool({"-m", "--multirun"} & set(words)))]


def verb(
    config: str,
    path: str,
    prepare: Callable[[Sequence[str]], list[str]] = prepare_words,
    kept: str = "the same command begins again",
) -> Callable[[], None]:
    """Make a ``main`` from a function that takes a config.

    A user's mistake ends in one line and exit code 1; ``HYDRA_FULL_ERROR=1`` shows the traceback. Ctrl-C ends in one
    line and exit code 130.

    Args:
        config: name of the top file in ``conf/``.
        path: dotted path of the function, whose module is imported when the command runs: ``--help`` loads none.
        prepare: turns the words as typed into those that Hydra reads.
        kept: printed after Ctrl-C: what happens to the work so far.
    """

    def guarded(cfg: DictConfig) -> Any:
        silence_libraries()
        keep_log()
        try:
            check_values(cfg)
            return get_method(path)(cfg)
        except KeyboardInterrupt:
            stop(kept)
        except Exception as error:
            mistake = find_mistake(error)
            if mistake is None or wants_tracebacks():
                UNSEEN.exception("error: %s", type(error).__name__)
                raise
            fail(one_line(mistake))

    return guide_main(
        hydra.main(version_base="1.3", config_path=str(CONF), config_name=config)(guarded), config, prepare
    )


def guide_main(
    compose_and_run: Callable[[], None], config: str, prepare: Callable[[Sequence[str]], list[str]]
) -> Callable[[], None]:
    """Wrap Hydra's ``main``: prepare the words that it reads, and turn its errors into one line with the fix."""

    def main() -> None:
        """Run the command."""
        if not wants_tracebacks():
            hydra_utils.run_and_report = lambda func: func()  # Hydra's own prints errors over several lines
        warnings.filterwarnings("ignore", message="provider=hydra.searchpath")  # the error after it says the same
        try:
            sys.argv[1:] = [NONE.get(word, word) for word in prepare(sys.argv[1:])]
            if line := explain_no_option(config, sys.argv[1:]):
                fail(line)
            improve_help()
            compose_and_run()
        except KeyboardInterrupt:  # in a sweep
            stop("the same command skips what is done and goes on with the rest")
        except BrokenPipeError:
            leave_unread()
        except (HydraException, OmegaConfBaseException, YAMLError, OSError, ValueError) as error:
            line = describe_refusal(error, partial(list_known_keys, config))
            if line is None or wants_tracebacks():
                raise
            fail(line)

    return main


def wants_tracebacks() -> bool:
    """Whether the user wants to see where an error comes from."""
    return os.environ.get("HYDRA_FULL_ERROR") == "1"


def check_values(cfg: DictConfig) -> None:
    """Refuse values on the command line that have the wrong type.

    Raises:
        ValueError: names the first.
    """
    if not HydraConfig.initialized() or not (values := list_value_overrides()):
        return
    given = HydraConfig.get()
    choices = [item for item in given.overrides.task if item not in values]
    try:
        defaults = compose(str(given.job.config_name), choices)
    except (HydraException, OmegaConfBaseException):
        return  # an option that only composes together with a value
    check_types(cfg, defaults, values, lambda key, value: takes_value(cfg, key, value))


def list_known_keys(config: str) -> set[str]:
    """Keys and groups of the config that the command line selects; options that don't exist are left out."""
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
        return {*list_keys(composed), *map(str, composed.hydra.runtime.choices)}
    return set()
