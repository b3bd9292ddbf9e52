"""Values on a command line that have another type than in YAML, refused in one line. Imports no torch."""

from collections.abc import Callable, Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mirage_pl.engine.mistakes import unquote

ALSO = {
    "trainer.devices": (str, ListConfig),
    "trainer.fast_dev_run": (int,),
    "trainer.deterministic": (str,),
    "trainer.val_check_interval": (float,),
}
"""Key -> types that it takes besides that of its value in YAML."""


def check_types(
    cfg: DictConfig, defaults: DictConfig, overrides: Sequence[str], takes: Callable[[str, Any], bool]
) -> None:
    """Refuse values of another type than in YAML. ``null``, lists of numbers, and fractions that are taken pass.

    Args:
        cfg: the config.
        defaults: the same without the overrides of single values.
        overrides: of single values, as typed.
        takes: whether what is built of a key takes a fraction, though its value in YAML is a whole number.

    Raises:
        ValueError: names the key, the value, and what may be given.
    """
    for override in overrides:
        key, _, written = override.partition("=")
        try:
            value, default = (OmegaConf.select(config, key) for config in (cfg, defaults))
        except OmegaConfBaseException:
            continue
        wanted = None if isinstance(value, ALSO.get(key, ())) else required_type(value, default)
        if wanted and not (is_number(value) and is_number(default) and takes(key, value)):
            sweep = "; for a sweep over these add -m" if isinstance(value, str) and "," in value else ""
            fitting = f"[{unquote(written)}]" if wanted == "a list" else write_value(default)
            raise ValueError(f"{key}={unquote(written)} must be {wanted}, as {key}={fitting}{sweep}")


def required_type(value: Any, default: Any) -> str | None:
    """The type that a value should have, in words; ``None`` if it may replace the default."""
    if value is None or default is None:
        return None
    number = is_number(value)
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "true or false"
    if isinstance(default, int):
        whole = number and float(value).is_integer()
        return None if whole else "a whole number"
    if isinstance(default, float):
        return None if number or isinstance(value, ListConfig | list) else "a number"
    if isinstance(default, ListConfig):
        return None if isinstance(value, ListConfig) else "a list"
    return None


def is_number(value: Any) -> bool:
    """Whether a value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def write_value(value: Any) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, ListConfig):
        return f"[{','.join(map(write_value, value))}]"
    if value is None or isinstance(value, bool):
        return {True: "true", False: "false", None: "null"}[value]
    return str(value)


def list_value_overrides() -> list[str]:
    """Overrides of this command that set single values, not options of groups."""
    given = HydraConfig.get()
    groups = {str(group).split("@")[0] for group in given.runtime.choices}
    return [
        item
        for item in given.overrides.task
        if not item.startswith(("~", "+")) and item.partition("=")[0].split("@")[0] not in groups
    ]
