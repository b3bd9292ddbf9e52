"""The runs of a sweep together: what tells them apart, one table, and one plot. Imports no torch."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Column, Table

from mirage_pl.engine.runs.folder import CONFIG, METRICS, read_config, write_json
from mirage_pl.engine.runs.identity import flatten

SHOWN = ("step", "train/loss", "val/loss", "val/success", "test/success")
PLACES = {"run_dir", "runs", "data", "features", "init_from", "evaluate", "callbacks", "logger"}
"""What of a config is no axis: where things lie, and what watches and scores a run."""


class Summary(Callback):
    """Show what every run of a sweep came to, wherever its job ran; ``sweep.json`` and ``sweep.png`` go to ``runs``.

    A sweep with a failed run ends with exit code 1, after that.
    """

    def __init__(self) -> None:
        self.runs: dict[str, str] = {}

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """Remember the run's folder, and why it failed if it did."""
        folder = shown(str(OmegaConf.select(job_return.hydra_cfg or DictConfig({}), "hydra.runtime.output_dir")))
        if job_return.status == JobStatus.FAILED:
            self.runs[folder] = repr(job_return._return_value)
        else:
            value = job_return.return_value
            self.runs[folder] = value.get("failed", "") if isinstance(value, dict) else ""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Collect what the runs wrote."""
        summarise(self.runs, Path(config.runs))
        if any(self.runs.values()):
            print("the same command makes what failed again, and skips what is done")
            raise SystemExit(1)


def summarise(runs: Mapping[str, str], out: Path) -> dict[str, Any]:
    """Print a table over some runs, and write ``sweep.json`` and, if they differ in anything, ``sweep.png``.

    Args:
        runs: run folder -> why it failed; an empty word if it didn't.
        out: where to; made if it isn't there.

    Returns:
        Run folder -> last metrics, ``axes``, and ``failed``.
    """
    from mirage_pl.engine.reports.axes import draw_axes
    from mirage_pl.engine.reports.panels import png
    from mirage_pl.engine.reports.plots import write

    results, configs = {}, {}
    for folder, why in runs.items():
        try:
            results[folder] = read(Path(folder)) | ({"failed": why} if why else {})
            if (file := Path(folder, CONFIG)).is_file():
                configs[folder] = leaves(file)
        except ValueError as error:
            results[folder] = {"failed": " ".join(str(error).split())}
    for folder, axes in zip(configs, find_axes(list(configs.values())), strict=True):
        results[folder]["axes"] = axes
    print_results(results)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "sweep.json", results)
    if (figure := draw_axes(list(results.values()))) is not None:
        write(out / "sweep.png", png(figure))
        print(f"plot: {out / 'sweep.png'}")
    print(f"sweep: {out / 'sweep.json'}")
    return results


def print_results(results: Mapping[str, Mapping[str, Any]]) -> None:
    """Print a row a run, and why some failed."""
    axes = list(dict.fromkeys(name for result in results.values() for name in result.get("axes", ())))
    metrics = [name for name in SHOWN if any(name in result for result in results.values())]
    table = Table(Column("run", overflow="fold"), *axes, *metrics, title="sweep")
    for folder, result in results.items():
        given = [say(result.get("axes", {}).get(name, "")) for name in axes]
        table.add_row(folder, *given, *(f"{result[name]:.4g}" if name in result else "" for name in metrics))
    Console().print(table)
    for folder, result in results.items():
        if "failed" in result:
            print(f"failed: {folder}: {result['failed']}")


def say(value: Any) -> str:
    """A value of an axis, in few digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def find_axes(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What tells runs apart, in the fewest and shortest words: of each run its place, axis -> value.

    Many keys follow from another, as a stage's losses from its name. A key is an axis only if those before it leave
    runs together that it tells apart: a study's method first, then the keys nearest to the top, seeds last.

    Args:
        configs: of each run key -> value.
    """
    keys = dict.fromkeys(key for config in configs for key in config)
    places: list[dict[str, Any]] = [{} for _ in configs]
    for key in sorted(keys, key=precedence):
        finer = [{**place, short(key): config.get(key, "–")} for place, config in zip(places, configs, strict=True)]
        if count(finer) > count(places):
            places = finer
    return places


def precedence(key: str) -> tuple[bool, bool, int, bool]:
    """Where a key stands among those that may tell runs apart; the first come first."""
    return key == "seed", key != "study.method", key.count("."), short(key) == key


def short(key: str) -> str:
    """The name of an axis: of a config group that of the group."""
    return "method" if key == "study.method" else key.removesuffix(".name").removesuffix("._target_")


def count(places: Sequence[Mapping[str, Any]]) -> int:
    """How many different ones there are."""
    return len({tuple(map(str, place.values())) for place in places})


def leaves(file: Path) -> dict[str, Any]:
    """Every key of a run's config that may be an axis, with its value: a number or a text. The seed stands at the top.

    Raises:
        ValueError: no config of a run.
    """
    config = read_config(file)
    found = {}
    for group in (str(name) for name in config if name not in PLACES):
        for key, value in flatten(config[group], group).items():
            if key.endswith("._target_"):
                value = str(value).rsplit(".", 1)[-1]
            number = isinstance(value, int | float) and not isinstance(value, bool)
            found[key] = value if number or isinstance(value, str) else json.dumps(value)
    folder = str(config.get("run_dir"))
    return {key: value for key, value in found.items() if folder not in str(value) and not key.endswith(".seed")}


def shown(folder: str) -> str:
    """A folder as the user would type it."""
    path = Path(folder)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def read(run: Path) -> dict[str, Any]:
    """Last metrics of a run, and success of its latest evaluation, as far as there are some."""
    metrics: dict[str, Any] = json.loads((run / METRICS).read_text()) if (run / METRICS).is_file() else {}
    files = sorted(run.glob(f"evaluation/*/{METRICS}"), key=lambda file: file.stat().st_mtime)
    return metrics | ({"test/success": json.loads(files[-1].read_text())["success"]["all"]["mean"]} if files else {})
