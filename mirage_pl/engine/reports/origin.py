"""The section on how a run was made: commands, versions, settings, and test set."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from yaml import YAMLError

from mirage_pl.engine.evaluation.measures import write_value
from mirage_pl.engine.evaluation.results import Result, parse_object
from mirage_pl.engine.reports.page import lay_out_paragraphs
from mirage_pl.engine.runs.folder import CONFIG, ENVIRONMENT
from mirage_pl.engine.runs.identity import flatten

PLACES = {"run_dir", "runs", "data", "init_from"}
"""Config keys that say where files are: not settings of the run."""


def describe_items(result: Result) -> str:
    """Say whether the items were held out or trained on, as far as that is known."""
    test = result.metrics.get("test") or {}
    in_training = test.get("seen")  # rows of the test file; several of them may be one item, or none
    if in_training is None:
        return "samples; whether it was trained on any of them isn't known"
    seen = sum(row.get("seen") is True for row in result.rows)
    if in_training == 0 or seen == 0:
        return "held-out samples"
    if seen == len(result.rows):
        return "samples, all of which it was trained on"
    unseen = result.by_group(result.first).get("unseen")
    value = " ".join(filter(None, write_value(result.measures[result.first], unseen))) if unseen else ""
    apart = f" ({value} of the {unseen['n']} others)" if unseen else ""
    return f"samples, {seen} of which it was trained on{apart}"


def lay_out_origin(result: Result, label: str) -> str:
    """Lay out commands, checkpoint, versions and settings of a run."""
    facts = {"evaluation": result.metrics.get("command"), "checkpoint": result.metrics.get("ckpt")}
    facts |= describe_environment(result.run / ENVIRONMENT) | describe_settings(result.run / CONFIG)
    facts |= {"steps trained": result.metrics.get("steps"), "test set": describe_test(result.metrics.get("test") or {})}
    if result.metrics.get("seconds") is not None:
        facts["evaluation took"] = f"{float(result.metrics['seconds']):.1f} s"
    items = "".join(
        f"<dt>{escape(name)}</dt><dd><code>{escape(str(value))}</code></dd>"
        for name, value in facts.items()
        if value is not None
    )
    absent = [name for name in (ENVIRONMENT, CONFIG) if not (result.run / name).is_file()]
    return f"<h3>{label}</h3><dl>{items}</dl>" + lay_out_paragraphs(
        f"{result.run} has no {name}, so what it says is left out." for name in absent
    )


def describe_environment(file: Path) -> dict[str, Any]:
    """Describe command, revision and versions of training; empty without the file.

    Raises:
        ValueError: the file is broken.
    """
    if not file.is_file():
        return {}
    record = parse_object(file.read_bytes(), str(file), {}, "train that run again, or delete this file")
    changed = f" with {record['uncommitted_files']} uncommitted files" if record.get("uncommitted_files") else ""
    packages = {"python": record.get("python")} | (record.get("packages") or {})
    return {
        "training": record.get("command"),
        "started": record.get("started"),
        "git revision": f"{record.get('git') or 'unknown'}{changed}",
        "packages": ", ".join(f"{name} {version}" for name, version in packages.items() if version),
    }


def describe_settings(file: Path) -> dict[str, Any]:
    """List the top level of a run's config, groups by name or class; empty without the file.

    Raises:
        ValueError: the file is broken.
    """
    if not file.is_file():
        return {}
    try:
        config = OmegaConf.to_container(OmegaConf.load(file))
    except YAMLError as error:
        raise ValueError(f"{file}: no YAML ({error}); restore it, or delete it") from None
    settings = {}
    for key, value in config.items() if isinstance(config, dict) else ():
        if isinstance(value, Mapping):
            value = value.get("name", value.get("_target_"))
        if key not in PLACES and not isinstance(value, list | dict) and value is not None:
            settings[str(key)] = value
    leaves = flatten(config, "")
    return settings | {"max_steps": leaves.get(".trainer.max_steps")}


def describe_test(test: Mapping[str, Any]) -> str | None:
    """Describe the test set, and how much of it is in the training file."""
    if not test:
        return None
    seen = "not known how many" if test.get("seen") is None else test["seen"]
    items = f"{test.get('file')}: {test.get('rows')} rows, digest {test.get('digest')}"
    return f"{items}; {seen} of them are in {test.get('train_file')}"
