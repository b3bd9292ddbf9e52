"""Complete an evaluation's config from the run: its task, its data folder, its kind. Imports no torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from mirage_pl.engine import cli
from mirage_pl.engine.arguments import check_arguments
from mirage_pl.engine.errors import find_mistake
from mirage_pl.engine.mistakes import explain_key, list_keys
from mirage_pl.engine.runs.folder import COMPOSED, CONFIG
from mirage_pl.engine.seams import Evaluation

READ_AT_ONCE = ("name", "evaluation", "max_new_tokens", "dataset", "data")
"""Keys of a task that no other key of the task refers to."""
KIND = "answers"
"""The kind of evaluation of a task that names none: the default of ``conf/evaluate.yaml``."""


def complete_config(cfg: DictConfig, config: DictConfig, folder: Path) -> DictConfig:
    """Fill in what an evaluation's config leaves to the run.

    Args:
        cfg: composed from ``conf/evaluate.yaml``.
        config: the config of the run.
        folder: the run folder.

    Returns:
        A config whose ``task`` is complete, with every value that it refers to: from ``cfg``, else from the run; with
        the ``ending`` of its label, so that kinds of evaluation don't replace each other's results.

    Raises:
        ValueError: ``cfg.task`` sets a key that the run's own task doesn't have.
    """
    typed: dict[str, Any] = {str(key): cfg._get_node(key) for key in cfg if key != "task"}
    built = {key for key, node in typed.items() if isinstance(node, DictConfig) and "_target_" in node}  # taken whole
    trained = {key: config._get_node(key) for key in config if key not in ("task", "evaluate", *built)}
    if cfg.data is None:
        typed.pop("data")
    task = find_own_task(cfg.task, folder) if cfg.task.get("own") else cfg.task
    merged = OmegaConf.merge(trained, typed, {"task": task, "ending": name_ending(cfg, config)})
    assert isinstance(merged, DictConfig)
    return merged


def name_ending(cfg: DictConfig, config: DictConfig) -> str:
    """The ending of an evaluation's label: none for the kind that the run is scored by as a rule, else ``-KIND``.

    A kind has the name of its class, or its own where it shares the class or that name with another.
    """
    evaluation: Any = get_class(cfg.evaluation._target_)
    kind = str(cfg.get("kind") or evaluation.name)
    return "" if kind == find_kind(config).rpartition("/")[2] else f"-{kind}"


def find_own_task(overrides: DictConfig, folder: Path) -> DictConfig:
    """Read the task that a run was trained on, and set the values that the command line gives.

    Raises:
        ValueError: a key that this task doesn't have, or one that no value refers to any more.
    """
    file = folder / COMPOSED if (folder / COMPOSED).is_file() else folder / CONFIG
    task: Any = OmegaConf.load(file).task
    task = OmegaConf.create(OmegaConf.to_container(task))
    name = task.get("name")
    OmegaConf.set_struct(task, True)
    values: Any = OmegaConf.to_container(overrides)
    values.pop("own")
    lost = [key for key in values if key not in READ_AT_ONCE]
    if lost and "${" not in OmegaConf.to_yaml(task):
        raise ValueError(
            f"task.{lost[0]}={values[lost[0]]} wouldn't reach what reads it, since the config of {folder} was resolved "
            f"when the run was submitted; give its task too, as task={name}"
        )
    try:
        task.merge_with(values)
    except OmegaConfBaseException as error:
        wrong = explain_key(f"task.{error.full_key}", "", list_keys(task, "task."))
        raise ValueError(f"{wrong} ({folder} was trained on task={name})") from None
    OmegaConf.set_struct(task, False)
    return task


def build_evaluation(cfg: DictConfig) -> Evaluation:
    """Build the evaluation that a complete config names.

    Raises:
        ValueError: a bad option; or the run needs another kind of evaluation: names it.
    """
    check_kind(cfg)
    check_arguments(cfg, "evaluation")
    check_arguments(cfg, "task.data", ("collate",))
    try:
        evaluation: Evaluation = instantiate(cfg.evaluation)
    except InstantiationException as error:
        mistake = find_mistake(error)
        raise (error if mistake is None else mistake) from None
    return evaluation


def check_kind(cfg: DictConfig) -> None:
    """Refuse a kind of evaluation that isn't the task's, before values are missed that only its own has.

    Raises:
        ValueError: names those of the task.
    """
    kind: Any = get_class(cfg.evaluation._target_)
    kinds, name = list_kinds(cfg.task.get("evaluation")), kind.name
    if getattr(kind, "like", name) not in [kind.rpartition("/")[2] for kind in kinds]:
        stage = OmegaConf.select(cfg, "stage.name")
        run = f"task={cfg.task.name}" + (f" and a run of stage={stage}" if stage else "")
        raise ValueError(f"evaluation={name} doesn't score {run}; give evaluation={' or '.join(kinds)}")


def list_kinds(named: Any) -> list[str]:
    """The kinds of evaluation of a task or a stage, which names one, several or none; the first is the default."""
    return [str(named)] if isinstance(named, str) else [str(kind) for kind in named or [KIND]]


def prepare_words(words: Sequence[str]) -> list[str]:
    """Turn the words of the command line into overrides for Hydra."""
    return cli.prepare_words(add_kind(words))


def add_kind(words: Sequence[str]) -> list[str]:
    """Add the ``evaluation=`` of the run that ``ckpt=`` names, unless the command line gives one."""
    values = dict(word.split("=", 1) for word in words if "=" in word)
    if "evaluation" in values or "ckpt" not in values:
        return list(words)
    kind = read_kind(Path(values["ckpt"]))
    return [*words, f"evaluation={kind}"] if kind != KIND else list(words)


def read_kind(place: Path) -> str:
    """Read which kind of evaluation a run names; a config that can't be read is reported later."""
    for folder in (place, *place.absolute().parents):
        if (folder / CONFIG).is_file():
            try:
                config = OmegaConf.load(folder / CONFIG)
            except (YAMLError, OSError):
                return KIND
            return find_kind(config)
    return KIND


def find_kind(config: Any) -> str:
    """The kind of evaluation that a run's stage names, else its task, else the default."""
    kinds = (OmegaConf.select(config, key, default=None) for key in ("stage.evaluation", "task.evaluation"))
    return list_kinds(next((kind for kind in kinds if kind), None))[0]
