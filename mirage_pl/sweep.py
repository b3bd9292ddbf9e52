"""At the end of a sweep: one table over its runs. Imports no torch."""

import json
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Column, Table

SHOWN = ("step", "train/loss", "val/loss", "val/success", "test/success")


class Summary(Callback):
    """Print what every run of a sweep came to, wherever its job ran, and write it to ``sweep.json`` in ``runs``.

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
            self.runs[folder] = (job_return.return_value or {}).get("failed", "")

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Collect what the runs wrote."""
        results = {folder: read(Path(folder)) | ({"failed": why} if why else {}) for folder, why in self.runs.items()}
        table = Table(Column("run", overflow="fold"), *SHOWN, title="sweep")
        for folder, metrics in results.items():
            table.add_row(folder, *(f"{metrics[name]:.4g}" if name in metrics else "" for name in SHOWN))
        Console().print(table)
        for folder, why in self.runs.items():
            if why:
                print(f"failed: {folder}: {why}")
        file = Path(config.runs, "sweep.json")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(results, indent=2))
        print(f"sweep: {file}")
        if any(self.runs.values()):
            print("the same command makes what failed again, and skips what is done")
            raise SystemExit(1)


def shown(folder: str) -> str:
    """A folder as the user would type it."""
    path = Path(folder)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def read(run: Path) -> dict[str, Any]:
    """Last metrics of a run, and success of its latest evaluation, as far as there are some."""
    metrics: dict[str, Any] = json.loads((run / "metrics.json").read_text()) if (run / "metrics.json").is_file() else {}
    files = sorted(run.glob("evaluation/*/metrics.json"), key=lambda file: file.stat().st_mtime)
    return metrics | ({"test/success": json.loads(files[-1].read_text())["success"]["all"]["mean"]} if files else {})
