"""One page over many runs: ``python -m mirage_pl.report``."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from mirage_pl import report as report_verb
from mirage_pl.engine.evaluation.multiplicity import holm
from mirage_pl.engine.reports import command as report
from mirage_pl.engine.reports.findings import draw_verdict
from mirage_pl.engine.reports.study_page import write_markdown
from mirage_pl.engine.words import load_words
from tests.conftest import REPO
from tests.engine.reports.folders import answer, log, make_run, score_clips
from tests.engine.reports.page import Reader
from tests.engine.reports.test_evaluation import EVIL

QUESTIONS = 60


def answers(share, seed):
    """Answers of which about this share is right."""
    return "".join("y" if lucky else "n" for lucky in np.random.default_rng(seed).random(QUESTIONS) < share)


def method(root, name, share, zero=None, shuffled=None, seeds=(1, 2, 3), **metrics):
    """Write a run for each seed; with interventions if ``zero`` and ``shuffled`` say which share is then right."""
    for seed in seeds:
        run = make_run(root / f"{name}-seed{seed}", seed=seed)
        made = None if zero is None else {"zero": answers(zero, 10 + seed), "shuffled": answers(shuffled, 20 + seed)}
        answer(run, answers(share, seed), made, **metrics)
    return root


def made(root, *options):
    found = report.run([str(root), *options])
    folder = root / "report" / found["label"]
    return found, (folder / "report.html").read_text(), (folder / "results.md").read_text()


def test_the_report_says_which_latents_are_used_and_useful(tmp_path):
    method(tmp_path, "sft", 0.4)
    method(tmp_path, "both", 0.95, 0.1, 0.2)
    method(tmp_path, "used", 0.4, 0.01, 0.02)
    method(tmp_path, "useful", 0.9, 0.9, 0.9)
    method(tmp_path, "neither", 0.05, 0.05, 0.05)
    found, page, markdown = made(tmp_path)
    assert found["baseline"] == "sft"
    assert {name: (each["used"], each["useful"]) for name, each in found["methods"].items()} == {
        "both": (True, True),
        "useful": (False, True),
        "sft": (None, None),
        "used": (True, False),
        "neither": (False, False),
    }
    main = markdown.split("\n\n| ")[1]
    assert "| p, Holm | used | useful |" in main
    assert [re.findall(r"\| (yes|no|–) \| (yes|no|–) \|", row) for row in main.splitlines()[2:7]] == [
        [("yes", "yes")],
        [("no", "yes")],
        [("–", "–")],
        [("yes", "no")],
        [("no", "no")],
    ]
    verdict = "\n".join(found["verdict"])
    assert re.search(r"^Best of 5: both, success 9\d\.\d % \[.*\] of 60 rows \(mean of 3 seeds\)\.$", verdict, re.M)
    assert re.search(r"^Against sft – better: both .*, useful .*; worse: neither .*; not dist.*: used ", verdict, re.M)
    assert re.search(r"^Latents used, and the method better than the baseline: both \(zeroed -", verdict, re.M)
    assert re.search(r"^Latents used, but the method not shown to be better than the baseline: used \(", verdict, re.M)
    assert "No method's latents" not in verdict
    for sentence in found["verdict"]:
        assert sentence in markdown
        assert sentence in " ".join(Reader(page).texts)


def test_the_report_says_plainly_if_no_latents_are_both_used_and_useful(tmp_path):
    method(tmp_path, "sft", 0.9)
    method(tmp_path, "mirage", 0.9, 0.1, 0.1)
    assert any(line.startswith("No method's latents are shown to be both") for line in made(tmp_path)[0]["verdict"])


def test_results_are_means_over_seeds_with_their_parts(tmp_path):
    parent = make_run(tmp_path / "stage1", seed=9, seconds=3600, devices=1, step=10)
    latents = {"latents": {"norm": 4.0, "retrieved": {"mean": 0.5, "low": 0, "high": 1, "n": 4}}}
    for seed, right, norm in [(1, "yyyn", 4.0), (2, "ynnn", 6.0)]:
        starts = {"weights": str(parent)} if seed == 1 else None
        run = make_run(tmp_path / f"m-seed{seed}", seed, paper=0.76, starts=starts, device="NVIDIA H100")
        latents["latents"]["norm"] = norm
        answer(run, right, {"zero": "nnnn"}, test={"digest": "d", "seen": 0, "rows": 4}, **latents)
    answer(make_run(tmp_path / "direct_sft-seed1"), "nynn", test={"digest": "d", "seen": 0, "rows": 4})
    found, page, _ = made(tmp_path)
    one = found["methods"]["m"]
    assert one["seeds"] == [1, 2]
    assert one["success"]["all"]["mean"] == 0.5
    assert one["success"]["level_3"]["mean"] == 0.75  # questions 1 and 3
    assert one["by_seed"] == {
        "1": {"level_3": 1.0, "level_4": 0.5, "all": 0.75},
        "2": {"level_3": 0.5, "level_4": 0.0, "all": 0.25},
    }
    assert one["pooled"]["all"]["n"] == 8
    assert one["difference"]["all"]["difference"] == 0.25
    assert one["difference"]["level_4"]["difference"] == -0.25
    assert one["interventions"]["zero"]["mean"] == 0
    assert one["interventions"]["zero"]["difference"]["difference"] == -0.5
    assert one["latents"] == {
        "norm": {"mean": 5.0, "min": 4.0, "max": 6.0},
        "retrieved": {"mean": 0.5, "min": 0.5, "max": 0.5},
    }
    assert (one["hours"], one["steps"]) == ((1 + 1 + 1) / 2, (110 + 100) / 2)
    assert (one["device"], one["paper"]) == ("NVIDIA H100", 0.76)
    assert found["baseline"] == "direct_sft"
    assert found["methods"]["direct_sft"]["difference"] is None
    assert found["test"] == {"digest": "d", "seen": 0, "rows": 4}
    assert json.loads((tmp_path / "report" / found["label"] / "results.json").read_text()) == found
    text = " ".join(Reader(page).texts)
    for shown in ("1.5 GPU hours", "NVIDIA H100", "76.0 %", "abc123", "train seed=9", "seeds 75.0, 25.0"):
        assert shown in text


def test_differences_from_the_baseline_are_corrected_for_being_several(tmp_path):
    for name, share in {"sft": 0.4, "alike": 0.42, "ahead": 0.9, "same": 0.4}.items():
        method(tmp_path, name, share)
    found, page, markdown = made(tmp_path)
    leads = {name: found["methods"][name]["difference"]["all"] for name in ("alike", "ahead", "same")}
    p = {name: lead["p"] for name, lead in leads.items()}
    assert {name: lead["adjusted"] for name, lead in leads.items()} == holm(p)
    assert leads["ahead"]["adjusted"] == pytest.approx(3 * p["ahead"])
    assert leads["ahead"]["adjusted"] < 0.05 < p["same"]
    assert "After Holm's correction for 3 comparisons these differ, p < 0.05: ahead." in found["verdict"][1]
    for text in (page, markdown):
        assert "p, Holm" in text
        assert "McNemar" in text


def test_of_equal_methods_that_of_the_most_seeds_comes_first_and_all_are_counted(tmp_path):
    for name, seeds in {"few": (1,), "many": (1, 2, 3)}.items():
        method(tmp_path, name, 1.0, seeds=seeds)
    found, _, _ = made(tmp_path)
    assert list(found["methods"]) == ["many", "few"]
    assert re.match(r"Best of 2: many, few alike, .* \(mean of 1 to 3 seeds\)\.", found["verdict"][0])


def test_one_comparison_needs_no_correction(tmp_path):
    for name, share in {"sft": 0.4, "ahead": 0.9}.items():
        method(tmp_path, name, share)
    found, page, markdown = made(tmp_path)
    assert "Holm" not in page + markdown + "".join(found["verdict"])


def test_the_only_group_is_no_column_beside_all(tmp_path):
    for seed in (1, 2):
        answer(make_run(tmp_path / f"m-seed{seed}", seed), "yy", levels=1)
        answer(make_run(tmp_path / f"direct_sft-seed{seed}", seed), "ny", levels=1)
    found, _, markdown = made(tmp_path)
    assert list(found["methods"]["m"]["success"]) == ["level_3", "all"]
    assert "|  | seeds | success | against direct_sft | " in markdown


def test_groups_that_count_something_are_a_curve_on_the_page_and_beside_the_markdown(tmp_path):
    answer(make_run(tmp_path / "mirage-seed1"), answers(0.5, 0), levels=9)
    found, page, markdown = made(tmp_path)
    assert list(found["methods"]["mirage"]["success"]) == [*(f"level_{number}" for number in range(3, 12)), "all"]
    assert re.findall(r"!\[(.*?)\]\((.*?)\)", markdown)[1] == ("success by level", "by_level.png")
    assert (tmp_path / "report" / found["label"] / "by_level.png").is_file()
    assert "success by level" in page


def test_the_page_loads_nothing_and_the_markdown_links_to_pictures_that_are_there(tmp_path):
    method(tmp_path, "mirage", 0.8, 0.2, 0.3, seeds=(1, 2))
    run = answer(make_run(tmp_path / "named", seed=3, method=f"a|b {EVIL}"), answers(0.5, 0))
    log(run, "val/success", [0.1, 0.5])
    log(run, "train/text", [1.0, 0.5])
    found, page, markdown = made(tmp_path)
    assert EVIL not in page
    assert "://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)
    assert not {tag for tag, _ in Reader(page).tags} & {"script", "link", "img", "iframe"}
    linked = re.findall(r"\]\((.*?)\)", markdown)
    assert linked == ["success.png", "interventions.png", "curves.png"]
    files = {file.name for file in (tmp_path / "report" / found["label"]).iterdir()}
    assert files == {*linked, "report.html", "results.json", "results.md"}
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({line.replace(r"\|", "").count("|") for line in rows[:4]}) == 1, "a name's | doesn't make a column"
    assert "of one seed" in " ".join(found["verdict"]).lower()
    assert {"val/success", "train/text"} <= set(Reader(page).texts)


def test_what_was_left_out_stands_on_page_markdown_and_console(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    method(tmp_path, "sft", 0.5)
    make_run(tmp_path / "later-seed1")
    answer(make_run(tmp_path / "[bold]-seed1"), answers(0.5, 1))
    found, page, markdown = made(tmp_path, "--baseline", "[bold]")
    printed = capsys.readouterr().out
    command = f"run python -m mirage_pl.evaluate ckpt={tmp_path}/later-seed1 task=vsp"
    assert all(command in text for text in (page, markdown, printed, *found["notes"]))
    assert printed.splitlines()[-1] == f"report: {tmp_path}/report/vsp/report.html"
    assert "│ [bold] " in printed
    assert "┃ against [bold] " in printed


def test_test_questions_that_were_trained_on_are_shouted_about(tmp_path):
    method(tmp_path, "sft", 0.5, seeds=(1,), test={"seen": 0})
    method(tmp_path, "other", 0.5, seeds=(1,), test={"seen": 7})
    assert any("7 of the test rows are also in a training file" in line for line in made(tmp_path)[0]["verdict"])
    method(tmp_path / "two", "unchecked", 0.5, seeds=(1,), test={"seen": None})
    assert made(tmp_path / "two")[0]["test"]["seen"] is None


def test_baseline_and_folder_can_be_chosen(tmp_path):
    method(tmp_path / "runs", "sft", 0.5)
    method(tmp_path / "runs", "other", 0.5)
    out = tmp_path / "docs"
    found = report.run([str(tmp_path / "runs"), "--baseline", "other", "--out", str(out)])
    assert found["methods"]["other"]["difference"] is None
    assert f"--out {out}" in found["made"]["command"]
    assert (out / "results.md").is_file()
    assert not (tmp_path / "runs" / "report").exists()
    with pytest.raises(ValueError, match="--baseline typo is no method here; choose from other, sft"):
        report.run([str(tmp_path), "--baseline", "typo"])


def test_a_mistake_ends_in_one_line_and_exit_code_1(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["report", str(tmp_path / "missing")])
    with pytest.raises(SystemExit) as stopped:
        report_verb.main()
    assert stopped.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path}/missing is no folder;")
    assert error.count("\n") == 1


def test_a_report_is_made_without_importing_torch(tmp_path):
    method(tmp_path, "sft", 0.5, seeds=(1,))
    code = "import sys; from mirage_pl.engine.reports.command import run; "
    code += "run(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_study_of_clips_has_every_measure_with_its_interval_unit_and_direction(tmp_path, capsys):
    for seed in (1, 2, 3):
        paper = {"psnr": 29.4, "fvd": 140}
        score_clips(make_run(tmp_path / f"world-seed{seed}", seed, paper=paper), 1 + seed / 10, copies=-4.0)
        score_clips(make_run(tmp_path / f"base-seed{seed}", seed), seed / 10)
    found, page, markdown = made(tmp_path, "--baseline", "base")
    world = found["methods"]["world"]
    assert list(found["measures"]) == ["psnr", "lpips", "return", "fvd"]
    assert world["difference"]["all"]["difference"] == pytest.approx(1)
    assert world["differences"]["lpips"]["all"]["high"] < 0
    assert (world["fvd"]["all"]["mean"], world["fvd"]["all"]["n"]) == pytest.approx((138, 3)), "over seeds"
    assert world["fvd"]["all"]["high"] == pytest.approx(138 + 4.303 * 1 / 3**0.5)
    assert world["differences"]["fvd"]["all"]["difference"] == pytest.approx(-10)
    assert world["conditions"]["copy_last"]["measures"]["lpips"]["difference"]["difference"] == pytest.approx(0.08)
    assert (world["useful"], world["pooled"], "used" in world) == (True, {}, False)
    assert re.match(r"Best of 2: world, psnr 27\.\d+ dB \[.*\] over 12 rows \(mean of 3 seeds\)\.", found["verdict"][0])
    assert re.match(r"Against base – better: world \+1\.\d+ dB \[", found["verdict"][1])
    text = " ".join(Reader(page).texts)
    assert all(words in text for words in ("psnr 29.4 dB\nfvd 140", "lower is better", "Student's over seeds alone"))
    assert re.findall(r"\]\((.*?)\)", markdown) == ["psnr.png", "conditions.png"]
    beside = f"Difference from base on the same rows:\n\n|  | {' | '.join(found['measures'])} |"
    assert beside in markdown
    assert re.search(r"\| world \| \+1\.\d+ dB<br>\[.*?\] \| -0\.02\d*<br>\[-", markdown.partition(beside)[2])
    assert "difference from base on the same rows" in capsys.readouterr().out
    assert not re.search("success|latent|points", text + markdown)


def test_clips_of_an_episode_are_drawn_together_and_a_condition_may_lack_the_first_measure(tmp_path):
    widths = []
    for name in ("apart", "together"):
        for seed in (1, 2, 3):
            folder = score_clips(make_run(tmp_path / name / f"world-seed{seed}", seed), seed / 10, copies=-4.0)
            file = folder / "predictions.jsonl"
            rows = [json.loads(line) for line in file.read_text().splitlines()]
            for row in rows:
                row |= {"unit": row["where"].split(":")[0]} if name == "together" else {}
                del row["conditions"]["copy_last"]["psnr"]
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        found, page, markdown = made(tmp_path / name)
        world = found["methods"]["world"]
        widths.append(world["lpips"]["all"]["high"] - world["lpips"]["all"]["low"])
        copies = world["conditions"]["copy_last"]
        assert (copies["mean"], copies["n"], copies["difference"]) == (None, 0, None)
        assert copies["measures"]["lpips"]["difference"]["difference"] == pytest.approx(0.08)
        assert "Under other conditions: lpips" in markdown
        assert "Under other conditions: psnr" not in markdown
        assert "lpips under other conditions" in " ".join(Reader(page).texts)
    assert widths[0] != widths[1]


def test_less_is_better_where_the_first_measure_says_so(tmp_path):
    for name, shift in [("world", 1.0), ("base", 0.0)]:
        file = score_clips(make_run(tmp_path / f"{name}-seed1"), shift) / "metrics.json"
        content = json.loads(file.read_text())
        order = ("lpips", "psnr", "return", "fvd")
        file.write_text(json.dumps(content | {"measures": {name: content["measures"][name] for name in order}}))
    found = made(tmp_path, "--baseline", "base")[0]
    assert list(found["methods"]) == ["world", "base"]
    assert found["methods"]["world"]["useful"] is True
    assert found["verdict"][1].startswith("Against base – better: world -0.02")


def test_one_number_for_a_set_is_not_judged_by_one_seed(tmp_path):
    for name, shift in [("world", 1.0), ("base", 0.0)]:
        file = score_clips(make_run(tmp_path / f"{name}-seed1"), shift) / "metrics.json"
        content = json.loads(file.read_text())
        file.write_text(json.dumps(content | {"measures": {"fvd": content["measures"]["fvd"]}}))
    found = made(tmp_path, "--baseline", "base")[0]
    assert found["methods"]["world"]["useful"] is False
    assert found["verdict"][:2] == [
        "Best of 2: world, fvd 140 (1 seed).",
        "Against base – without an interval: world -10.",
    ]
    assert "is about one checkpoint, not about the method" in found["verdict"][-1]


def test_shipped_results_give_the_tables_and_verdicts_that_lie_beside_them():
    files = sorted((REPO / "docs" / "results").glob("*/results.json"))
    assert len(files) >= 6
    for file in files:
        results = json.loads(file.read_text())
        words = load_words(results["words"])
        assert draw_verdict(results, words) == results["verdict"], file
        beside = (file.parent / "results.md").read_text()
        pictures = re.findall(r"\]\((\w+)\.png\)", beside)
        assert write_markdown(results, pictures, words) == beside, file
        assert all((file.parent / f"{name}.png").is_file() for name in pictures), file
