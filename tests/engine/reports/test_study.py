"""Runs found in folders, with their ancestors, grouped by method."""

import json

import numpy as np
import pytest

from mirage_pl.engine.reports.study import read_study
from tests.engine.reports.folders import answer, log, make_run, score_clips


def test_runs_of_a_method_are_its_seeds_in_order_and_the_best_method_comes_first(tmp_path):
    answer(make_run(tmp_path / "a" / "sft-seed2", seed=2), "yynn")
    answer(make_run(tmp_path / "a" / "sft-seed1", seed=1), "ynnn")
    answer(make_run(tmp_path / "b" / "whatever", seed=1, method="mirage", paper=0.76), "yyyn")
    (tmp_path / "b" / "whatever" / ".hydra").mkdir()
    (tmp_path / "b" / "whatever" / ".hydra" / "config.yaml").write_text("seed: 1")
    study = read_study([tmp_path, tmp_path / "a"])
    assert [(method.name, [run.seed for run in method.runs]) for method in study.methods] == [
        ("mirage", [1]),
        ("sft", [1, 2]),
    ]
    assert study.methods[0].runs[0].paper == 0.76
    assert study.methods[1].values_SQ("success").tolist() == [[1, 0, 0, 0], [1, 1, 0, 0]]
    assert {name: members.tolist() for name, members in study.methods[0].groups.items()} == {
        "level_3": [0, 2],
        "level_4": [1, 3],
        "all": [0, 1, 2, 3],
    }
    assert (study.task, study.label, study.notes, study.root) == ("vsp", "vsp", (), tmp_path)


def test_a_method_without_a_name_is_called_like_its_folder_without_the_seed(tmp_path):
    answer(make_run(tmp_path / "stage2-k4-seed12-abcdef", seed=12), "yn")
    assert read_study([tmp_path]).methods[0].name == "stage2-k4-abcdef"


def test_cost_steps_and_curves_of_ancestors_count_for_each_descendant(tmp_path):
    stage1 = make_run(tmp_path / "stage1", step=100, seconds=1800, devices=2)
    log(stage1, "val/loss", [3.0, 2.0])
    stage2 = make_run(
        tmp_path / "stage2", method="two", step=50, seconds=7200, devices=1, starts={"weights": str(stage1)}
    )
    log(stage2, "val/loss", [1.0, float("nan"), 0.5])
    answer(stage2, "yy")
    checkpoint = stage2 / "checkpoints" / "last.ckpt"
    answer(
        make_run(tmp_path / "stage3", method="three", step=7, seconds=3600, starts={"weights": str(checkpoint)}), "yn"
    )
    study = read_study([stage2, tmp_path / "stage3"])  # stage1 is found though it isn't given
    two, three = (method.runs[0] for method in study.methods)
    assert (two.hours, two.steps) == (1 + 2, 150)
    assert (three.hours, three.steps) == (1 + 2 + 2, 157)
    assert two.curves == {"val/loss": [(10, 3.0), (20, 2.0), (110, 1.0), (130, 0.5)]}
    assert three.curves == two.curves
    assert study.notes == ()


def test_a_curve_is_of_runs_that_are_scored_alike(tmp_path):
    runs, start = [], None
    for name, stage, tags in (
        ("a", "tokenizer", {"val/psnr": 30.0, "train/recon": 0.1}),
        ("b", "world", {"val/psnr": 20.0}),
        ("c", "world", {"val/psnr": 21.0}),
        ("d", "agent", {"val/return": 5.0}),
    ):
        start = make_run(tmp_path / name, method=name, start=start and str(start))
        config = json.loads((start / "config.yaml").read_text())
        (start / "config.yaml").write_text(
            json.dumps(config | {"callbacks": {"scores": {"evaluation": {"_target_": stage}}}})
        )
        for tag, value in tags.items():
            log(start, tag, [value])
        runs.append(answer(start, "yn"))
    *_, world, agent = sorted(
        (run for method in read_study(runs).methods for run in method.runs), key=lambda r: r.method
    )
    assert world.curves == {"val/psnr": [(110, 20.0), (210, 21.0)], "train/recon": [(10, pytest.approx(0.1))]}
    assert agent.curves == world.curves | {"val/return": [(310, 5.0)]}


def test_where_steps_are_not_known_curves_go_on_from_the_last_one_that_was_logged(tmp_path):
    stage1 = make_run(tmp_path / "stage1", step=None)
    log(stage1, "val/loss", [3.0, 2.0])
    stage2 = answer(make_run(tmp_path / "stage2", starts={"weights": str(stage1)}), "yn")
    log(stage2, "val/loss", [1.0])
    run = read_study([stage2]).methods[0].runs[0]
    assert run.curves == {"val/loss": [(10, 3.0), (20, 2.0), (30, 1.0)]}
    assert run.steps is None


def test_an_ancestor_is_found_after_runs_were_moved_to_another_folder(tmp_path):
    for model in ("tiny", "large"):
        make_run(tmp_path / model / "stage1-seed1", step=3)
    start = "/gone/runs/tiny/stage1-seed1/checkpoints/last.ckpt"
    answer(make_run(tmp_path / "tiny" / "stage2-seed1", starts={"weights": start}), "yn")
    study = read_study([tmp_path])
    assert [run.folder for run in study.methods[0].runs[0].ancestors] == [tmp_path / "tiny" / "stage1-seed1"]
    assert study.notes == (
        f"{tmp_path}/large/stage1-seed1 is not evaluated: run python -m mirage_pl.evaluate "
        f"ckpt={tmp_path}/large/stage1-seed1 task=vsp",
    )


def test_cost_is_unknown_where_weights_come_from_no_run_or_old_metrics_say_nothing(tmp_path):
    answer(make_run(tmp_path / "lost-seed1", starts={"weights": "/gone/weights.ckpt"}), "yn")
    old = answer(make_run(tmp_path / "old-seed1"), "yn")
    (old / "metrics.json").write_text("{}")
    twins = [tmp_path / "a-seed1", tmp_path / "b-seed1"]
    for run, other in zip(twins, reversed(twins), strict=True):
        answer(make_run(run, starts={"weights": str(other)}), "yn")
    study = read_study([tmp_path])
    assert all(method.runs[0].hours is None and method.runs[0].steps is None for method in study.methods)
    assert any("lost-seed1 took weights from /gone/weights.ckpt, which is no run here" in note for note in study.notes)
    assert not any("old-seed1" in note for note in study.notes)


def test_a_broken_run_is_left_out_and_the_others_are_not_lost(tmp_path):
    answer(make_run(tmp_path / "good-seed1"), "yn")
    (answer(make_run(tmp_path / "json-seed1"), "yn") / "metrics.json").write_text('{"step": ')
    (answer(make_run(tmp_path / "yaml-seed1"), "yn") / "config.yaml").write_text("a: [")
    (answer(make_run(tmp_path / "empty-seed1"), "yn") / "config.yaml").write_text("")
    predictions = answer(make_run(tmp_path / "old-seed1"), "yn") / "evaluation" / "vsp" / "predictions.jsonl"
    predictions.write_text(predictions.read_text().replace('"id"', '"number"'))
    (answer(make_run(tmp_path / "cut-seed1"), "yn") / "evaluation" / "vsp" / "metrics.json").unlink()
    study = read_study([tmp_path])
    assert [method.name for method in study.methods] == ["good"]
    said = dict(zip(["empty", "json", "old", "yaml", "cut"], study.notes, strict=True))
    assert "empty-seed1/config.yaml has no seed" in said["empty"]
    assert "json-seed1/metrics.json: no JSON" in said["json"]
    assert "predictions.jsonl:1: id must be str" in said["old"]
    assert "mirage_pl.evaluate" in said["old"]
    assert "yaml-seed1/config.yaml: no YAML" in said["yaml"]
    assert f"cut-seed1 is not evaluated: run python -m mirage_pl.evaluate ckpt={tmp_path}/cut-seed1" in said["cut"]


def test_a_gap_is_filled_by_a_command_of_the_same_kind_under_the_same_label(tmp_path):
    answer(make_run(tmp_path / "a-seed1"), "yn", label="mine", command="evaluate.py ckpt=a evaluation=gain label=mine")
    gap = make_run(tmp_path / "b-seed1")
    ask = f"run python -m mirage_pl.evaluate ckpt={gap} evaluation=gain task=vsp label=mine"
    assert read_study([tmp_path]).notes == (f"{gap} is not evaluated: {ask}",)
    config = json.loads((gap / "config.yaml").read_text())
    (gap / "config.yaml").write_text(json.dumps(config | {"task": {"name": "vsp"}}))
    (note,) = read_study([tmp_path]).notes
    assert note.endswith("evaluation=gain label=mine"), "its own task has the user's values, which task= would drop"


def test_an_evaluation_that_was_interrupted_is_named_with_the_command_that_continues_it(tmp_path):
    answer(make_run(tmp_path / "half-seed1"), "yn", {"zero": "ny"}, finished=False)
    answer(make_run(tmp_path / "whole-seed1"), "yn", {"zero": "ny", "noise": "nn"}, finished=True)
    study = read_study([tmp_path])
    assert [method.name for method in study.methods] == ["half", "whole"]
    assert len(study.notes) == 1
    assert "half-seed1's evaluation was interrupted" in study.notes[0]
    assert f"mirage_pl.evaluate ckpt={tmp_path}/half-seed1 task=vsp with the same options" in study.notes[0]


def test_interventions_are_compared_only_in_the_seeds_that_made_them_for_all_questions(tmp_path):
    answer(make_run(tmp_path / "m-seed1", seed=1), "yyn", {"zero": "nny", "noise": "nnn"})
    answer(make_run(tmp_path / "m-seed2", seed=2), "ynn")
    half = answer(make_run(tmp_path / "m-seed3", seed=3), "yyy", {"zero": "yny", "noise": "nnn"})
    rows = [json.loads(line) for line in (half / "evaluation" / "vsp" / "predictions.jsonl").read_text().splitlines()]
    del rows[2]["interventions"]["noise"]
    (half / "evaluation" / "vsp" / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_study([tmp_path]).methods[0].conditions_SQ("success")
    own, zero = found["zero"]
    np.testing.assert_array_equal(own, [[1, 1, 0], [1, 1, 1]])
    np.testing.assert_array_equal(zero, [[0, 0, 1], [1, 0, 1]])
    assert [len(answers) for answers in found["noise"]] == [1, 1]


def test_two_runs_of_one_method_and_seed_are_refused_by_name(tmp_path):
    for name in ("a", "b"):
        answer(make_run(tmp_path / name / "sft-seed1"), "yn")
    with pytest.raises(ValueError, match=r"a/sft-seed1 and .*b/sft-seed1 are both sft with seed 1; .*study\.method"):
        read_study([tmp_path])


def test_runs_of_two_tasks_or_over_other_questions_are_refused_with_what_to_do(tmp_path):
    first = answer(make_run(tmp_path / "a-seed1"), "yn")
    task = answer(make_run(tmp_path / "b-seed1"), "yn", task="reading")
    with pytest.raises(ValueError, match=r"a-seed1 was tested on vsp, and .*b-seed1 on reading; .*--label"):
        read_study([first, task])
    others = answer(make_run(tmp_path / "c-seed1"), "yn", questions="other")
    with pytest.raises(ValueError, match=r"a-seed1 has 2 rows, and .*c-seed1 2 that are not the same; .*--label"):
        read_study([first, others])


def test_evaluations_of_several_names_need_a_label(tmp_path):
    run = answer(answer(make_run(tmp_path / "a-seed1"), "yn"), "yy", label="hard")
    with pytest.raises(ValueError, match=r"2 names: hard \(as in .*a-seed1\), vsp .*; choose one by --label"):
        read_study([run])
    assert read_study([run], "hard").methods[0].values_SQ("success").all()
    with pytest.raises(ValueError, match=r"named typo \(they have hard, vsp\): .* ckpt=.*a-seed1 label=typo$"):
        read_study([run], "typo")


def test_the_name_that_all_evaluated_runs_have_needs_no_label(tmp_path):
    for name in ("a-seed1", "b-seed1"):
        answer(make_run(tmp_path / name), "yn")
    answer(tmp_path / "a-seed1", "yy", label="audit")
    make_run(tmp_path / "c-seed1")
    study = read_study([tmp_path])
    assert study.label == "vsp"
    assert study.notes[0] == "evaluations named audit, of 1 run(s) only: --label audit shows them"
    assert read_study([tmp_path], "audit").methods[0].name == "a"
    answer(tmp_path / "b-seed1", "yy", label="audit")
    with pytest.raises(ValueError, match="evaluations of 2 names: audit .*choose one by --label"):
        read_study([tmp_path])


def test_folders_without_runs_or_evaluations_are_refused_with_what_to_do(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no run; give run folders"):
        read_study([tmp_path / "empty"])
    with pytest.raises(ValueError, match="missing is no folder; give run folders"):
        read_study([tmp_path / "missing"])
    with pytest.raises(ValueError, match="no run is evaluated; run python -m mirage_pl.evaluate"):
        read_study([make_run(tmp_path / "a-seed1")])


def test_methods_are_ranked_by_the_first_measure_in_its_direction(tmp_path):
    for name, shift in [("middle", 0.5), ("best", 1.0), ("worst", 0.0)]:
        score_clips(make_run(tmp_path / f"{name}-seed1"), shift)
    assert [method.name for method in read_study([tmp_path]).methods] == ["best", "middle", "worst"]
    for file in tmp_path.glob("*/evaluation/clips/metrics.json"):
        content = json.loads(file.read_text())
        content["measures"] = {name: content["measures"][name] for name in ("fvd", "psnr")}
        file.write_text(json.dumps(content))
    assert [method.name for method in read_study([tmp_path]).methods] == [
        "best",
        "middle",
        "worst",
    ], "less fvd is better"


def test_runs_are_compared_by_the_measures_that_all_have_and_ranked_by_one(tmp_path):
    score_clips(make_run(tmp_path / "a-seed1"))
    file = score_clips(make_run(tmp_path / "b-seed1")) / "metrics.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"measures": {name: content["measures"][name] for name in ("psnr", "fvd")}}))
    study = read_study([tmp_path])
    assert [list(method.measures) for method in study.methods] == [["psnr", "fvd"]] * 2
    assert study.notes[-1] == "lpips, return: not measured of every run, so runs aren't compared by it"
    file.write_text(json.dumps(content | {"measures": {"fvd": content["measures"]["fvd"]}}))
    with pytest.raises(
        ValueError, match=r"the same measure first.*: .*a-seed1 has psnr, lpips, return, fvd, and .*b.* fvd;"
    ):
        read_study([tmp_path])


@pytest.mark.parametrize("paper", [0.76, -152.0, {"psnr": 29.4, "fvd": 140}, None])
def test_the_paper_reports_any_number_of_one_measure_or_several(tmp_path, paper):
    score_clips(make_run(tmp_path / "a-seed1", paper=paper))
    assert read_study([tmp_path]).methods[0].runs[0].paper == paper


@pytest.mark.parametrize("paper", ["0.76", {"psnr": "29"}, [1], True])
def test_a_paper_that_reports_no_number_leaves_its_run_out_with_a_note(tmp_path, paper):
    score_clips(make_run(tmp_path / "a-seed1", paper=paper))
    score_clips(make_run(tmp_path / "b-seed1"))
    assert "study.paper must be a number, or a measure's name with a number each" in read_study([tmp_path]).notes[0]


def test_ancestors_are_a_graph_in_which_one_that_two_share_counts_once(tmp_path):
    root = make_run(tmp_path / "root", step=10, seconds=3600, devices=1)
    starts = {}
    for name in ("left", "right"):
        starts[name] = str(make_run(tmp_path / name, step=5, seconds=3600, devices=1, starts={"weights": str(root)}))
    answer(make_run(tmp_path / "joint", step=1, seconds=3600, devices=1, starts=starts), "yn")
    run = read_study([tmp_path]).methods[0].runs[0]
    assert [parent.folder.name for parent in run.ancestors] == ["root", "left", "right"]
    assert (run.hours, run.steps) == (4, 21)
