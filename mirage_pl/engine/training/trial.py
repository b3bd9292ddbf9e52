"""Check what a run is built of. Optimizers and schedules, which are made late, are tried out on one weight."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch.nn import Parameter
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from mirage_pl.engine.arguments import HYDRAS, Call, check_arguments
from mirage_pl.engine.training.muon import MARK
from mirage_pl.engine.value_types import write_value

PARTS: Mapping[str, Sequence[str]] = {
    "loader": (),
    "trainer": ("callbacks", "logger", "plugins"),
    "logger": (),
    "callbacks": (),
    "task.data": ("collate",),
    "stage.collator": (),
    "stage.module": (),
}
"""What a run is built of -> arguments that it gets from the run, not from the config."""
NEEDED = ("loader", "task.data", "stage.collator", "stage.module")
ROLES = {"optimizer": Optimizer, "schedule": LRScheduler}
"""Entries of a module, or of one of its turns -> what they make."""
OF_GROUPS = ("decay_all", MARK)
"""Options of a part that no optimizer takes as an argument."""
NUM_STEPS = 10
"""Of a run, for a schedule."""


def check_parts(cfg: DictConfig) -> None:
    """Refuse a config by which something can't be built, before anything heavy is.

    Raises:
        ValueError: names the key.
    """
    named = cfg.copy()
    named.run_dir = str(cfg.run_dir)  # its name takes long to compute, and many parts contain it
    for key in NEEDED:
        if OmegaConf.select(cfg, key) is None:
            raise ValueError(f"{key}=null builds nothing, and a run needs it; leave that out")
    for key, given in PARTS.items():
        try_optimizers(check_arguments(named, key, given))


def try_optimizers(calls: Sequence[Call]) -> None:
    """Make each optimizer and schedule once, each optimizer also with the options of every part.

    Args:
        calls: what a stage builds.

    Raises:
        ValueError: one can't be made. Names the key whose value it refuses.
    """
    for call in calls:
        above, parent = call.parent
        role = next((name for name in ROLES if isinstance(parent, DictConfig) and parent.get(name) == call.node), None)
        if role is None or not call.node.get("_partial_"):
            continue
        options = {name: call.node[name] for name in map(str, call.node) if name not in HYDRAS}
        keys = {name: f"{call.key}.{name}" for name in options}
        make = partial(make_optimizer if role == "optimizer" else make_schedule, call.target)
        attempt(role, make, options, keys)
        for part, own in (parent.get("parts") or {}).items() if role == "optimizer" else ():
            more = {name: value for name, value in (own or {}).items() if name not in OF_GROUPS and value is not None}
            places = {name: f"{above}.parts.{part}.{name}" for name in more}
            attempt(role, make, options | more, keys | places)


def make_optimizer(target: Callable[..., Any], **options: Any) -> Any:
    """Make an optimizer of one weight."""
    return target([{"params": [Parameter(torch.zeros(1, 1))], MARK: 1.0}], **options)


def make_schedule(target: Callable[..., Any], **options: Any) -> Any:
    """Make a schedule of a short run."""
    return target(SGD([Parameter(torch.zeros(1, 1))]), NUM_STEPS, **options)


def attempt(role: str, make: Callable[..., Any], options: Mapping[str, Any], keys: Mapping[str, str]) -> None:
    """Make something, and find the option that is in the way: the one without which it can be made.

    Args:
        role: what is made.
        make: options -> what is made.
        options: by name.
        keys: of the options in the config.

    Raises:
        ValueError: it can't be made.
    """
    plain = {
        name: OmegaConf.to_object(value) if OmegaConf.is_config(value) else value for name, value in options.items()
    }
    error = find_error(role, make, plain)
    if error is None:
        return
    for name, value in options.items():
        if find_error(role, make, {other: plain[other] for other in plain if other != name}) is None:
            raise ValueError(f"{keys[name]}={write_value(value)} is refused ({error})")
    raise ValueError(f"no {role} can be made of {', '.join(keys.values())} ({error})")


def find_error(role: str, make: Callable[..., Any], options: Mapping[str, Any]) -> str | None:
    """Why something can't be made of some options; ``None`` if it can."""
    try:
        made = make(**options)
    except (ValueError, TypeError) as error:
        return " ".join(str(error).split())
    return None if isinstance(made, ROLES[role]) else f"it makes no {role}, but {type(made).__name__}"
