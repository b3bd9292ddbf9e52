"""Where a run's first weights come from: parts of finished runs of other stages. Imports no torch.

``stage.starts`` names them. A start is found by itself (the newest finished run of its stage), or given as ``run``;
``init_from`` gives the only one. ``environment.json`` remembers what was found.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from math import isfinite
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mirage_pl.engine.runs.config import read_config, read_record
from mirage_pl.engine.runs.entry import recorded_starts
from mirage_pl.engine.runs.folder import CONFIG, LAST, METRICS, is_finished
from mirage_pl.engine.runs.identity import is_below

CUT_SHORT = ("trainer.fast_dev_run", "trainer.limit_train_batches", "trainer.overfit_batches")
"""With a value here a run is a trial on a part of its data, which nothing starts from by itself."""


@dataclass(frozen=True)
class Start:
    """Where some of a run's weights come from.

    Attributes:
        stage: the newest finished run of this stage is taken; ``None``: only ``run``.
        alike: config keys that must have the same value in both runs.
        liked: config keys that decide among several such runs, the more alike the better.
        take: dotted prefix of the weights that are taken of the other run; empty: all.
        into: dotted prefix of where they go in this one; empty: they keep their place.
        fresh: dotted prefixes of weights in this one that may be missing there, or have another shape.
        kept: ``False``: they are frozen, so checkpoints don't hold them again; they are fetched from the other run.
        run: a run folder or a checkpoint in place of what would be found.
    """

    stage: str | None = None
    alike: Sequence[str] = ("task.name", "model.name")
    liked: Sequence[str] = ("seed",)
    take: str = ""
    into: str = ""
    fresh: Sequence[str] = ()
    kept: bool = True
    run: str | None = None


@dataclass(frozen=True)
class Candidate:
    """A run that might be started from.

    Attributes:
        folder: its folder.
        config: its config.
        steps: how many it took.
        wanted: how many its stage takes, or what it was asked for where that is more; 0: it goes by epochs.
        whole: whether it took its steps, on all of its data.
    """

    folder: Path
    config: DictConfig
    steps: int
    wanted: int
    whole: bool

    @property
    def age(self) -> float:
        """When it was saved last."""
        return (self.folder / LAST).stat().st_mtime

    def __str__(self) -> str:
        of = f"{self.steps} of {max(self.wanted, self.steps)}" if self.wanted else str(self.steps)
        return f"{self.folder} ({of} steps)"


def read_starts(cfg: DictConfig) -> dict[str, Start]:
    """The starts of a config by name; ``init_from`` stands in the only one, or is one where the stage has none.

    Raises:
        ValueError: an unknown key, several starts and one ``init_from``, or a part that is trained but not kept.
    """
    known = [field.name for field in fields(Start)]
    starts: dict[str, Start] = {}
    for name, node in (OmegaConf.select(cfg, "stage.starts") or {}).items():
        if node is None:
            continue
        options: Any = OmegaConf.to_container(node, resolve=True)
        if unknown := options.keys() - set(known):
            raise ValueError(f"stage.starts.{name}.{min(unknown)} is unknown; a start has {', '.join(known)}")
        starts[str(name)] = Start(**options)
    if cfg.init_from:
        if len(starts) > 1:
            keys = " ".join(f"stage.starts.{name}.run=" for name in starts)
            raise ValueError(f"init_from={cfg.init_from}: stage={cfg.stage.name} has several starts; give {keys}")
        name, start = next(iter(starts.items()), ("weights", Start()))
        starts[name] = Start(**{**vars(start), "run": str(cfg.init_from)})
    for name, start in starts.items():
        if not start.kept and not (start.into and is_below(start.into, cfg.stage.freeze)):
            raise ValueError(
                f"stage.starts.{name}.kept=false, but {start.into or 'all'} is trained, and would be lost; add it to "
                "stage.freeze, or set kept: true"
            )
    return starts


def find_starts(cfg: DictConfig) -> dict[str, str]:
    """Name -> run folder or checkpoint from which a new run of a config takes its weights.

    Raises:
        ValueError: there is none; names the command that makes it.
    """
    starts = {name: start.run or find_run(cfg, start) for name, start in read_starts(cfg).items() if start_given(start)}
    return {name: str(Path(run)) for name, run in starts.items()}


def start_given(start: Start) -> bool:
    """Whether there is anything to find, or it was given."""
    return start.run is not None or start.stage is not None


def find_run(cfg: DictConfig, start: Start) -> Path:
    """Find the newest run of the start's stage that took its steps and has the same values of ``alike``.

    One that has more of ``liked`` in common goes before a newer one. A run that is itself cut short, for a trial, may
    start from others that are; of these the one that got furthest.

    Raises:
        ValueError: there is none; says how the nearest differs, and names the command that makes one.
    """
    wanted = {key: OmegaConf.select(cfg, key) for key in start.alike}
    liked = {key: OmegaConf.select(cfg, key) for key in start.liked}
    of_stage = [run for run in candidates(Path(cfg.runs)) if OmegaConf.select(run.config, "stage.name") == start.stage]
    fitting = [run for run in of_stage if likeness(run, wanted) == len(wanted)]
    if usable := [run for run in fitting if run.whole or (is_trial(cfg) and not is_cut_short(run.config))]:
        return max(usable, key=lambda run: (run.whole, likeness(run, liked), share(run), run.age)).folder
    words = " ".join(f"{key}={value}" for key, value in wanted.items()) or "any config"
    nearest = max(of_stage, key=lambda run: (likeness(run, wanted), run.whole, run.age), default=None)
    near = f" (the nearest, {why_not(nearest, wanted)})" if nearest else ""
    raise ValueError(
        f"stage={cfg.stage.name} starts from a finished {start.stage} run with {words}, and {cfg.runs}/ has "
        f"none{near}; run {making(start, wanted | liked)}, or set init_from="
    )


def making(start: Start, values: Mapping[str, Any]) -> str:
    """The command that makes a run to start from."""
    given = [f"{key.removesuffix('.name')}={value}" for key, value in values.items() if not key.endswith("._target_")]
    return " ".join([f"python -m mirage_pl.train stage={start.stage}", *given])


def why_not(run: Candidate, wanted: Mapping[str, Any]) -> str:
    """Why nothing starts from a run of the right stage."""
    others = {key: OmegaConf.select(run.config, key) for key in wanted}
    if differing := [f"{key}={value}" for key, value in others.items() if value != wanted[key]]:
        return f"{run.folder}, has {' '.join(differing)}"
    if is_cut_short(run.config):
        return f"{run.folder}, saw only a part of its data; init_from={run.folder} starts from it all the same"
    return f"{run.folder}, took {run.steps} of {run.wanted} steps; init_from={run.folder} starts from it all the same"


def likeness(run: Candidate, values: Mapping[str, Any]) -> int:
    """How many of some keys have these values."""
    return sum(OmegaConf.select(run.config, key) == value for key, value in values.items())


def share(run: Candidate) -> float:
    """How much of its way a run went."""
    return min(1.0, run.steps / run.wanted) if run.wanted else 1.0


def candidates(runs: Path) -> Iterator[Candidate]:
    """All ended runs below a folder whose loss is a number; what can't be read is none."""
    for file in runs.rglob(CONFIG):
        if is_finished(file.parent):
            try:
                run = read_candidate(file.parent)
            except ValueError:
                continue
            if run is not None:
                yield run


def read_candidate(folder: Path) -> Candidate | None:
    """Read what a run has come to; ``None`` if its loss isn't a number.

    Raises:
        ValueError: one of its files can't be read.
    """
    config, metrics = read_config(folder / CONFIG), read_record(folder / METRICS)
    losses = [value for name, value in metrics.items() if name.startswith("train/")]
    if not all(isinstance(loss, int | float) and isfinite(loss) for loss in losses):
        return None
    steps, epoch = (int(metrics.get(name) or 0) for name in ("step", "epoch"))
    limits = {name: OmegaConf.select(config, f"trainer.{name}") or 0 for name in ("max_steps", "max_epochs")}
    wanted = max(limits["max_steps"], OmegaConf.select(config, "stage.max_steps") or 0)
    if limits["max_epochs"] > 0:
        wanted = max(limits["max_steps"], 0)
    whole = steps >= wanted > 0 or epoch >= limits["max_epochs"] > 0
    return Candidate(folder, config, steps, wanted, whole and steps > 0 and not is_cut_short(config))


def is_trial(cfg: DictConfig) -> bool:
    """Whether a run is asked for fewer steps than its stage takes, or for a part of its data."""
    asked = cfg.trainer.max_steps
    return is_cut_short(cfg) or 0 <= asked < (OmegaConf.select(cfg, "stage.max_steps") or 0)


def is_cut_short(config: DictConfig) -> bool:
    """Whether a run sees only a part of its data."""
    given = [OmegaConf.select(config, key) for key in CUT_SHORT]
    return any(value not in (None, False, 0, 1.0) or (value == 1 and isinstance(value, int)) for value in given)


def describe_start(path: str) -> str:
    """A start as the console says it: the run, and how many of its steps it took."""
    folder = run_folder(Path(path))
    try:
        run = read_candidate(folder) if (folder / METRICS).is_file() else None
    except ValueError:
        run = None
    return str(run).replace(str(folder), path, 1) if run else f"{path} (which tells nothing of its steps)"


def run_folder(start: Path) -> Path:
    """The run folder of a start, which is one, or a checkpoint in one."""
    return start.parents[1] if start.suffix == ".ckpt" else start


def locate(start: str, near: Path) -> Path:
    """Where a start is now: at its path, or in the same place beside the run that began with it, if both were moved.

    Args:
        start: run folder or checkpoint, as remembered.
        near: the folder of the run that began with it.

    Raises:
        ValueError: it is in neither place.
    """
    path = Path(start)
    if path.exists():
        return path
    for end in (Path(*path.parts[at:]) for at in range(int(path.is_absolute()), len(path.parts))):
        for place in (above / end for above in near.resolve().parents):
            if place.exists() and (run_folder(place) / CONFIG).is_file():
                return place
    raise ValueError(f"{near} takes weights from {start}, which isn't there; bring that run back to its place")


def recorded(folder: Path) -> dict[str, tuple[Start, Path]]:
    """Name -> start and where it lies, of what a run's own checkpoints don't hold.

    Raises:
        ValueError: it isn't there, or a file of the run can't be read.
    """
    starts, places = read_starts(read_config(folder / CONFIG)), recorded_starts(folder)
    return {
        name: (start, locate(places[name], folder))
        for name, start in starts.items()
        if not start.kept and name in places
    }
