"""A run's identity: the config values that determine its results.

They name its folder and must be the same when it is resumed. Devices, steps, loading processes, logging, progress and
paths don't belong to them and may change at any time.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mirage_pl.engine.place import HOME

DEFINING = (
    "seed",
    "model",
    "task",
    "stage",
    "lora",
    "loader",
    "init_from",
    "trainer.precision",
    "trainer.accumulate_grad_batches",
    "trainer.gradient_clip_val",
    "trainer.gradient_clip_algorithm",
    "trainer.limit_train_batches",
    "trainer.overfit_batches",
)
"""Keys that define a run, with everything below them except ``FREE`` and what ``stage.may_change`` lists."""
FREE = (
    "stage.tag",
    "stage.max_steps",
    "stage.batch_size",
    "stage.may_change",
    "loader.num_workers",
    "loader.prefetch",
    "loader.decoded",
    "loader.eval_batch_size",
    "task.data.loader",
    "task.evaluation",
    "task.scored_by",
    "task.num_workers",
    "task.data.maker.num_workers",
)
"""Keys below these that change no result: names, limits, and defaults of other keys."""
SHARED_OUT = ("loader.batch_size", "loader.max_tokens")
"""They name a run but may change on resuming, as each of more processes takes less; the loader compares the sum."""
CHOSEN = ("stage", "model", "task")
"""Config groups whose option is in the folder's name."""
COMPOSING = ContextVar("COMPOSING", default=False)
"""Whether a folder's name is being resolved, so that values that contain the name resolve without it."""


def defining_values(config: DictConfig) -> dict[str, Any]:
    """Dotted key -> value of everything that defines a run; paths are relative to named places."""
    free = (*FREE, *(f"stage.{key}" for key in OmegaConf.select(config, "stage.may_change") or ()))
    places = {str(OmegaConf.select(config, key)): f"<{key}>" for key in ("data", "runs")} | {str(HOME): "<home>"}
    leaves = {name: leaf for key in DEFINING for name, leaf in flatten(OmegaConf.select(config, key), key).items()}
    if leaves["init_from"] is not None:
        leaves["init_from"] = str(Path(str(leaves["init_from"])))
    return {name: as_compared(leaf, places) for name, leaf in leaves.items() if not is_below(name, free)}


def list_differences(old: DictConfig, new: DictConfig) -> list[str]:
    """List the defining values that differ between two configs; the new one may lack ``init_from``."""
    was, now = defining_values(old), defining_values(new)
    names = [*was, *(now.keys() - was.keys())]
    changed = [name for name in names if not is_same(was.get(name), now.get(name))]
    free = {*SHARED_OUT, *(["init_from"] if now["init_from"] is None else [])}
    named = sorted((name for name in changed if name not in free), key=count_levels)
    return [f"{name} was {was.get(name)} and is {now.get(name)}" for name in named]


def is_same(was: Any, now: Any) -> bool:
    """Whether two values are equal, a file of a checkout that stood elsewhere included."""
    moved = isinstance(was, str) and isinstance(now, str) and now.startswith("<home>/")
    return bool(was == now or (moved and Path(was).is_absolute() and was.endswith(now.removeprefix("<home>"))))


def count_levels(name: str) -> int:
    """Depth of a key; a key that follows from another is usually deeper."""
    return name.count(".")


def hash_variant(config: DictConfig, compose: Callable[[list[str]], DictConfig]) -> str:
    """A short hash of the defining values that the rest of the folder's name doesn't imply; empty if it implies all.

    The name has stage, model, task, seed, and whatever ``stage.tag`` contains. A run has a hash if its values differ
    from what these compose to. Outside a command it has none if there is no stage of that name.

    Args:
        config: the run's, not resolved yet.
        compose: overrides -> config of ``train``.
    """
    if COMPOSING.get():
        return ""
    token = COMPOSING.set(True)
    try:
        own, usual = defining_values(config), usual_values(config, compose)
    finally:
        COMPOSING.reset(token)
    told = ("model.name", "task.name")
    names = [name for name in sorted(own.keys() | usual.keys()) if name not in told] if usual else []
    changed = {name: own.get(name) for name in names if own.get(name) != usual.get(name)}
    digest = hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()
    return f"-{digest[:6]}" if changed else ""


def usual_values(config: DictConfig, compose: Callable[[list[str]], DictConfig]) -> dict[str, Any]:
    """The values that stage, model and task compose to by themselves; empty if there is no such stage.

    Within a command Hydra knows the options; outside, they are found by their names, and a model or task that isn't
    found is left to the stage.
    """
    tag = str(OmegaConf.to_container(config.stage, resolve=False)["tag"])  # type: ignore[call-overload, index]
    told = ["seed", *(key for key in re.findall(r"\$\{([\w.]+)\}", tag) if "." not in key)]
    settings = [f"{key}={OmegaConf.select(config, key)}" for key in told]
    chosen, search = read_command()
    names = {group: chosen.get(group) or OmegaConf.select(config, f"{group}.name") for group in CHOSEN}
    stage, model, task = (f"{group}={name}" for group, name in names.items())
    for options in ([stage, model, task], [stage, model], [stage, task], [stage]):
        if usual := compose_values(compose, (*options, *settings, *search)):
            return usual
    return {}


@lru_cache
def compose_values(compose: Callable[[list[str]], DictConfig], overrides: tuple[str, ...]) -> dict[str, Any]:
    """The values of a composed config, empty if an option doesn't exist; cached."""
    with suppress(HydraException, OmegaConfBaseException):
        return defining_values(compose(list(overrides)))
    return {}


def read_command() -> tuple[dict[str, str], list[str]]:
    """This command's options by group, and its override of Hydra's search path, if any."""
    if not HydraConfig.initialized():
        return {}, []
    hydra = HydraConfig.get()
    search = [override for override in hydra.overrides.hydra if override.startswith("hydra.searchpath=")]
    return {group: option for group, option in hydra.runtime.choices.items() if group in CHOSEN and option}, search


def is_below(name: str, keys: Iterable[str]) -> bool:
    """Whether a dotted name is one of some keys, or below one; all names are below the empty key."""
    return any(not key or name == key or name.startswith(f"{key}.") for key in keys)


def as_compared(value: Any, places: Mapping[str, str]) -> Any:
    """Normalize a value for comparison: 2.0 becomes 2, and a path starts with the name of its place."""
    if isinstance(value, Mapping):
        return {str(key): as_compared(item, places) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_compared(item, places) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        for place in sorted(places, key=len, reverse=True):
            if value == place or value.startswith(f"{place}/"):
                return places[place] + value[len(place) :]
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def flatten(node: Any, prefix: str) -> dict[str, Any]:
    """Dotted name -> value of every leaf of a config node."""
    value = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    if not isinstance(value, dict):
        return {prefix: value}
    return {name: leaf for key, child in value.items() for name, leaf in flatten(child, f"{prefix}.{key!s}").items()}
