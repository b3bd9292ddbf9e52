"""One page over many runs: ``python -m mirage_pl.report RUNS... [--baseline METHOD] [--label NAME] [--out DIR]``."""

import shlex
from argparse import ArgumentParser
from collections.abc import Sequence
from os.path import commonpath
from pathlib import Path
from typing import Any

from mirage_pl.engine.runs.folder import METRICS, environment


def run(arguments: Sequence[str]) -> dict[str, Any]:
    """Group the runs by method, compare them, and write the report; if none is evaluated, show what they came to.

    Args:
        arguments: of the command line.

    Returns:
        What ``results.json`` holds; of runs that aren't evaluated, ``sweep.json``.

    Raises:
        ValueError: no runs, or some that can't be compared.
    """
    from mirage_pl.engine.reports.findings import find
    from mirage_pl.engine.reports.study import find_runs, read_study
    from mirage_pl.engine.reports.study_page import write_study
    from mirage_pl.engine.reports.sweep import shown, summarise
    from mirage_pl.engine.reports.tables import main_table, print_table

    options = parser().parse_args(arguments)
    folders = find_runs(options.runs)
    if not (
        options.label or options.baseline or any(any(folder.glob(f"evaluation/*/{METRICS}")) for folder in folders)
    ):
        root = commonpath([folder.parent for folder in folders])
        return summarise({shown(str(folder)): "" for folder in folders}, options.out or Path(root, "report"))
    study = read_study(options.runs, options.label)
    command = shlex.join(["python", "-m", "mirage_pl.report", *arguments])
    found = {**find(study, options.baseline), "made": {"command": command, "git": environment()["git"]}}
    page = write_study(options.out or study.root / "report", study, found)
    print_table(main_table(found), f"{found['task']}, evaluations named {found['label']}")
    print("\n".join([*found["verdict"], *(f"left out: {note}" for note in found["notes"])]))
    print(f"report: {page}")
    return found


def parser() -> ArgumentParser:
    """The command line."""
    made = ArgumentParser(
        prog="python -m mirage_pl.report",
        description="Make one page of evaluated runs: table over seeds with intervals, differences to a baseline, "
        "interventions, learning curves, cost. Beside it: results.json, results.md and pictures. Of runs that aren't "
        "evaluated: a table, sweep.json, and sweep.png, a plot over the keys in which they differ.",
    )
    made.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folder, or a folder that holds some")
    made.add_argument("--baseline", metavar="METHOD", help="compare with this one (default: sft or direct_sft)")
    made.add_argument("--label", metavar="NAME", help="evaluations to read, where runs have several: evaluation/NAME")
    made.add_argument("--out", type=Path, metavar="DIR", help="default: report/ in the folder that holds all runs")
    return made
