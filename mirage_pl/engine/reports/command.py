"""One page over many runs: ``python -m mirage_pl.report RUNS... [--baseline METHOD] [--label NAME] [--out DIR]``."""

import shlex
from collections.abc import Sequence
from os.path import commonpath
from pathlib import Path
from typing import Any

from mirage_pl.engine.reports.findings import compute_findings
from mirage_pl.engine.reports.options import build_parser
from mirage_pl.engine.reports.study import find_runs, read_study
from mirage_pl.engine.reports.study_page import write_study
from mirage_pl.engine.reports.sweep import shorten_folder, summarize_runs
from mirage_pl.engine.reports.tables import build_differences_table, build_main_table, print_table
from mirage_pl.engine.runs.folder import METRICS, describe_environment


def run(arguments: Sequence[str]) -> dict[str, Any]:
    """Group the runs by method, compare them, and write the report; if none is evaluated, summarize them as a sweep.

    Args:
        arguments: of the command line.

    Returns:
        The content of ``results.json``; of ``sweep.json`` if no run is evaluated.

    Raises:
        ValueError: there are no runs, or they can't be compared.
    """
    options = build_parser().parse_args(arguments)
    folders = find_runs(options.runs)
    if not (
        options.label or options.baseline or any(any(folder.glob(f"evaluation/*/{METRICS}")) for folder in folders)
    ):
        root = commonpath([folder.parent for folder in folders])
        return summarize_runs(
            {shorten_folder(str(folder)): "" for folder in folders}, options.out or Path(root, "report")
        )
    study = read_study(options.runs, options.label)
    command = shlex.join(["python", "-m", "mirage_pl.report", *arguments])
    findings = compute_findings(study, options.baseline, options.words)
    results = {**findings, "made": {"command": command, "git": describe_environment()["git"]}}
    page = write_study(options.out or study.root / "report" / study.label, study, results, options.words)
    print_table(build_main_table(results), f"{results['task']}, evaluations named {results['label']}")
    if (differences := build_differences_table(results)).rows:
        print_table(differences, f"difference from {results['baseline']} on the same rows")
    print("\n".join([*results["verdict"], *(f"left out: {note}" for note in results["notes"])]))
    print(f"report: {page}")
    return results
