"""What an evaluation's config leaves to the run: its task, its data folder, its kind. Imports no torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from mirage_pl.engine import cli
from mirage_pl.engine.errors import find_mistake
from mirage_pl.engine.mistakes import explain_key, list_keys
from mirage_pl.engine.runs.folder import COMPOSED, CONFIG
from mirage_pl.engine.seams import Evaluation

READ_AT_ONCE = ("name", "evaluation", "max_new_tokens", "dataset", "data")
"""Keys of a task that no other key of it repeats."""
KIND = "answers"
"""The kind of evaluation of a task that names none; ``conf/evaluate.yaml`` has it as default."""


def complete_config(cfg: DictConfig, config: DictConfig, folder: Path) -> DictConfig:
    """Fill in what an evaluation's config leaves to the run.

    Args:
        cfg: composed from ``conf/evaluate.yaml``.
        config: the run's.
        folder: the run's.

    Returns:
        A config in which ``task`` is whole and every value that it refers to is there: as ``cfg`` says, else as the run
        was trained.

    Raises:
        ValueError: a key of the run's own task that isn't there.
    """
    trained = {key: config._get_node(key) for key in config if key not in ("task", "evaluate")}
    given: dict[str, Any] = {str(key): cfg._get_node(key) for key in cfg if key != "task"}
    if cfg.data is None:
        given.pop("data")
    task = find_own_task(cfg.task, folder) if cfg.task.get("own") else cfg.task
    whole = OmegaConf.merge(trained, given, {"task": task})
    assert isinstance(whole, DictConfig)
    return whole


def find_own_task(given: DictConfig, folder: Path) -> DictConfig:
    """The task that a run was trained on, with some values set anew.

    Raises:
        ValueError: a key that this task doesn't have, or one that no value refers to any more.
    """
    file = folder / COMPOSED if (folder / COMPOSED).is_file() else folder / CONFIG
    task: Any = OmegaConf.load(file).task
    task = OmegaConf.create(OmegaConf.to_container(task))
    name = task.get("name")
    OmegaConf.set_struct(task, True)
    values: Any = OmegaConf.to_container(given)
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
    """Make the evaluation that a whole config names.

    Raises:
        ValueError: a bad option; or the task is scored by another kind of evaluation: names the right one.
    """
    try:
        evaluation: Evaluation = instantiate(cfg.evaluation)
    except InstantiationException as error:
        mistake = find_mistake(error)
        raise (error if mistake is None else mistake) from None
    kind = str(cfg.task.get("evaluation") or KIND)
    if kind.rpartition("/")[2] != evaluation.name:
        raise ValueError(f"evaluation={evaluation.name} doesn't score task={cfg.task.name}; give evaluation={kind}")
    return evaluation


def prepare_words(words: Sequence[str]) -> list[str]:
    """Make of the words that were typed those that Hydra reads."""
    return cli.prepare_words(add_kind(words))


def add_kind(words: Sequence[str]) -> list[str]:
    """Add ``evaluation=`` to a command line that doesn't say it, as the run that ``ckpt=`` names is to be scored."""
    values = dict(word.split("=", 1) for word in words if "=" in word)
    if "evaluation" in values or "ckpt" not in values:
        return list(words)
    kind = read_kind(Path(values["ckpt"]))
    return [*words, f"evaluation={kind}"] if kind != KIND else list(words)


def read_kind(place: Path) -> str:
    """The kind of evaluation of a run: its stage's, or its task's. Whatever is wrong with it is said later."""
    for folder in (place, *place.absolute().parents):
        if (folder / CONFIG).is_file():
            try:
                config = OmegaConf.load(folder / CONFIG)
            except (YAMLError, OSError):
                return KIND
            return find_kind(config)
    return KIND


def find_kind(config: Any) -> str:
    """The kind of evaluation that a run's config names."""
    kinds = (OmegaConf.select(config, key, default=None) for key in ("stage.evaluation", "task.evaluation"))
    return str(next((kind for kind in kinds if kind), KIND))
