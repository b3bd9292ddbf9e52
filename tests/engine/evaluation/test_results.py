"""Evaluation folders, read and checked."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from mirage_pl.engine.evaluation.results import read_result
from tests.engine.reports.folders import CLIPS, score_clips, write_evaluation
from tests.engine.reports.test_evaluation import evaluation


@pytest.mark.parametrize("name", ["metrics.json", "predictions.jsonl"])
def test_a_missing_file_is_named_with_the_command_that_makes_it(tmp_path: Path, name: str) -> None:
    folder = evaluation(tmp_path, "sft", "yyn")
    (folder / name).unlink()
    with pytest.raises(
        ValueError, match=f"{name} does not exist; run python -m mirage_pl.evaluate ckpt=.*/sft label=vsp again, with"
    ):
        read_result(folder)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"where": "da', "no JSON"),
        ("", "no JSON"),
        ("[1]", "expected an object, got list"),
        ('{"where": "a:1", "group": "g", "outcome": "hole", "success": 0}', "success must be bool, got 0"),
    ],
)
def test_a_broken_row_is_named_by_file_and_line(tmp_path: Path, line: str, words: str) -> None:
    folder = evaluation(tmp_path, "sft", "yyn")
    lines = (folder / "predictions.jsonl").read_text().splitlines()
    (folder / "predictions.jsonl").write_text("\n".join([lines[0], line, lines[2]]) + "\n")
    with pytest.raises(
        ValueError, match=rf"predictions\.jsonl:2: {re.escape(words)}.*run python -m mirage_pl\.evaluate ckpt="
    ):
        read_result(folder)


def test_predictions_that_contradict_the_metrics_are_refused(tmp_path: Path) -> None:
    folder = evaluation(tmp_path, "sft", "yyn")
    lines = (folder / "predictions.jsonl").read_text().splitlines()
    (folder / "predictions.jsonl").write_text("\n".join(lines[:2]) + "\n")
    with pytest.raises(ValueError, match=r"success 1 over 2 rows, metrics\.json says 0\.66\d* over 3; run python"):
        read_result(folder)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "no JSON"),
        ("[]", "expected an object, got list"),
        ("{}", "measures must be an object with one measure or more, got None"),
        ('{"measures": {}}', "measures must be an object with one measure or more"),
        ('{"measures": {"a": {"sort": "share"}}}', "measures.a must have kind, better, unit, meaning"),
        ('{"measures": {"a": {"kind": "sum"}}}', "measures.a needs kind share, mean or set, .*; got sum and higher"),
        ('{"measures": {"a": {"kind": "mean", "better": "more"}}}', "measures.a needs .*; got mean and more"),
        ('{"measures": {"a": {"kind": "mean"}}}', "a must be dict, got None"),
        ('{"measures": {"a": {"kind": "mean"}}, "a": {}}', "a of all needs mean, low, high, n"),
        (
            '{"measures": {"a": {"kind": "set"}}, "a": {"all": {"mean": null, "low": null, "high": null, "n": 3}}}',
            "a of all must have a finite mean, got None",
        ),
    ],
)
def test_broken_metrics_are_named(tmp_path: Path, content: str, words: str) -> None:
    folder = evaluation(tmp_path, "sft", "yyn")
    (folder / "metrics.json").write_text(content)
    with pytest.raises(ValueError, match=rf"metrics\.json: {words}.*; run python -m mirage_pl\.evaluate"):
        read_result(folder)


def test_numbers_of_any_measure_are_read_with_their_direction_and_unit(tmp_path: Path) -> None:
    result = read_result(score_clips(tmp_path / "tokenizer", copies=-4.0))
    assert (result.first, result.task, result.run) == ("psnr", "clips", tmp_path / "tokenizer")
    assert [(each.kind, each.better) for each in result.measures.values()] == [
        ("mean", "higher"),
        ("mean", "lower"),
        ("mean", "higher"),
        ("set", "lower"),
    ]
    np.testing.assert_allclose(result.values("psnr", "copy_last"), result.values("psnr") - 4)
    np.testing.assert_allclose(result.values("lpips", "copy_last"), result.values("lpips") + 0.08)
    assert result.values("fvd") is None
    assert result.conditions["copy_last"]["difference"]["difference"] == pytest.approx(-4)


def test_a_lead_is_paired_by_item_whatever_the_measure(tmp_path: Path) -> None:
    ours, theirs = (read_result(score_clips(tmp_path / name, shift)) for name, shift in [("a", 1.0), ("b", 0.0)])
    psnr, lpips = ours.lead_over(theirs, "psnr"), ours.lead_over(theirs, "lpips")
    assert (psnr["low"], psnr["high"]) == pytest.approx((1.0, 1.0)), "every clip is 1 dB better, whatever the clip"
    assert lpips["difference"] == pytest.approx(-0.02)
    assert ours.lead_over(theirs, "fvd") is None


def test_items_without_a_grade_are_in_no_number(tmp_path: Path) -> None:
    rows = [{"where": f"t:{place}", "group": "g", "psnr": value} for place, value in enumerate([30.0, None, 32.0])]
    result = read_result(write_evaluation(tmp_path / "r" / "evaluation" / "t", rows, {"psnr": CLIPS["psnr"]}))
    assert result.by_group("psnr")["all"]["n"] == 2
    assert np.isnan(result.values("psnr")).tolist() == [False, True, False]
    nothing = [row | {"psnr": None} for row in rows]
    result = read_result(write_evaluation(tmp_path / "s" / "evaluation" / "t", nothing, {"psnr": CLIPS["psnr"]}))
    assert (result.by_group("psnr"), result.values("psnr")) == ({}, None)


@pytest.mark.parametrize(("value", "words"), [(True, ""), ("31", "'31'"), (float("inf"), "inf"), (..., "'nothing'")])
def test_a_mean_that_is_no_finite_number_is_named_by_line(tmp_path: Path, value, words: str) -> None:
    folder = score_clips(tmp_path / "run")
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    rows[4]["psnr"] = value
    if value is ...:
        del rows[4]["psnr"]
    (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    where = f"jsonl:5: psnr must be a finite number, got {words}" if words else "has psnr .* rows, metrics.json says"
    with pytest.raises(ValueError, match=where):
        read_result(folder)
