"""At the end of a sweep: one table over its runs. Imports no torch."""

import json
import time
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

SHOWN = ("step", "train/loss", "val/loss", "val/success", "test/success")


class Summary(Callback):
    """Print what every run of a sweep came to, wherever its job ran, and write it to ``sweep.json`` in ``runs``."""

    def __init__(self) -> None:
        self.started = 0.0

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Remember when the sweep began."""
        self.started = time.time()

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Collect the runs that were entered since then."""
        folder = Path(config.runs)
        files = sorted(folder.rglob("metrics.json"), key=lambda file: file.stat().st_mtime)
        fresh = [f for f in files if f.stat().st_mtime >= self.started and (f.parent / "config.yaml").is_file()]
        results = {str(file.parent): json.loads(file.read_text()) | scores(file.parent) for file in fresh}
        if not results:
            print("the sweep finished no run")
            return
        table = Table("run", *SHOWN, title="sweep")
        for run, metrics in results.items():
            table.add_row(run, *(f"{metrics[name]:.4g}" if name in metrics else "" for name in SHOWN))
        Console().print(table)
        (folder / "sweep.json").write_text(json.dumps(results, indent=2))
        print(f"sweep: {folder / 'sweep.json'}")


def scores(run: Path) -> dict[str, float]:
    """Success of a run's latest evaluation, if there is one."""
    files = sorted(run.glob("evaluation/*/metrics.json"), key=lambda file: file.stat().st_mtime)
    return {"test/success": json.loads(files[-1].read_text())["success"]["all"]["mean"]} if files else {}
