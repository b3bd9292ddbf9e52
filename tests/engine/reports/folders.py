"""Fabricated run and evaluation folders, in the format of docs/reference/metrics.md, for any measures."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from mirage_pl.engine.evaluation.measures import estimate_change, estimate_interval, read_measures

TRAINED = {"step": 100, "seconds": 1800.0, "devices": 2, "device": "cpu"}
ANSWERS = {
    "success": {"kind": "share", "better": "higher", "unit": "", "meaning": "Success: right answers."},
    "optimal": {
        "kind": "share",
        "better": "higher",
        "unit": "",
        "meaning": "Optimal: right, and as short as possible.",
    },
    "invalid": {"kind": "share", "better": "lower", "unit": "", "meaning": "Invalid: no answer could be read."},
}
CLIPS = {
    "psnr": {"kind": "mean", "better": "higher", "unit": "dB", "meaning": "PSNR: peak signal-to-noise ratio."},
    "lpips": {"kind": "mean", "better": "lower", "unit": "", "meaning": "LPIPS: perceptual distance."},
    "return": {"kind": "mean", "better": "higher", "unit": "", "meaning": "Return: sum of rewards."},
    "fvd": {"kind": "set", "better": "lower", "unit": "", "meaning": "FVD: distance of two sets of clips."},
}
NOTHING = {"mean": None, "low": None, "high": None, "n": 0}
Scores = Mapping[str, Any]


def interval(measures: Mapping[str, Any], name: str, rows: Sequence[Scores], sets: Mapping[str, float]) -> Scores:
    """Of one measure over some rows."""
    measure = read_measures(measures)[name]
    if measure.kind == "set":
        return {"mean": sets[name], "low": None, "high": None, "n": len(rows)}
    values = [row[name] for row in rows if row.get(name) is not None]
    return estimate_interval(measure, values) if values else NOTHING


def condition(measures: Mapping[str, Any], own: Sequence[Scores], rows: Sequence[Scores], sets: Scores) -> Scores:
    """What metrics hold of a condition."""
    by_measure = {}
    for name, measure in read_measures(measures).items():
        number = interval(measures, name, rows, sets)
        if measure.kind == "set":
            difference = {"difference": sets[name], "low": None, "high": None, "n": len(rows)}
        elif number["n"]:
            difference = estimate_change(measure, [row[name] for row in own], [row[name] for row in rows])
        else:
            difference = {"difference": None, "low": None, "high": None, "n": 0}
        by_measure[name] = {**number, "groups": {}, "difference": difference}
    return {**by_measure[next(iter(measures))], "measures": by_measure}


def write_evaluation(
    folder: Path,
    rows: Sequence[Scores],
    measures: Mapping[str, Any] = ANSWERS,
    conditions: Mapping[str, Sequence[Scores]] | None = None,
    sets: Mapping[str, float] | None = None,
    conditions_in: str = "conditions",
    **metrics: Any,
) -> Path:
    """Write ``metrics.json`` and ``predictions.jsonl``.

    Args:
        folder: where to.
        rows: of predictions, each with ``where`` and ``group``.
        measures: as in ``metrics.json``.
        conditions: condition -> what each row scores under it.
        sets: of measures that are one number.
        conditions_in: as in ``metrics.json``.
        metrics: further keys.
    """
    folder.mkdir(parents=True, exist_ok=True)
    groups = {group: [row for row in rows if row["group"] == group] for group in sorted({row["group"] for row in rows})}
    content: dict[str, Any] = {"evaluation": "items", "measures": dict(measures), "conditions_in": conditions_in}
    content |= {"numbers_in": "numbers", "words": None, "task": "vsp", "ungraded": 0}
    for name in measures:
        by_group = {group: interval(measures, name, members, sets or {}) for group, members in groups.items()}
        content[name] = {**by_group, "all": interval(measures, name, rows, sets or {})}
    if conditions:
        content[conditions_in] = {
            name: condition(measures, rows, scores, sets or {}) for name, scores in conditions.items()
        }
        rows = [
            {**row, conditions_in: {name: each[index] for name, each in conditions.items()}}
            for index, row in enumerate(rows)
        ]
    (folder / "metrics.json").write_text(json.dumps(content | metrics))
    (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def graded(right: bool) -> dict[str, bool]:
    """What an answer scores."""
    return {"success": right, "optimal": right, "invalid": False}


def make_run(
    folder: Path, seed: int = 1, method: str | None = None, paper: Any = None, start: str | None = None, **metrics: Any
) -> Path:
    """Write a trained run; ``metrics`` stand beside those of ``TRAINED``, ``start`` is what it took weights from."""
    folder.mkdir(parents=True)
    metrics = {"starts": {"weights": start}, **metrics} if start else metrics
    study = {"name": "main", "method": method, "paper": paper}
    (folder / "config.yaml").write_text(json.dumps({"seed": seed, "study": study}))  # JSON is YAML
    (folder / "metrics.json").write_text(json.dumps(TRAINED | metrics))
    (folder / "environment.json").write_text(json.dumps({"command": f"train seed={seed}", "git": "abc123"}))
    return folder


def answer(
    run: Path,
    right: str,
    interventions: Mapping[str, str] | None = None,
    label: str = "vsp",
    questions: str = "q",
    levels: int = 2,
    **metrics: Any,
) -> Path:
    """Write an evaluation: of ``right`` every character is an answer, ``y`` if it is right; levels take turns."""
    rows: list[dict[str, Any]] = []
    for index, letter in enumerate(right):
        row = {"id": f"{questions}{index}", "where": f"test.jsonl:{index + 1}", "group": f"level_{3 + index % levels}"}
        row |= {**graded(letter == "y"), "outcome": "success" if letter == "y" else "hole"}
        rows.append(row | {"text": "", "truth": str(run)})
    tampered = {name: [graded(letter == "y") for letter in others] for name, others in (interventions or {}).items()}
    mirage = {"conditions_in": "interventions", "numbers_in": "latents", "words": "mirage_pl.mirage.report"}
    write_evaluation(run / "evaluation" / label, rows, conditions=tampered, **(mirage | metrics))
    return run


def score_clips(
    run: Path, shift: float = 0.0, copies: float | None = None, label: str = "clips", **metrics: Any
) -> Path:
    """Write an evaluation of 12 clips: a run is the better the larger ``shift``.

    Args:
        run: the run folder.
        shift: added to each PSNR and return, taken off each LPIPS and the FVD.
        copies: what a condition ``copy_last`` adds to the shift; ``None``: there is no such condition.
        label: of the evaluation.
        metrics: further keys.
    """

    def scores(index: int, by: float) -> dict[str, float]:
        wave = (index * 7 % 12) / 12
        return {"psnr": 24 + 4 * wave + by, "lpips": 0.3 - 0.1 * wave - by / 50, "return": -20 + 10 * wave + 2 * by}

    rows = []
    for index in range(12):
        where = {"id": f"c{index}", "where": f"test/{index // 4}.npz:{index}@0", "group": ("push", "reach")[index % 2]}
        rows.append({**where, **scores(index, shift), "outcome": "done"})
    conditions = None
    if copies is not None:
        conditions = {"copy_last": [scores(index, shift + copies) for index in range(12)]}
    sets = {"fvd": 150 - 10 * shift}
    folder = run / "evaluation" / label
    write_evaluation(folder, rows, CLIPS, conditions, sets, **({"task": label, "name": run.name} | metrics))
    return folder


def log(run: Path, tag: str, values: Sequence[float], every: int = 10) -> None:
    """Log a scalar to TensorBoard."""
    with SummaryWriter(str(run / "tensorboard")) as writer:
        for index, value in enumerate(values, start=1):
            writer.add_scalar(tag, value, index * every)
