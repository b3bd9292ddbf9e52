"""What tells runs apart: the keys of their configs in which they differ, in the fewest and shortest words."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mirage_pl.engine.runs.config import read_config
from mirage_pl.engine.runs.identity import flatten

WATCHING = {"init_from", "evaluate", "callbacks", "logger"}
"""What of a config is no axis: what watches and scores a run, besides where things lie."""


def find_axes(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What tells runs apart, in the fewest and shortest words: of each run its place, axis -> value.

    Many keys follow from another, as a stage's losses from its name. A key is an axis only if those before it leave
    runs together that it tells apart: a study's method first, then the keys nearest to the top, seeds last.

    Args:
        configs: of each run key -> value.
    """
    keys = dict.fromkeys(key for config in configs for key in config)
    places: list[dict[str, Any]] = [{} for _ in configs]
    for key in sorted(keys, key=precede):
        finer = [{**place, shorten(key): config.get(key, "–")} for place, config in zip(places, configs, strict=True)]
        if count_places(finer) > count_places(places):
            places = finer
    return places


def precede(key: str) -> tuple[bool, bool, int, bool]:
    """Where a key stands among those that may tell runs apart; the first come first."""
    return key == "seed", key != "study.method", key.count("."), shorten(key) == key


def shorten(key: str) -> str:
    """The name of an axis: of a config group that of the group."""
    return "method" if key == "study.method" else key.removesuffix(".name").removesuffix("._target_")


def count_places(places: Sequence[Mapping[str, Any]]) -> int:
    """How many different ones there are."""
    return len({tuple(map(str, place.values())) for place in places})


def list_settings(file: Path) -> dict[str, Any]:
    """Every key of a run's config that may be an axis, with its value: a number or a text. The seed stands at the top.

    Raises:
        ValueError: no config of a run.
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
    """Whether a value is one of some folders, or a path within."""
    return any(value == folder or f"{folder}/" in value for folder in folders)


def list_measured(results: Iterable[Mapping[str, Any]]) -> list[str]:
    """Which numbers of some runs are measures: of evaluations first, then of validation, where no loss is called so.

    Losses are logged in training and validation, measures in validation alone.
    """
    names = dict.fromkeys(name for result in results for name in result)
    measured = [name for name in names if name.startswith("val/") and name.replace("val/", "train/", 1) not in names]
    return [*(name for name in names if name.startswith("test/")), *(name for name in measured if name != "val/loss")]


def write_setting(value: Any) -> str:
    """A value of an axis, in few digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
