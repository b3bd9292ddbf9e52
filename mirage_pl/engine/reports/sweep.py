"""The summary of a sweep: what tells its runs apart, one table, and one plot. Imports no torch."""

import json
from collections.abc import Mapping, Sequence
from os.path import commonpath
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from mirage_pl.engine.console import Grid, print_grid
from mirage_pl.engine.evaluation.measures import read_measures
from mirage_pl.engine.reports.axes import find_axes, list_measures, list_settings, write_setting
from mirage_pl.engine.runs.folder import CONFIG, METRICS, write_json
from mirage_pl.engine.seams import Measure

SHOWN = ("step", "train/loss", "val/loss")
"""Numbers of training that the table shows, besides the measures."""


class Summary(Callback):
    """Summarize all runs of a sweep, wherever their jobs ran, into ``sweep.json`` and ``sweep.png``.

    They lie in ``runs``, those of a study beside its runs.

    A sweep with a failed run then ends with exit code 1.
    """

    def __init__(self) -> None:
        self.runs: dict[str, str] = {}

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """Note the run's folder, and why it failed if it did."""
        folder = shorten_folder(
            str(OmegaConf.select(job_return.hydra_cfg or DictConfig({}), "hydra.runtime.output_dir"))
        )
        if job_return.status == JobStatus.FAILED:
            self.runs[folder] = repr(job_return._return_value)
        else:
            value = job_return.return_value
            self.runs[folder] = value.get("failed", "") if isinstance(value, dict) else ""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Read what the runs wrote, and summarize it."""
        summarize_runs(self.runs, Path(config.runs, OmegaConf.select(config, "study.name") or ""))
        if any(self.runs.values()):
            print("the same command repeats the failed runs and skips those that are done")
            raise SystemExit(1)


def summarize_runs(runs: Mapping[str, str], out: Path) -> dict[str, Any]:
    """Print a table over some runs, and write ``sweep.json`` and, if they differ in anything, ``sweep.png``.

    Args:
        runs: run folder -> why it failed; empty if it didn't.
        out: folder for the files; created if missing.

    Returns:
        Run folder -> last metrics, ``axes``, and ``failed``.
    """
    from mirage_pl.engine.reports.sweep_plot import (
        draw_sweep,
        save_picture,
    )  # loads matplotlib, which training doesn't need

    results, configs = {}, {}
    measures: dict[str, Measure] = {}
    for folder, why in runs.items():
        try:
            results[folder] = read_outcome(Path(folder), measures) | ({"failed": why} if why else {})
            if (file := Path(folder, CONFIG)).is_file():
                configs[folder] = list_settings(file)
        except ValueError as error:
            results[folder] = {"failed": " ".join(str(error).split())}
    for folder, axes in zip(configs, find_axes(list(configs.values())), strict=True):
        results[folder]["axes"] = axes
    print_results(results)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "sweep.json", results)
    if (figure := draw_sweep(list(results.values()), measures)) is not None:
        save_picture(out / "sweep.png", figure)
        print(f"plot: {out / 'sweep.png'}")
    else:  # one of an earlier table would stand beside this one
        (out / "sweep.png").unlink(missing_ok=True)
    print(f"sweep: {out / 'sweep.json'}")
    return results


def print_results(results: Mapping[str, Mapping[str, Any]]) -> None:
    """Print one row per run, then the reasons of failures."""
    axes = list(dict.fromkeys(name for result in results.values() for name in result.get("axes", ())))
    metrics = [name for name in SHOWN if any(name in result for result in results.values())]
    metrics += list_measures(results.values())
    shared, names = shorten_names(list(results))
    rows = []
    for run, result in zip(names, results.values(), strict=True):
        places = [write_setting(result.get("axes", {}).get(name, "")) for name in axes]
        numbers = [f"{result[name]:.4g}" if isinstance(result.get(name), int | float) else "–" for name in metrics]
        rows.append([run, *places, *numbers])
    print_grid(Grid(["run", *axes, *metrics], rows), f"sweep of runs in {shared}" if shared else "sweep")
    for folder, result in results.items():
        if "failed" in result:
            print(f"failed: {folder}: {result['failed']}")


def shorten_names(folders: Sequence[str]) -> tuple[str, list[str]]:
    """Find the folder that holds all of some folders, and name each within it; empty if that is the current one."""
    paths = [Path(folder).absolute() for folder in folders]
    shared = Path(commonpath([path.parent for path in paths])) if paths else Path.cwd()
    if Path.cwd().is_relative_to(shared):
        return "", list(folders)
    return shorten_folder(str(shared)), [str(path.relative_to(shared)) for path in paths]


def shorten_folder(folder: str) -> str:
    """Write a folder relative to the current one, if it lies below it."""
    path = Path(folder)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def read_outcome(run: Path, measures: dict[str, Measure]) -> dict[str, Any]:
    """Read the last metrics of a run, and the first measure of its latest evaluation; what is missing is left out.

    Args:
        run: the run folder.
        measures: by name; those of the evaluation are added.

    Raises:
        ValueError: a file is broken.
    """
    metrics: dict[str, Any] = json.loads((run / METRICS).read_text()) if (run / METRICS).is_file() else {}
    files = sorted(run.glob(f"evaluation/*/{METRICS}"), key=lambda file: file.stat().st_mtime)
    if not files:
        return metrics
    evaluation = json.loads(files[-1].read_text())
    measures |= read_measures(evaluation.get("measures"))
    first = next(iter(evaluation["measures"]))
    return metrics | {f"test/{first}": evaluation[first]["all"]["mean"]}
