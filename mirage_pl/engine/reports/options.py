"""The command line of ``report``. Imports nothing heavy."""

from argparse import ArgumentParser
from pathlib import Path


def build_parser() -> ArgumentParser:
    """Build the parser of the command line."""
    line = ArgumentParser(
        prog="python -m mirage_pl.report",
        description="Write one page on evaluated runs: a table over seeds with intervals, differences from a baseline, "
        "conditions, learning curves, cost. Beside it: results.json, results.md and pictures. For runs that aren't "
        "evaluated: a table, sweep.json, and sweep.png, a plot over the keys in which they differ.",
    )
    line.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="run folder, or a folder that contains run folders"
    )
    line.add_argument("--baseline", metavar="METHOD", help="compare with this method (default: sft or direct_sft)")
    line.add_argument("--label", metavar="NAME", help="evaluations to read, where runs have several: evaluation/NAME")
    line.add_argument("--out", type=Path, metavar="DIR", help="default: report/LABEL in the folder that holds all runs")
    line.add_argument("--words", metavar="MODULE", help="your own family's words: my_family.report")
    return line
