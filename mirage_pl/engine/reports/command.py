"""One page over many runs: ``python -m mirage_pl.report RUNS... [--baseline METHOD] [--label NAME] [--out DIR]``."""

import shlex
from collections.abc import Sequence
from os.path import commonpath
from pathlib import Path
from typing import Any

from mirage_pl.engine.reports.findings import find
from mirage_pl.engine.reports.options import parser
from mirage_pl.engine.reports.study import find_runs, read_study
from mirage_pl.engine.reports.study_page import write_study
from mirage_pl.engine.reports.sweep import as_typed, summarise
from mirage_pl.engine.reports.tables import main_table, print_table
from mirage_pl.engine.runs.folder import METRICS, describe_environment


def run(arguments: Sequence[str]) -> dict[str, Any]:
    """Group the runs by method, compare them, and write the report; if none is evaluated, show what they came to.

    Args:
        arguments: of the command line.

    Returns:
        What ``results.json`` holds; of runs that aren't evaluated, ``sweep.json``.

    Raises:
        ValueError: no runs, or some that can't be compared.
    """
    options = parser().parse_args(arguments)
    folders = find_runs(options.runs)
    if not (
        options.label or options.baseline or any(any(folder.glob(f"evaluation/*/{METRICS}")) for folder in folders)
    ):
        root = commonpath([folder.parent for folder in folders])
        return summarise({as_typed(str(folder)): "" for folder in folders}, options.out or Path(root, "report"))
    study = read_study(options.runs, options.label)
    command = shlex.join(["python", "-m", "mirage_pl.report", *arguments])
    found = find(study, options.baseline, options.words)
    results = {**found, "made": {"command": command, "git": describe_environment()["git"]}}
    page = write_study(options.out or study.root / "report", study, results, options.words)
    print_table(main_table(results), f"{results['task']}, evaluations named {results['label']}")
    print("\n".join([*results["verdict"], *(f"left out: {note}" for note in results["notes"])]))
    print(f"report: {page}")
    return results
