"""Other runs' scores of the same questions, which ``against=`` names."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mirage_pl.engine.evaluation.results import Result, read_result
from mirage_pl.engine.runs.folder import CONFIG, METRICS
from mirage_pl.engine.seams import Row


def find_results(run: Path) -> list[Result]:
    """Read the evaluations of a run.

    Raises:
        ValueError: there is none, or it is no run folder.
    """
    if not (run / CONFIG).is_file():
        raise ValueError(f"against={run} is no run folder; give those of evaluated runs, as against=[RUN,RUN]")
    files = sorted(run.glob(f"evaluation/*/{METRICS}"))
    if not files:
        raise ValueError(f"against={run} has no evaluation; run python -m mirage_pl.evaluate ckpt={run} first")
    return [read_result(file.parent) for file in files]


def match_success(run: str, results: Sequence[Result], rows: Sequence[Row]) -> tuple[Result, list[Any]]:
    """Find the evaluation of a run that has scored the same questions, and its success of each.

    Raises:
        ValueError: there is none, or a question has no grade.
    """
    for result in results:
        theirs = {str(row.get("id")): row.get("success") for row in result.rows}
        values = [theirs.get(row["id"]) for row in rows]
        if len(theirs) == len(rows) and None not in values and all(row.get("success", 0) is not None for row in rows):
            return result, values
    raise ValueError(
        f"against={run} was scored on other questions; run python -m mirage_pl.evaluate ckpt={run} with this test file"
    )
