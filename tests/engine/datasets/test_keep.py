"""``data keep=``: rows are chosen by what an evaluation measured of them."""

import json

import pytest
from hydra.utils import instantiate

from mirage_pl.engine.evaluation.results import PREDICTIONS
from mirage_pl.engine.runs.folder import METRICS
from tests.conftest import compose
from tests.engine.datasets.test_data import lines, run

GAINS = [3.0, 3.0, 3.0, 1.0, -2.0, 0.0, 0.5, 4.0, -1.0, 2.0, 0.25, 5.0]


@pytest.fixture
def scored(mine, tmp_path):
    """An evaluation of these rows; the last one couldn't be scored."""
    cfg = compose("data", "task=jsonl", f"task.train_file={mine}", "task.val_file=null", "task.test_file=null")
    rows = instantiate(cfg.task.dataset).read(str(mine))
    wheres = [rows[number] for number in range(12)]
    folder = tmp_path / "run/evaluation/gain"
    folder.mkdir(parents=True)
    kept = [
        {"where": sample.where, "id": rows.identity(sample), "group": "all", "gain": gain, "helped": gain > 0}
        for sample, gain in zip(wheres[:11], GAINS[:11], strict=True)
    ]
    interval = {"low": None, "high": None, "n": 11}
    metrics = {
        "measures": {name: {"kind": kind} for name, kind in (("gain", "mean"), ("helped", "share"), ("all", "set"))},
        "gain": {"all": {"mean": sum(GAINS[:11]) / 11, **interval}},
        "helped": {"all": {"mean": 8 / 11, **interval}},
        "all": {"all": {"mean": 1.0, **interval}},
        "failures": [{"where": wheres[11].where, "error": "torn"}],
    }
    (folder / METRICS).write_text(json.dumps(metrics))
    (folder / PREDICTIONS).write_text("".join(json.dumps(row) + "\n" for row in kept))
    return folder


def keep(mine, rule, **others):
    run(mine, f"keep={{{rule}}}", **others)
    return [lines(mine).index(row) for row in lines(mine.with_name("mine-kept.jsonl"))]


@pytest.mark.parametrize(
    ("rule", "rows"),
    [
        ("above: 0", [0, 1, 2, 3, 6, 7, 9, 10]),
        ("below: 0", [4, 8]),
        ("above: 2", [0, 1, 2, 7]),
        ("share: 0.25", [0, 1, 2, 7]),  # of nine questions two; the first three rows are one
    ],
)
def test_rows_are_kept_by_their_score(mine, scored, capsys, rule, rows):
    assert keep(mine, f"by: {scored}, measure: gain, {rule}") == rows
    printed = capsys.readouterr().out
    assert f"task.train_file={mine.with_name('mine-kept.jsonl')}" in printed
    assert "of 9 different questions kept, whose gain is" in printed


def test_a_measure_that_is_a_share_is_compared_as_0_and_1(mine, scored):
    assert keep(mine, f"by: {scored}, measure: helped, below: 1") == [4, 5, 8]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("measure: gain, above: 0", "must be {by: EVALUATION_FOLDER"),
        ("by: B, measure: gain", "must be {by: EVALUATION_FOLDER"),
        ("by: B, measure: gain, above: 0, share: 0.5", "must be {by: EVALUATION_FOLDER"),
        ("by: B, measure: gain, share: 1", "above 0 and below 1"),
        ("by: B, measure: gain, above: high", "above='high' must be a number"),
        ("by: B, measure: success, above: 0", "no measure success of a row; choose from gain, helped$"),
        ("by: B, measure: gain, above: 9", "keeps none of 9 questions, whose gain is -2 to 4"),
        ("by: B, measure: gain, above: -9", "keeps all of 9 questions"),
    ],
)
def test_what_is_wrong_with_a_rule_is_said_and_nothing_written(mine, scored, rule, said):
    with pytest.raises(ValueError, match=said):
        keep(mine, rule.replace("by: B", f"by: {scored}"))
    assert not mine.with_name("mine-kept.jsonl").exists()


def test_a_row_that_was_not_scored_is_named_with_the_command_that_scores_it(mine, scored):
    rows = (scored / PREDICTIONS).read_text().splitlines()[:-1]
    (scored / PREDICTIONS).write_text("\n".join(rows) + "\n")
    metrics = json.loads((scored / METRICS).read_text())
    metrics["gain"]["all"] = {"mean": sum(GAINS[:10]) / 10, "low": None, "high": None, "n": 10}
    (scored / METRICS).write_text(json.dumps(metrics))
    with pytest.raises(ValueError, match=f"mine.jsonl:11 has no gain in .*ckpt={scored.parent.parent} task.test_file="):
        keep(mine, f"by: {scored}, measure: gain, above: 0")


def test_there_must_be_training_rows(mine, scored):
    with pytest.raises(ValueError, match=r"keep= chooses from the rows of task.train_file, which is null"):
        run(None, f"keep={{by: {scored}, measure: gain, above: 0}}", test=mine)
