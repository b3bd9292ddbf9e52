"""``data keep=``: rows are chosen by what an evaluation measured of them."""

import json
from shutil import copy

import pytest
from hydra.utils import instantiate

from mirage_pl.engine.evaluation.results import PREDICTIONS
from mirage_pl.engine.runs.folder import CONFIG, METRICS
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
        "command": "evaluate.py ckpt=x evaluation=gain label=gain",
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
        ("above: -9", list(range(11))),  # all that could be scored
        ("above: 2", [0, 1, 2, 7]),
        ("share: 0.25", [0, 1, 2, 7]),  # of nine questions two; the first three rows are one
    ],
)
def test_rows_are_kept_by_their_score(mine, scored, capsys, rule, rows):
    assert keep(mine, f"by: {scored}, measure: gain, {rule}") == rows
    printed = capsys.readouterr().out
    assert f"task.train_file={mine.with_name('mine-kept.jsonl')}" in printed
    assert "of 9 different questions kept, whose gain is" in printed
    assert "1 row(s) that couldn't be scored are left out" in printed


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
    ],
)
def test_what_is_wrong_with_a_rule_is_said_and_nothing_written(mine, scored, rule, said):
    with pytest.raises(ValueError, match=said):
        keep(mine, rule.replace("by: B", f"by: {scored}"))
    assert not mine.with_name("mine-kept.jsonl").exists()


def test_a_second_rule_does_not_replace_what_the_first_has_kept(mine, scored, capsys):
    first = keep(mine, f"by: {scored}, measure: gain, above: 2")
    capsys.readouterr()
    with pytest.raises(ValueError, match="mine-kept.jsonl is there already; remove it, or choose another folder"):
        keep(mine, f"by: {scored}, measure: gain, above: 0")
    assert [lines(mine).index(row) for row in lines(mine.with_name("mine-kept.jsonl"))] == first
    assert "kept" not in capsys.readouterr().out


def test_scores_of_other_helper_images_are_not_taken_for_this_row_s(mine, scored):
    """The question is the same; that is all that its identity tells."""
    cfg = compose("data", "task=jsonl", f"task.train_file={mine}", "task.val_file=null", "task.test_file=null")
    rows = instantiate(cfg.task.dataset).read(str(mine))
    known = [json.loads(line) for line in lines(scored / PREDICTIONS)]
    known = [row | {"answer_id": rows.answer_identity(rows[number])} for number, row in enumerate(known)]
    (scored / PREDICTIONS).write_text("".join(json.dumps(row) + "\n" for row in known))
    rule = f"by: {scored}, measure: gain, above: 0"
    assert len(keep(mine, rule)) == 8
    mine.with_name("mine-kept.jsonl").unlink()
    copy(mine.with_name("helper-9.png"), mine.with_name("helper-5.png"))
    with pytest.raises(
        ValueError, match="mine.jsonl:6 has no gain in .*, or had another answer there, or other pictures"
    ):
        keep(mine, rule)


def test_a_run_folder_is_no_evaluation(mine, scored):
    (scored.parent.parent / CONFIG).write_text("{}")
    with pytest.raises(ValueError, match=f"is a run folder; give one of its evaluations: {scored}"):
        keep(mine, f"by: {scored.parent.parent}, measure: gain, above: 0")
    with pytest.raises(ValueError, match="is no folder; give an evaluation's"):
        keep(mine, "by: nowhere, measure: gain, above: 0")


def test_a_row_that_was_not_scored_is_named_with_the_command_that_scores_it(mine, scored):
    rows = (scored / PREDICTIONS).read_text().splitlines()[:-1]
    (scored / PREDICTIONS).write_text("\n".join(rows) + "\n")
    metrics = json.loads((scored / METRICS).read_text())
    metrics["gain"]["all"] = {"mean": sum(GAINS[:10]) / 10, "low": None, "high": None, "n": 10}
    (scored / METRICS).write_text(json.dumps(metrics))
    with pytest.raises(ValueError, match="mine.jsonl:11 has no gain in .*run evaluation=gain task.test_file="):
        keep(mine, f"by: {scored}, measure: gain, above: 0")


def test_there_must_be_training_rows(mine, scored):
    with pytest.raises(ValueError, match=r"keep= chooses from the rows of task.train_file, which is null"):
        run(None, f"keep={{by: {scored}, measure: gain, above: 0}}", test=mine)
