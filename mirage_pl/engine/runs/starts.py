"""Starts: finished runs of other stages that a run takes its first weights from. Imports no torch.

``stage.starts`` names them. Each is the newest finished run of its stage, unless ``run`` names one; ``init_from`` names
it for a stage with one start. ``environment.json`` records which runs were taken.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from mirage_pl.engine.arguments import check_options
from mirage_pl.engine.runs.candidates import (
    Candidate,
    count_equal,
    is_cut_short,
    is_trial,
    list_candidates,
    share_taken,
)
from mirage_pl.engine.runs.folder import LAST
from mirage_pl.engine.runs.identity import is_below


@dataclass(frozen=True)
class Start:
    """The source of some of a run's weights.

    Attributes:
        stage: take the newest finished run of this stage; ``None``: only ``run``.
        alike: config keys whose values must be the same in both runs.
        liked: config keys by which to choose among several such runs: the more equal values, the better.
        take: dotted prefix of the weights to take from the other run; empty: all.
        into: dotted prefix of their place in this run; empty: unchanged.
        fresh: dotted prefixes of weights of this run that may be missing or have another shape in the other.
        kept: ``False``: frozen weights, left out of checkpoints (not of DeepSpeed's) and fetched from the other run.
        aside: frozen weights that training alone needs: left out likewise, and fetched when the run goes on, but not by
            who reads it.
        run: a run folder or checkpoint to take instead.
        unless: config keys: where one is set, the weights come from there, and only ``run`` counts.
        beside: name of another start, from whose run this one takes, too: its ``stage``, ``alike``, ``liked`` and
            ``run`` are then that one's.
    """

    stage: str | None = None
    alike: Sequence[str] = ("task.name", "model.name")
    liked: Sequence[str] = ("seed",)
    take: str = ""
    into: str = ""
    fresh: Sequence[str] = ()
    kept: bool = True
    aside: bool = False
    run: str | None = None
    unless: Sequence[str] = ()
    beside: str | None = None

    @property
    def held(self) -> bool:
        """Whether checkpoints hold the weights."""
        return self.kept and not self.aside


def read_starts(cfg: DictConfig) -> dict[str, Start]:
    """The starts of a config by name; ``init_from`` replaces the only one, or adds one to a stage without any.

    Raises:
        ValueError: an unknown key, ``init_from`` with several starts, or a trained part with ``kept: false``.
    """
    nodes = OmegaConf.select(cfg, "stage.starts") or {}
    starts = {str(name): read_start(f"stage.starts.{name}", node) for name, node in nodes.items() if node is not None}
    if cfg.init_from:
        leading = list_leading(starts)
        if len(leading) > 1:
            keys = " ".join(f"stage.starts.{name}.run=" for name in leading)
            raise ValueError(f"init_from={cfg.init_from}: stage={cfg.stage.name} has several starts; give {keys}")
        name = leading[0] if leading else "weights"
        starts[name] = replace(starts.get(name, Start()), run=str(cfg.init_from))
    for name, start in list(starts.items()):
        if any(OmegaConf.select(cfg, key) is not None for key in start.unless):
            starts[name] = replace(start, stage=None)
    starts = {name: follow(name, start, starts) for name, start in starts.items()}
    for name, start in starts.items():
        if (
            not start.kept
            and not OmegaConf.select(cfg, "lora")
            and not (start.into and is_below(start.into, cfg.stage.freeze))
        ):
            raise ValueError(
                f"stage.starts.{name}.kept=false, but {start.into or 'all'} is trained, and would be lost; add it to "
                "stage.freeze, or set kept: true"
            )
    return starts


def list_leading(starts: Mapping[str, Start]) -> list[str]:
    """Names of the starts that say themselves which run they take from."""
    return [name for name, start in starts.items() if start.beside is None]


def follow(name: str, start: Start, starts: Mapping[str, Start]) -> Start:
    """A start that takes from another one's run.

    Raises:
        ValueError: there is no such start.
    """
    if start.beside is None:
        return start
    if (other := starts.get(start.beside)) is None:
        raise ValueError(f"stage.starts.{name}.beside={start.beside} names no start; there are {', '.join(starts)}")
    return replace(start, stage=other.stage, alike=other.alike, liked=other.liked, run=other.run)


def read_start(key: str, node: DictConfig) -> Start:
    """Read one start.

    Raises:
        ValueError: an unknown key, or a value of another type.
    """
    options: Any = OmegaConf.to_container(node, resolve=True)
    check_options(key, options, Start)
    return Start(**options)


def find_starts(cfg: DictConfig) -> dict[str, str]:
    """Name -> run folder or checkpoint from which a new run of a config takes its weights.

    Raises:
        ValueError: there is no such run; names the command that makes one.
    """
    starts = read_starts(cfg)
    several = len(list_leading(starts)) > 1
    keys = {name: f"stage.starts.{name}.run" if several else "init_from" for name in starts}
    given = {name: start for name, start in starts.items() if is_given(start)}
    for name, start in given.items():
        if start.run is not None:
            check_there("init_from" if start.run == cfg.init_from else f"stage.starts.{name}.run", Path(start.run))
    return {name: str(Path(start.run or find_run(cfg, start, keys[name]))) for name, start in given.items()}


def check_there(key: str, start: Path) -> None:
    """Refuse a start that isn't there, or has no weights.

    Raises:
        ValueError: names the key.
    """
    fix = "give a run folder, or a .ckpt file in one"
    if not start.exists():
        raise ValueError(f"{key}={start} doesn't exist; {fix}")
    if start.is_dir() and start.suffix != ".ckpt" and not (start / LAST).exists():
        raise ValueError(f"{key}={start} holds no {LAST}, so no weights can be taken from it; {fix}")


def is_given(start: Start) -> bool:
    """Whether a start names a stage or a run."""
    return start.run is not None or start.stage is not None


def find_run(cfg: DictConfig, start: Start, key: str) -> Path:
    """Find the newest run of the start's stage that took all its steps and has the same values of ``alike``.

    Equal values of ``liked`` count before age. A trial run may also start from runs that are cut short; the one that
    got furthest is taken.

    Args:
        cfg: of the new run.
        start: what is looked for.
        key: that names another run.

    Raises:
        ValueError: there is none; says how the nearest differs, and names the command that makes one.
    """
    required = {key: OmegaConf.select(cfg, key) for key in start.alike}
    preferred = {key: OmegaConf.select(cfg, key) for key in start.liked}
    of_stage = [
        run for run in list_candidates(Path(cfg.runs)) if OmegaConf.select(run.config, "stage.name") == start.stage
    ]
    fitting = [run for run in of_stage if count_equal(run, required) == len(required)]
    if usable := [run for run in fitting if run.whole or (is_trial(cfg) and not is_cut_short(run.config))]:
        return max(usable, key=lambda run: (run.whole, count_equal(run, preferred), share_taken(run), run.age)).folder
    words = " ".join(write_value(key, value) for key, value in required.items()) or "any config"
    nearest = max(of_stage, key=lambda run: (count_equal(run, required), run.whole, run.age), default=None)
    near = f" (the nearest, {explain_refusal(nearest, required, key)})" if nearest else ""
    raise ValueError(
        f"stage={cfg.stage.name} starts from a finished {start.stage} run with {words}, and {cfg.runs}/ has "
        f"none{near}; run {write_command(start, required | preferred)}, or set {key}="
    )


def write_command(start: Start, values: Mapping[str, Any]) -> str:
    """The command that makes a run to start from: with what this one's says of the same keys, else their values."""
    typed = list_typed({"data", "runs", *(key.partition(".")[0] for key in values)})
    groups = {word.partition("=")[0].partition(".")[0] for word in typed}
    given = [
        f"{key.removesuffix('.name')}={value}"
        for key, value in values.items()
        if isinstance(value, str | int | float)
        and not key.endswith("._target_")
        and key.partition(".")[0] not in groups
    ]
    return " ".join([f"python -m mirage_pl.train stage={start.stage}", *given, *map(quote, typed)])


def list_typed(groups: Collection[str]) -> list[str]:
    """What the command line gives of some groups of keys, as it was typed."""
    if not HydraConfig.initialized():
        return []
    words = [str(word).lstrip("+") for word in HydraConfig.get().overrides.task]
    return [word for word in words if word.partition("=")[0].partition(".")[0] in groups]


def write_value(key: str, value: Any) -> str:
    """A key and its value in words; of a part of a config that it is like this run's, or not."""
    return f"{key}={value}" if value is None or isinstance(value, str | int | float) else f"such a {key}"


def explain_refusal(run: Candidate, required: Mapping[str, Any], key: str) -> str:
    """Why a run of the right stage isn't used as a start."""
    others = {name: OmegaConf.select(run.config, name) for name in required}
    if differing := [write_value(name, value) for name, value in others.items() if value != required[name]]:
        return f"{run.folder}, has {' '.join(differing)}"
    if is_cut_short(run.config):
        return f"{run.folder}, saw only a part of its data; {key}={run.folder} starts from it all the same"
    return f"{run.folder}, took {run.steps} of {run.steps_due} steps; {key}={run.folder} starts from it all the same"
