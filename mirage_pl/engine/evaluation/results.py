"""What an evaluation folder holds, read and checked."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mirage_pl.engine.runs.folder import METRICS

ROW = {"where": str, "group": str, "outcome": str, "success": bool, "text": str, "truth": str}
"""What a row of predictions must have; the report can do without its other keys."""


@dataclass(frozen=True)
class Evaluation:
    """What a report reads of one evaluation folder.

    Attributes:
        folder: the evaluation folder.
        place: position in the report, which gives the colour.
        name: the run's, unlike any other in the report.
        metrics: the content of ``metrics.json``.
        rows: the rows of ``predictions.jsonl``.
    """

    folder: Path
    place: int
    name: str
    metrics: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.folder.parent.parent

    @property
    def samples(self) -> list[tuple[str, ...]]:
        """What was asked: the same list means the same test file, so that answers can be paired."""
        return [(row["where"], row["group"], row["truth"]) for row in self.rows]

    @property
    def remedy(self) -> str:
        """What to do if a file of the folder is bad."""
        return f"run python -m mirage_pl.evaluate ckpt={self.run} task={self.folder.name} again"


def read_evaluation(folder: Path, place: int = 0) -> Evaluation:
    """Read and check ``metrics.json`` and ``predictions.jsonl``.

    Raises:
        ValueError: a file is missing or broken, or the two contradict each other.
    """
    empty = Evaluation(folder, place, folder.parent.parent.name, {}, [])
    shares = {"success": dict, "invalid": dict, "optimal": dict}
    contents = {}
    for file in (folder / METRICS, folder / "predictions.jsonl"):
        if not file.is_file():
            raise ValueError(f"{file} does not exist; {empty.remedy}")
        contents[file.suffix] = file.read_bytes().rstrip(b"\n")
    metrics = parse(contents[".json"], str(folder / METRICS), shares, empty.remedy)
    for share in shares:
        for group in ("all", *metrics[share]):
            if not {"mean", "low", "high", "n"} <= set(metrics[share].get(group) or ()):
                raise ValueError(f"{folder / METRICS}: {share} of {group} needs mean, low, high, n; {empty.remedy}")
    lines = enumerate(contents[".jsonl"].split(b"\n"), start=1)
    rows = [parse(line, f"{folder / 'predictions.jsonl'}:{number}", ROW, empty.remedy) for number, line in lines]
    right, total = sum(row["success"] for row in rows), metrics["success"]["all"]
    if total["n"] != len(rows) or abs(total["mean"] - right / len(rows)) > 1e-3:
        said = f"{METRICS} says {total['mean']:.1%} of {total['n']}"
        raise ValueError(f"{folder / 'predictions.jsonl'} has {right} of {len(rows)} right, {said}; {empty.remedy}")
    return replace(empty, name=str(metrics.get("name", empty.name)), metrics=metrics, rows=rows)


def parse(line: bytes, where: str, kinds: Mapping[str, type], remedy: str) -> dict[str, Any]:
    """Read a JSON object that has certain keys.

    Raises:
        ValueError: it is none, or a key is missing or of another type; names where, and what to do.
    """
    try:
        content = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where}: no JSON ({error}); {remedy}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{where}: expected an object, got {type(content).__name__}; {remedy}")
    for key, kind in kinds.items():
        if not isinstance(content.get(key), kind):
            raise ValueError(f"{where}: {key} must be {kind.__name__}, got {content.get(key)!r}; {remedy}")
    return content
