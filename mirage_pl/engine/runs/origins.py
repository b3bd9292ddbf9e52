"""Where the runs lie that a run has taken weights from, and what they are. Imports no torch."""

from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from mirage_pl.engine.help import list_parts
from mirage_pl.engine.place import CONF
from mirage_pl.engine.runs.candidates import Candidate, is_cut_short, read_candidate
from mirage_pl.engine.runs.config import read_config
from mirage_pl.engine.runs.entry import recorded_starts
from mirage_pl.engine.runs.folder import CONFIG, METRICS
from mirage_pl.engine.runs.starts import Start, read_starts

OFTEN_OTHER = ("task.name", "seed", "lora.name")
"""Keys in which a start often differs on purpose, so that nothing is said of them."""


def describe_start(path: str) -> str:
    """A start in words: the run and how many of its steps it took."""
    run = read_start_run(path)
    return str(run).replace(str(run.folder), path, 1) if run else f"{path} (which tells nothing of its steps)"


def explain_short(path: str) -> str:
    """Say of a start that it took fewer steps than its stage does by default, or saw a part of its data; else nothing.

    Its own config doesn't tell where it was shortened by ``stage.max_steps``.
    """
    if (run := read_start_run(path)) is None:
        return ""
    due = max(run.steps_due, read_default_steps(str(run.config.stage.name))) if run.steps_due else 0
    if is_cut_short(run.config):
        short = "saw only a part of its data"
    elif run.steps < due:
        short = f"took {run.steps} of the {due} steps of its stage"
    else:
        return ""
    return f"{path} {short}; was it meant as a start? init_from= names another"


def explain_other(cfg: DictConfig, start: Start, path: str) -> str:
    """Say of a start that it was trained for another use than this run's weights; nothing where it can't be read.

    A run that is named needs none of the values by which others are found, and one that is found none of ``liked``. One
    of another stage than is looked for needn't depend on these values; those count that its own starts share.

    Args:
        cfg: of the run that takes its weights.
        start: says which values they share; as do the starts that the other run had.
        path: of the other run.
    """
    try:
        other = read_config(folder_of(Path(path)) / CONFIG)
        shared = list(read_starts(other).values())
    except ValueError:
        return ""
    stage = OmegaConf.select(other, "stage.name")
    if as_a_rule := start.stage in (None, stage):
        shared = [start, *shared]
    keys = {key: None for each in shared for key in (*each.alike, *each.liked) if key not in OFTEN_OTHER}
    theirs, ours = ({key: OmegaConf.select(config, key) for key in keys} for config in (other, cfg))
    differing = [key for key in keys if None not in (theirs[key], ours[key]) and theirs[key] != ours[key]]
    sentences = (
        [] if as_a_rule else [f"{path} is a run of stage={stage}, and this one starts from {start.stage} as a rule"]
    )
    if differing:
        had, has = (", ".join(write_pair(key, values[key]) for key in differing) for values in (theirs, ours))
        sentences.append(
            f"{path} was trained with {had}, and this run has {has}; set the same, unless its weights are meant for "
            "another"
        )
    return "; ".join(sentences)


def write_pair(key: str, value: Any) -> str:
    """A key and its value; of a part of a config the key alone."""
    return f"{key}={value}" if isinstance(value, str | int | float) else f"another {key}"


def read_default_steps(stage: str) -> int:
    """Steps of a stage as its file says; 0: it is no stage of ours, or says none."""
    for file in list_parts(CONF / "stage" / f"{stage}.yaml"):
        steps = (yaml.safe_load(file.read_text()).get("stage") or {}).get("max_steps")
        if isinstance(steps, int):
            return steps
    return 0


def read_start_run(path: str) -> Candidate | None:
    """The finished run of a start; ``None`` if it can't be read."""
    folder = folder_of(Path(path))
    try:
        return read_candidate(folder) if (folder / METRICS).is_file() else None
    except ValueError:
        return None


def folder_of(start: Path) -> Path:
    """The run folder of a start that is a run folder or a checkpoint."""
    return start.parents[1] if start.suffix == ".ckpt" else start


def locate_run(start: str, near: Path) -> Path:
    """Find a start at its recorded path, or at the same place relative to the run if both were moved.

    Args:
        start: run folder or checkpoint, as recorded.
        near: folder of the run that takes weights from it.

    Raises:
        ValueError: it is in neither place.
    """
    path = Path(start)
    if path.exists():
        return path
    for end in (Path(*path.parts[at:]) for at in range(int(path.is_absolute()), len(path.parts))):
        for place in (above / end for above in near.resolve().parents):
            if place.exists() and (folder_of(place) / CONFIG).is_file():
                return place
    raise ValueError(f"{near} takes weights from {start}, which isn't there; bring that run back to its place")


def locate_unkept(folder: Path) -> dict[str, tuple[Start, Path]]:
    """Name -> start and its place, for every start whose weights the run's checkpoints don't hold and readers need.

    Raises:
        ValueError: a start isn't there, or a file of the run can't be read.
    """
    starts, places = read_starts(read_config(folder / CONFIG)), recorded_starts(folder)
    return {
        name: (start, locate_run(places[name], folder))
        for name, start in starts.items()
        if not start.kept and name in places
    }


def list_aside(folder: Path) -> list[str]:
    """Dotted prefixes of the weights that the run's checkpoints don't hold and that training alone needs.

    Raises:
        ValueError: a file of the run can't be read.
    """
    starts, places = read_starts(read_config(folder / CONFIG)), recorded_starts(folder)
    return [start.into for name, start in starts.items() if start.aside and name in places]
