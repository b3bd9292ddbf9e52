"""A Hydra sweeper for studies: named runs, some starting from others, each once for every value that is swept.

``python -m mirage_pl.train -m experiment=study/…`` uses it. Runs without a predecessor are launched together, then
those that start from them, and so on: on a cluster each wave is one array of jobs. Hydra looks for sweepers in this
namespace only.
"""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

QUIET = ("seed",)
"""Swept keys that make no method of their own: a method's runs differ in them."""


class Matrix(BasicSweeper):
    """Sweep over named runs.

    Args:
        runs: name -> ``set``, overrides of this run, ``after``, the name of the run whose weights it starts from,
            ``into``, the key that takes that run's folder, ``init_from`` without it, and ``seed``, the one that it is
            made with, once, whichever are swept.
        only: the runs to make, with those before them; ``None`` for all.
        params: key -> values, swept for every run, as ``seed: 1,2,3``; the command line's sweeps go before them.
        max_batch_size: most jobs launched together; ``None``: all of a wave.

    Raises:
        ValueError: no runs, an unknown name, ``only`` is no list or an empty one, ``after`` in a circle, or after a run
            of several seeds one of one seed.
    """

    def __init__(
        self,
        runs: Mapping[str, Any],
        only: Sequence[str] | None = None,
        params: Mapping[str, str] | None = None,
        max_batch_size: int | None = None,
    ) -> None:
        super().__init__(max_batch_size, dict(params or {}))
        self.runs = {name: dict(run) for name, run in runs.items()}
        if not self.runs:
            raise ValueError("hydra.sweeper.runs is empty; a study names its runs there, see conf/experiment/study")
        for name in self.runs:
            self.check(name)
        if only is not None:
            self.check_only(only)
        needed = {before for name in only or self.runs for before in self.line(name)}
        self.runs = {name: run for name, run in self.runs.items() if name in needed}

    def check(self, name: str) -> None:
        """Refuse a run that can't be made; see the class."""
        run, before = self.runs[name], self.line(name)[1:2]
        if unknown := run.keys() - {"set", "after", "into", "seed"}:
            raise ValueError(f"hydra.sweeper.runs.{name} has {sorted(unknown)}; it may have set, after, into and seed")
        if "into" in run and not before:
            raise ValueError(f"hydra.sweeper.runs.{name} has into={run['into']} and no after; say which run goes there")
        if "seed" in run and any(self.runs[other].get("seed") != run["seed"] for other in before):
            raise ValueError(
                f"hydra.sweeper.runs.{name} is of seed {run['seed']} only, and {before[0]}, which it starts from, "
                "isn't; give it the same seed"
            )

    def check_only(self, only: Sequence[str]) -> None:
        """Refuse what isn't a list of runs; see the class."""
        if isinstance(only, str):
            raise ValueError(f"hydra.sweeper.only={only} must be a list; write hydra.sweeper.only=[{only}]")
        if not only:
            raise ValueError("hydra.sweeper.only=[] makes no run; leave it out for all of the study")
        for name in only:
            if name not in self.runs:
                near = get_close_matches(name, self.runs, 1)
                proposal = f"did you mean {near[0]}? " if near else ""
                raise ValueError(f"hydra.sweeper.only names {name}; {proposal}the runs are {', '.join(self.runs)}")

    def line(self, name: str) -> list[str]:
        """Return a run and its predecessors, from last to first.

        Raises:
            ValueError: one of them is unknown, or comes after itself.
        """
        line = [name]
        while (before := self.runs[line[-1]].get("after")) is not None:
            if before not in self.runs or before in line:
                problem = "comes after itself" if before in self.runs else "is no run of the study"
                raise ValueError(f"hydra.sweeper.runs.{line[-1]}.after={before}: {before} {problem}")
            line.append(before)
        return line

    def split_arguments(self, overrides: Any, max_batch_size: int | None) -> list[list[list[str]]]:  # type: ignore[override]
        """Lay out the waves: lists of jobs, each a list of overrides."""
        ((*points,),) = BasicSweeper.split_arguments(overrides, None)
        swept = [item.get_key_element() for item in overrides if item.is_sweep_override()]
        waves: list[list[list[str]]] = []
        depths = {name: len(self.line(name)) for name in self.runs}
        for depth in sorted(set(depths.values())):
            jobs = [self.job(name, point, swept) for point in points for name in self.runs if depths[name] == depth]
            jobs = [job for number, job in enumerate(jobs) if job not in jobs[:number]]
            size = max_batch_size or len(jobs)
            waves += [jobs[first : first + size] for first in range(0, len(jobs), size)]
        return waves

    def job(self, name: str, point: Sequence[str], swept: Sequence[str]) -> list[str]:
        """Overrides of one job: the run's own, then those of the command line and the sweep, which win."""
        run = self.runs[name]
        point = [f"seed={run['seed']}" if key(item) == "seed" and "seed" in run else item for item in point]
        loud = [item for item in point if key(item) in swept and key(item) not in QUIET]
        in_point = {key(item) for item in point}
        own = [item for item in run.get("set") or [] if key(item) not in in_point]
        tail = "".join("-" + re.sub(r"[^\w.=-]+", "_", item.removeprefix(parent(item))) for item in loud)
        result = [*own, *point, f"study.method='{name}{tail}'"]
        into = run.get("into", "init_from")
        if (before := run.get("after")) is not None and into not in in_point:
            seed = self.runs[before].get("seed", "${seed}")
            result.append(f"{into}='${{runs}}/${{study.name}}/{before}{tail}-seed{seed}'")
        return result


def key(override: str) -> str:
    """The key that an override sets."""
    return override.lstrip("+~").partition("=")[0]


def parent(override: str) -> str:
    """The key that an override sets, without its last part."""
    return "".join(key(override).rpartition(".")[:2])
