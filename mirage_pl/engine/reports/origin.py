"""A report's section on where a run comes from: commands, versions, settings, and what it was tested on."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from yaml import YAMLError

from mirage_pl.engine.evaluation.measures import write_value
from mirage_pl.engine.evaluation.results import Result, parse_object
from mirage_pl.engine.reports.page import paragraphs
from mirage_pl.engine.runs.folder import CONFIG, ENVIRONMENT
from mirage_pl.engine.runs.identity import flatten

PLACES = {"run_dir", "runs", "data", "init_from"}
"""Where things lie: no setting of the run."""


def describe_items(result: Result) -> str:
    """What the items are to the model: held out, or trained on, as far as that is known."""
    test, total = result.metrics.get("test") or {}, len(result.rows)
    seen = test.get("seen")
    if seen == 0:
        return "held-out samples"
    if seen is None:
        return "samples; whether it was trained on any of them isn't known"
    if seen >= total:
        return "samples, all of which it was trained on"
    unseen = result.by_group(result.first).get("unseen")
    value = " ".join(filter(None, write_value(result.measures[result.first], unseen))) if unseen else ""
    apart = f" ({value} of the {unseen['n']} others)" if unseen else ""
    return f"samples, {seen} of which it was trained on{apart}"


def lay_out_origin(result: Result, label: str) -> str:
    """List commands, checkpoint, versions and settings of a run."""
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
    return f"<h3>{label}</h3><dl>{items}</dl>" + paragraphs(
        f"{result.run} has no {name}, so what it says is left out." for name in absent
    )


def describe_environment(file: Path) -> dict[str, Any]:
    """Command, revision and versions of training; empty without the file.

    Raises:
        ValueError: it is broken.
    """
    if not file.is_file():
        return {}
    saved = parse_object(file.read_bytes(), str(file), {}, "train that run again, or delete this file")
    changed = f" with {saved['uncommitted_files']} uncommitted files" if saved.get("uncommitted_files") else ""
    packages = {"python": saved.get("python")} | (saved.get("packages") or {})
    return {
        "training": saved.get("command"),
        "started": saved.get("started"),
        "git revision": f"{saved.get('git') or 'unknown'}{changed}",
        "packages": ", ".join(f"{name} {version}" for name, version in packages.items() if version),
    }


def describe_settings(file: Path) -> dict[str, Any]:
    """The top of a run's config: numbers and words as they are, of a group its name or class; empty without the file.

    Raises:
        ValueError: it is broken.
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
    """Say what was tested on, and whether any of it is in the training file."""
    if not test:
        return None
    seen = "not known how many" if test.get("seen") is None else test["seen"]
    items = f"{test.get('file')}: {test.get('rows')} rows, digest {test.get('digest')}"
    return f"{items}; {seen} of them are in {test.get('train_file')}"
