"""``--help``: in half the time, and with the values that a verb and the chosen options have, as their files say."""

import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra.core.hydra_config import HydraConfig

from mirage_pl.engine.options import is_offered
from mirage_pl.engine.place import CONF
from mirage_pl.engine.wrapping import wrap_help

GROUPS = {"evaluate": ("task", "evaluation", "decoding"), "infer": ("session", "decoding"), "data": ("task",)}
"""What a verb chooses from; every other one chooses from all groups."""
_WHOLE = re.compile(r"@_(global|here)_$")
"""Ends the name of a config that is taken whole into the same place."""

BUILT = ("defaults", "hydra", "stage", "session", "evaluation", "dataset", "data", "puzzle", "world")
"""Keys whose values are read or built of others."""

_BUILDS = re.compile(r" *_(target|partial|convert|recursive)_:")
_BLOCK = re.compile(r"^(?=[a-z]\w*:)", re.MULTILINE)
"""Where the block of a key at the top of a YAML file begins."""


def improve_help() -> None:
    """Let ``--help`` list values, wrapped to the console, and halve its time."""
    if "--help" in sys.argv:
        read_configs_once()
        list_values_too()


def read_configs_once() -> None:
    """Halve the time of ``--help``, for which Hydra copies all configs again for each group that it lists."""
    copy_configs, copies = ConfigLoaderImpl._parse_overrides_and_create_caching_repo, dict[Any, Any]()

    def copy_once(self: Any, config_name: str | None, overrides: list[str]) -> Any:
        key = self, config_name, *overrides
        if key not in copies:
            copies[key] = copy_configs(self, config_name, overrides)
        return copies[key]

    ConfigLoaderImpl._parse_overrides_and_create_caching_repo = copy_once  # type: ignore[method-assign]


def list_values_too() -> None:
    """Add to Hydra's help the values of the verb and of the options that were chosen."""
    write_help, list_groups = Hydra.get_help, Hydra.format_config_groups

    def write_more(self: Any, *given: Any, **named: Any) -> str:
        hydra = HydraConfig.get()
        verb = str(hydra.job.config_name).removesuffix(".yaml")
        own = GROUPS.get(verb, ())
        known = self.config_loader.get_group_options

        def offer(group_name: str, *more: Any, **named: Any) -> list[str]:
            return [option for option in known(group_name, *more, **named) if is_offered(group_name, option, verb)]

        def list_own(predicate: Callable[[str], bool], *more: Any) -> str:
            return list_groups(self, lambda group: predicate(group) and fits(group), *more)

        def fits(group: str) -> bool:
            return is_offered(group, "", verb) and (not own or group.partition("/")[0] in own)

        self.format_config_groups, self.config_loader.get_group_options = list_own, offer
        typed = {word.partition("=")[0] for word in sys.argv[1:]}
        chosen = [
            CONF / group / f"{option}.yaml"
            for group, option in hydra.runtime.choices.items()
            if group in typed or group in own
        ]
        files = dict.fromkeys(part for file in (CONF / f"{verb}.yaml", *chosen) for part in list_parts(file))
        parts = [write_help(self, *given, **named), *filter(None, map(write_values, files))]
        return wrap_help("\n".join(parts), shutil.get_terminal_size().columns)

    Hydra.get_help = write_more  # type: ignore[method-assign]


def list_parts(file: Path) -> Iterator[Path]:
    """A config file, and those that it takes whole into the same place; none that isn't ours."""
    if not file.is_file():
        return
    yield file
    for part in yaml.safe_load(file.read_text()).get("defaults", []):
        name = _WHOLE.sub("", part) if isinstance(part, str) else "@"
        if name != "_self_" and "@" not in name:
            yield from list_parts((CONF if name.startswith("/") else file.parent) / f"{name.lstrip('/')}.yaml")


def write_values(file: Path) -> str:
    """The values of a config file with their comments; what is built of them, and what is composed, is left out."""
    lines = [f"  {line}" for line in list_lines(file.read_text())]
    return "\n".join([f"Values of {file.relative_to(CONF).with_suffix('')}:", *lines, ""]) if lines else ""


def list_lines(text: str) -> Iterator[str]:
    """The lines of a YAML file that a user may set."""
    for block in _BLOCK.split(text)[1:]:
        if block.partition(":")[0] not in BUILT:
            yield from (line for line in block.rstrip().splitlines() if not _BUILDS.match(line))
