"""What makes a run that run: the values that its results follow from.

They name its folder, and they may not change when it goes on. Devices, steps, loading processes, logging, progress and
where things lie are none of them, so they may change at any time, and the same folder is continued.
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
    "loader",
    "init_from",
    "trainer.precision",
    "trainer.accumulate_grad_batches",
    "trainer.gradient_clip_val",
    "trainer.gradient_clip_algorithm",
    "trainer.limit_train_batches",
    "trainer.overfit_batches",
    "trainer.fast_dev_run",
)
"""Keys whose values make a run, with all below them, but for ``FREE`` and what ``stage.may_change`` lists."""
FREE = (
    "stage.tag",
    "stage.max_steps",
    "stage.batch_size",
    "stage.may_change",
    "loader.num_workers",
    "loader.prefetch",
    "loader.decoded",
    "loader.eval_batch_size",
    "loader.decoded",
    "task.data.loader",
)
"""Keys below them that change no result: names, limits, and defaults of other keys."""
SHARED_OUT = ("loader.batch_size", "loader.max_tokens")
"""They name a run, yet may change when it goes on: more processes have less each. The loader compares the sum."""
CHOSEN = ("stage", "model", "task")
"""Config groups whose choice a folder's name tells."""
COMPOSING = ContextVar("COMPOSING", default=False)
"""Whether a folder is being named: a value that holds the name itself tells nothing."""


def values(config: DictConfig) -> dict[str, Any]:
    """Dotted key -> value of all that makes a run, wherever its data and its other runs lie."""
    free = (*FREE, *(f"stage.{key}" for key in OmegaConf.select(config, "stage.may_change") or ()))
    places = {str(OmegaConf.select(config, key)): f"<{key}>" for key in ("data", "runs")} | {str(HOME): "<home>"}
    leaves = {name: leaf for key in DEFINING for name, leaf in flatten(OmegaConf.select(config, key), key).items()}
    if leaves["init_from"] is not None:
        leaves["init_from"] = str(Path(leaves["init_from"]))
    return {name: plain(leaf, places) for name, leaf in leaves.items() if not is_below(name, free)}


def differences(old: DictConfig, new: DictConfig) -> list[str]:
    """Say which of the values that make a run differ between two configs; ``init_from`` may be left out of the new."""
    was, now = values(old), values(new)
    changed = [name for name in [*was, *(now.keys() - was.keys())] if was.get(name) != now.get(name)]
    free = {*SHARED_OUT, *(["init_from"] if now["init_from"] is None else [])}
    named = sorted((name for name in changed if name not in free), key=depth)
    return [f"{name} was {was.get(name)} and is {now.get(name)}" for name in named]


def depth(name: str) -> int:
    """How deep a key lies: what follows from another key lies deeper than that one, as a rule."""
    return name.count(".")


def suffix(config: DictConfig, compose: Callable[[list[str]], DictConfig]) -> str:
    """A short hash of what the rest of a run folder's name doesn't tell; empty if that tells all.

    It tells stage, model, task, seed, and whatever ``stage.tag`` is made of. A run has a hash if its values aren't
    those that these alone compose to. Outside a command it has none if its stage isn't to be found by its name.

    Args:
        config: the run's, not resolved yet.
        compose: overrides -> config of ``train``.
    """
    if COMPOSING.get():
        return ""
    token = COMPOSING.set(True)
    try:
        own, usual = values(config), usual_values(config, compose)
    finally:
        COMPOSING.reset(token)
    told = ("model.name", "task.name")
    names = [name for name in sorted(own.keys() | usual.keys()) if name not in told] if usual else []
    changed = {name: own.get(name) for name in names if own.get(name) != usual.get(name)}
    digest = hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()
    return f"-{digest[:6]}" if changed else ""


def usual_values(config: DictConfig, compose: Callable[[list[str]], DictConfig]) -> dict[str, Any]:
    """What the stage, the model and the task of a config compose to by themselves; empty if there is no such stage.

    Outside a command, which knows what was chosen, they are looked for by their names; those of a user's own are left
    to the stage.
    """
    tag = str(OmegaConf.to_container(config.stage, resolve=False)["tag"])  # type: ignore[call-overload, index]
    told = ["seed", *(key for key in re.findall(r"\$\{([\w.]+)\}", tag) if "." not in key)]
    settings = [f"{key}={OmegaConf.select(config, key)}" for key in told]
    chosen, search = command_line()
    names = {group: chosen.get(group) or OmegaConf.select(config, f"{group}.name") for group in CHOSEN}
    stage, model, task = (f"{group}={name}" for group, name in names.items())
    for options in ([stage, model, task], [stage, model], [stage, task], [stage]):
        if usual := compose_values(compose, (*options, *settings, *search)):
            return usual
    return {}


@lru_cache
def compose_values(compose: Callable[[list[str]], DictConfig], overrides: tuple[str, ...]) -> dict[str, Any]:
    """The values of a composed config, empty if it has no such options; composed once a process."""
    with suppress(HydraException, OmegaConfBaseException):
        return values(compose(list(overrides)))
    return {}


def command_line() -> tuple[dict[str, str], list[str]]:
    """The options that this command chose by group, and the override by which it finds a user's own, if it has one."""
    if not HydraConfig.initialized():
        return {}, []
    hydra = HydraConfig.get()
    search = [override for override in hydra.overrides.hydra if override.startswith("hydra.searchpath=")]
    return {group: option for group, option in hydra.runtime.choices.items() if group in CHOSEN and option}, search


def is_below(name: str, keys: Iterable[str]) -> bool:
    """Whether a dotted name is one of some keys, or below one."""
    return any(name == key or name.startswith(f"{key}.") for key in keys)


def plain(value: Any, places: Mapping[str, str]) -> Any:
    """A value as it is compared: 2.0 is 2, and a path begins with the name of the place that it lies in."""
    if isinstance(value, Mapping):
        return {str(key): plain(item, places) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, places) for item in value]
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
