"""Axes of a sweep: the few config keys that tell its runs apart, under short names."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mirage_pl.engine.runs.config import read_config
from mirage_pl.engine.runs.identity import flatten

WATCHING = {"init_from", "evaluate", "callbacks", "logger"}
"""Config groups that are never an axis: they watch and score a run, or say where it starts."""


def find_axes(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Choose the axes, and locate each run on them.

    Many keys follow from others, as a stage's losses from its name. A key becomes an axis only if it tells apart runs
    that the axes before it don't: a study's method comes first, then the keys nearest to the top, seeds last.

    Args:
        configs: of each run, key -> value.

    Returns:
        Of each run, axis -> value.
    """
    keys = dict.fromkeys(key for config in configs for key in config)
    places: list[dict[str, Any]] = [{} for _ in configs]
    for key in sorted(keys, key=rank_key):
        finer = [{**place, name_axis(key): config.get(key, "–")} for place, config in zip(places, configs, strict=True)]
        if count_places(finer) > count_places(places):
            places = finer
    return places


def rank_key(key: str) -> tuple[bool, bool, int, bool]:
    """Sort key of the keys that may become axes."""
    return key == "seed", key != "study.method", key.count("."), name_axis(key) == key


def name_axis(key: str) -> str:
    """Name the axis of a key: a config group by the group alone."""
    return "method" if key == "study.method" else key.removesuffix(".name").removesuffix("._target_")


def count_places(places: Sequence[Mapping[str, Any]]) -> int:
    """Count the different places."""
    return len({tuple(map(str, place.values())) for place in places})


def list_settings(file: Path) -> dict[str, Any]:
    """List the keys of a run's config that may be axes, with their values: numbers or texts. Of seeds only the top one.

    Raises:
        ValueError: the file isn't the config of a run.
    """
    config = read_config(file)
    settings = {}
    for group in (str(name) for name in config if name not in WATCHING):
        for key, value in flatten(config[group], group).items():
            if key.endswith("._target_"):
                value = str(value).rsplit(".", 1)[-1]
            number = isinstance(value, int | float) and not isinstance(value, bool)
            settings[key] = value if number or isinstance(value, str) else json.dumps(value)
    places = tuple(str(config[name]) for name in ("run_dir", "runs", "data") if config.get(name))
    return {
        key: value for key, value in settings.items() if not key.endswith(".seed") and not lies_in(str(value), places)
    }


def lies_in(value: str, folders: tuple[str, ...]) -> bool:
    """Whether a value is one of the folders, or a path within one."""
    return any(value == folder or f"{folder}/" in value for folder in folders)


def list_measures(results: Iterable[Mapping[str, Any]]) -> list[str]:
    """List the numbers of some runs that are measures: of evaluations first, then of validation.

    Losses are logged in training and in validation, measures in validation alone.
    """
    names = dict.fromkeys(name for result in results for name in result)
    validated = [name for name in names if name.startswith("val/") and name.replace("val/", "train/", 1) not in names]
    return [*(name for name in names if name.startswith("test/")), *(name for name in validated if name != "val/loss")]


def write_setting(value: Any) -> str:
    """Write a value of an axis, with few digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
