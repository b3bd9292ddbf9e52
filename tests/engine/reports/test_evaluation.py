"""A report out of fabricated evaluation folders."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from mirage_pl.engine import words
from mirage_pl.engine.evaluation.statistics import wilson
from mirage_pl.engine.reports.evaluation import SCOPE, write_report
from mirage_pl.engine.reports.examples import lay_out_answer
from mirage_pl.engine.seams import Measure
from tests.engine.reports.folders import ANSWERS, graded, score_clips, write_evaluation
from tests.engine.reports.page import Reader

EVIL = '<script>alert("1")</script>'
TEST = {"file": "data/test.jsonl", "rows": 4, "digest": "c0ffee", "train_file": "train.jsonl", "seen": 0}


def evaluation(
    root: Path, name: str, right: str, file: str = "data/test.jsonl", described: bool = False, **row: Any
) -> Path:
    """Write a run with an evaluation: of ``right`` every character is a sample, ``y`` if its answer is right."""
    folder = root / name / "evaluation" / "vsp"
    (folder / "gallery").mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    for index, letter in enumerate(right):
        answer = {"where": f"{file}:{index + 1}", "group": f"level_{3 + index % 2}", **graded(letter == "y")}
        answer |= {"outcome": "success" if letter == "y" else "hole", "text": f"\\boxed{{UP{index}}}"}
        answer |= {"question": f"Where to, {index}?", "truth": f"\\boxed{{LEFT{index}}}", "latents": 4}
        rows.append(answer | row)
    facts = {"name": name, "ckpt": f"runs/{name}/last.ckpt", "command": f"evaluate ckpt={name}", "test": TEST}
    write_evaluation(folder, rows, **facts, numbers_in="latents", seconds=12.34, steps=700)
    for index in (0, 2):
        Image.new("RGB", (8, 8), (index * 60, len(name), 0)).save(folder / "gallery" / f"{index}.png")
        Image.new("RGB", (8, 8), (0, index, 255)).save(folder / "gallery" / f"{index}_truth.png")
    if described:
        describe(root / name)
    return folder


def change(folder: Path, **metrics: Any) -> Path:
    """Change keys of an evaluation's metrics."""
    content = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps(content | metrics))
    return folder


def describe(run: Path) -> None:
    packages = {"torch": "2.14.0", "deepspeed": None}
    environment = {"command": "train stage=stage2", "git": "abc123", "uncommitted_files": 2, "packages": packages}
    (run / "environment.json").write_text(json.dumps(environment))
    (run / "config.yaml").write_text(
        "model: {name: tiny}\ntask: {name: vsp}\nstage: {name: stage2}\nlatent_size: 4\nseed: 42\n"
        "compression: {_target_: mirage_pl.mirage.model.compression.Average}\ntrainer: {max_steps: 700}\n"
    )
    with SummaryWriter(str(run / "tensorboard")) as writer:
        for step in range(0, 100, 10):
            writer.add_scalar("train/text", 1 / (step + 1), step)
            writer.add_scalar("train/loss", 1 / (step + 1), step)
            writer.add_scalar("val/success", step / 100, step)
            writer.add_scalar("samples/s", 50, step)


def report(root: Path, *folders: Path) -> str:
    write_report(root / "out" / "report.html", folders)
    return (root / "out" / "report.html").read_text()


def test_the_verdict_of_one_run_is_its_success_with_the_interval(tmp_path: Path) -> None:
    html = report(tmp_path, evaluation(tmp_path, "sft", "y" * 8 + "n" * 2))
    assert "sft: success 80.0 % [49.0, 94.3] of 10 held-out samples." in html


@pytest.mark.parametrize(
    ("mine", "theirs", "words"),
    [
        ("y" * 40, "n" * 40, r"\+100\.0 points \[[^]]*\] against sft \(p &lt; 0\.001: better\)"),
        ("n" * 40, "y" * 40, r"-100\.0 points \[[^]]*\] against sft \(p &lt; 0\.001: worse\)"),
        ("yyyn" * 10, "yyny" * 10, r"0\.0 points \[-[^]]*\+[^]]*\] against sft \(p = 1\.00: not distinguishable\)"),
    ],
)
def test_the_verdict_is_honest_whatever_the_sign(tmp_path: Path, mine: str, theirs: str, words: str) -> None:
    html = report(tmp_path, evaluation(tmp_path, "stage2", mine), evaluation(tmp_path, "sft", theirs))
    assert re.search("; that is " + words + r"\.\s+All this is about one checkpoint", html)


def test_the_sections_come_in_order_and_every_run_has_its_column(tmp_path: Path) -> None:
    folders = [evaluation(tmp_path, name, right) for name, right in [("stage2", "yyyn"), ("sft", "ynny")]]
    page = Reader(report(tmp_path, *folders))
    places = [
        page.text.index(name) for name in ("Results by group", "Learning curves", "Outcomes", "Examples", "How each")
    ]
    assert places == sorted(places)
    assert "level_3 n = 2 100.0 % [34.2, 100.0] 50.0 % [9.5, 90.5]" in page.text
    assert "all n = 4 75.0 % [30.1, 95.4] 50.0 % [15.0, 85.0]" in page.text
    assert "invalid, all n = 4 0.0 % [0.0, 49.0]" in page.text
    assert "lead of stage2" in page.text
    assert "hole 1 25.0 % 2 50.0 %" in page.text


def test_a_group_that_one_run_lacks_leaves_a_dash(tmp_path: Path) -> None:
    folders = [evaluation(tmp_path, "big", "ynyy"), evaluation(tmp_path, "small", "y", file="small.jsonl")]
    assert re.search(r"level_4 n = 2 50\.0 % \[[^]]*\] –", Reader(report(tmp_path, *folders)).text)


def test_the_only_group_is_not_shown_beside_all(tmp_path: Path) -> None:
    page = Reader(report(tmp_path, evaluation(tmp_path, "one", "yyn", group="level_3")))
    assert "all n = 3 66.7 %" in page.text
    assert "level_3 n = 3" not in page.text


def test_runs_of_different_test_files_share_the_table_but_are_not_paired(tmp_path: Path) -> None:
    folders = [evaluation(tmp_path, "stage2", "yyyn"), evaluation(tmp_path, "sft", "nnnn", file="other.jsonl")]
    page = Reader(report(tmp_path, *folders))
    assert "100.0 % [34.2, 100.0] 0.0 % [0.0, 65.8]" in page.text
    assert "it was given other.jsonl instead of data/test.jsonl, and only results on the same test set" in page.text
    assert "points" not in page.text
    assert "lead of" not in page.text
    assert sum(tag == "img" for tag, _ in page.tags) == 4  # two rows: the truth and the first run


def test_a_test_file_with_other_content_under_the_same_name_is_not_paired(tmp_path: Path) -> None:
    folders = [evaluation(tmp_path, "stage2", "yyyn"), evaluation(tmp_path, "sft", "nnnn", truth="B")]
    assert "it was given other rows, or another version, of data/test.jsonl" in report(tmp_path, *folders)


def test_one_run_that_can_be_paired_is_compared_though_another_cannot(tmp_path: Path) -> None:
    folders = [evaluation(tmp_path, "stage2", "yyyn"), evaluation(tmp_path, "a", "nnnn", file="a.jsonl")]
    html = report(tmp_path, *folders, evaluation(tmp_path, "b", "nnnn"))
    assert re.search(r"that is \+75\.0 points \[[^]]*\] against b \(", html)
    assert "not paired" in html
    assert "against a (" not in html


def test_the_gallery_shows_the_truth_and_each_answer_with_its_verdict(tmp_path: Path) -> None:
    folders = [evaluation(tmp_path, "stage2", "yyyn"), evaluation(tmp_path, "sft", "ynny")]
    (folders[1] / "gallery" / "2.png").unlink()
    html = report(tmp_path, *folders)
    page = Reader(html)
    third = page.text[page.text.index("data/test.jsonl:3") : page.text.index("How each")]
    assert re.search(r"LEFT2.*stage2 ✓ success \\boxed\{UP2\} 4 latents.*no picture sft ✗ hole \\boxed\{UP2\}", third)
    assert html.count('class="good"') == 3
    assert html.count('class="bad"') == 1
    assert sum(tag == "img" for tag, _ in page.tags) == 5


def test_a_name_stands_apart_from_the_scores_of_an_item_that_the_first_measure_does_not_score(tmp_path):
    measures = {"spearman": Measure("set"), "imagined": Measure("mean")}
    rows = [{"where": "a", "imagined": 1.646}]
    result = SimpleNamespace(
        rows=rows, folder=tmp_path, name="run", first="spearman", measures=measures, numbers_in="n"
    )
    assert "<figcaption>world_model-gated-seed42 imagined 1.646</figcaption>" in lay_out_answer(
        "world_model-gated-seed42", result, 0
    )


def test_the_page_is_self_contained_and_runs_no_script(tmp_path: Path) -> None:
    page = Reader(
        report(tmp_path, evaluation(tmp_path, "stage2", "yyyn", described=True), evaluation(tmp_path, "sft", "ynny"))
    )
    addresses = [
        value or "" for _, attributes in page.tags for key, value in attributes.items() if key in ("src", "href")
    ]
    assert addresses
    assert all(address.startswith("data:image/png;base64,") for address in addresses)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in [
        a for t, a in page.tags if t == "meta"
    ]
    identities = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identities) == len(set(identities))


def test_all_text_is_escaped(tmp_path: Path) -> None:
    row = dict.fromkeys(("text", "truth", "outcome", "group", "latents"), EVIL)
    folder = evaluation(tmp_path, "evil", "yyn", file=EVIL, **row)
    change(folder, name=EVIL, ckpt=EVIL, command=EVIL, task=EVIL, steps=EVIL, numbers={EVIL: 1.0}, numbers_in="numbers")
    environment = {"command": EVIL, "git": EVIL, "uncommitted_files": EVIL, "packages": {EVIL: EVIL}}
    (tmp_path / "evil" / "environment.json").write_text(json.dumps(environment))
    (tmp_path / "evil" / "config.yaml").write_text(f"model: {{name: {json.dumps(EVIL)}}}\n")
    with SummaryWriter(str(tmp_path / "evil" / "tensorboard")) as writer:
        writer.add_scalar("train/<script>$x$", 1.0, 1)
    html = report(tmp_path, folder, evaluation(tmp_path, "other", "yyn", file=EVIL + "2"))
    assert "<script" not in html
    assert Reader(html).text.count("alert") > 10


def test_learning_curves_are_drawn_once_by_name_without_the_sum_of_a_single_loss(tmp_path: Path) -> None:
    folders = [evaluation(tmp_path, "stage2", "yyn", described=True), evaluation(tmp_path, "sft", "yyn")]
    page = Reader(report(tmp_path, *folders))
    labels = [attributes["aria-label"] for tag, attributes in page.tags if tag == "svg"]
    assert labels[-3:] == [f"{tag} over training steps" for tag in ("val/success", "train/text", "samples/s")]
    assert "sft has no TensorBoard events in" in page.text
    assert re.search(r"other numbers that were logged .*samples/s", page.text)


def test_how_a_run_was_made_is_listed(tmp_path: Path) -> None:
    text = Reader(report(tmp_path, evaluation(tmp_path, "stage2", "yyn", described=True))).text
    for fact in (
        "evaluate ckpt=stage2",
        "runs/stage2/last.ckpt",
        "train stage=stage2",
        "abc123 with 2 uncommitted files",
    ):
        assert fact in text
    for fact in (
        "torch 2.14.0",
        "compression mirage_pl.mirage.model.compression.Average",
        "latent_size 4",
        "12.3 s",
        "seed 42",
    ):
        assert fact in text
    assert "deepspeed" not in text


def test_what_is_absent_is_left_out_with_a_sentence(tmp_path: Path) -> None:
    folder = evaluation(tmp_path, "bare", "yyn")
    for file in (folder / "gallery").iterdir():
        file.unlink()
    text = Reader(report(tmp_path, folder)).text
    for sentence in ("no TensorBoard events", "no gallery", "has no environment.json", "has no config.yaml"):
        assert sentence in text


def test_runs_of_the_same_name_are_told_apart_by_folder(tmp_path: Path) -> None:
    folders = [evaluation(tmp_path / root, "sft", "yyn") for root in ("a", "b")]
    html = report(tmp_path, *folders)
    assert all(f"sft ({folder})" in html for folder in folders)


def test_a_gallery_picture_without_a_row_is_refused(tmp_path: Path) -> None:
    folder = evaluation(tmp_path, "sft", "yyn")
    (folder / "gallery" / "3.png").write_bytes((folder / "gallery" / "2.png").read_bytes())
    with pytest.raises(ValueError, match=r"gallery/3 shows no row; delete gallery/, run python"):
        report(tmp_path, folder)


def test_no_evaluation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"run python -m mirage_pl\.evaluate"):
        write_report(tmp_path / "report.html", [])


@pytest.mark.parametrize(
    ("seen", "said"), [(0, "0 of them are in train.jsonl"), (None, "not known how many of them are in train.jsonl")]
)
def test_the_test_set_is_held_against_the_training_file(tmp_path, seen, said):
    folder = evaluation(tmp_path, "sft", "yyyn")
    test = {"file": "test.jsonl", "rows": 4, "digest": "c0ffee", "train_file": "train.jsonl", "seen": seen}
    change(folder, test=test)
    text = Reader(report(tmp_path, folder)).text
    assert "test.jsonl: 4 rows, digest c0ffee; " in text
    assert said in text


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (0, "of 4 held-out samples."),
        (None, "of 4 samples; whether it was trained on any of them isn't known."),
        (4, "of 4 samples, all of which it was trained on."),
        (1, "of 4 samples, 1 of which it was trained on (66.7 % [20.8, 93.9] of the 3 others)."),
    ],
)
def test_samples_are_called_held_out_only_if_the_run_was_trained_on_none(tmp_path, seen, words):
    folder = evaluation(tmp_path, "sft", "yyyn")
    success = json.loads((folder / "metrics.json").read_text())["success"]
    if seen == 1:
        success = {**success, "unseen": wilson(2, 3)}
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    marked = [row | {"seen": number < seen} for number, row in enumerate(rows)] if seen else rows
    (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in marked))
    test = {**TEST, "rows": 40, "seen": seen and 10 * seen}  # an item is ten rows of the file
    html = report(tmp_path, change(folder, test=test, success=success))
    assert words in html.replace("&#x27;", "'")
    assert html.count("held-out") == (seen == 0)


def test_what_is_said_of_one_run_is_about_the_checkpoint_and_names_what_is_about_the_method(tmp_path):
    assert SCOPE in Reader(report(tmp_path, evaluation(tmp_path, "sft", "yyyn"))).text


def test_the_question_stands_beside_its_answers(tmp_path):
    text = Reader(report(tmp_path, evaluation(tmp_path, "sft", "yyyn"))).text
    assert re.search(r"data/test\.jsonl:3 Where to, 2\? truth", text)


def test_what_could_not_be_scored_is_said_first(tmp_path):
    lost = [
        {"where": "own.jsonl:3", "error": "own.jsonl:3: no helper image"},
        {"where": "own.jsonl:5", "error": "torn"},
    ]
    html = report(tmp_path, change(evaluation(tmp_path, "sft", "yyyn"), failures=lost))
    assert "2 more couldn’t be scored; the first: own.jsonl:3: no helper image." in html.replace("&#x27;", "’")


def test_answers_that_cannot_be_graded_are_shown_and_said_to_be_so(tmp_path):
    nothing = dict.fromkeys(ANSWERS) | {"outcome": "ungraded", "truth": None, "text": ""}
    html = report(tmp_path, change(evaluation(tmp_path, "sft", "yyyn", **nothing), ungraded=4))
    text = Reader(html).text
    assert "none of 4 answers could be graded, because the test file withholds them" in text
    assert "not graded" in text[text.index("Examples") :]
    assert "(empty)" in text[text.index("Examples") :]
    assert "ungraded 4 100.0 %" in text
    assert "None" not in text


def test_a_page_of_clips_has_units_directions_and_a_paired_bootstrap(tmp_path):
    ours = score_clips(tmp_path / "world", 1.0, copies=-4.0)
    theirs = score_clips(tmp_path / "base", 0.0)
    page = Reader(report(tmp_path, ours, theirs))
    groups = page.section("Results by group")
    assert re.search(r"push n = 6 2\d\.\d+ dB \[2\d\.\d+, 2\d\.\d+\] 2\d\.\d+ dB", groups)
    assert re.search(r"return, all n = 12 -13\.4 \[-1[45]\.\d+, -11\.\d+\]", groups)
    assert re.search(r"fvd, all n = 12 140 150 ", groups)
    assert re.search(r"lead of world – \+1 dB \[\+1, \+1\], better", groups)
    assert re.search(r"lead of world lpips – -0\.02 \[-0\.02, -0\.02\], better", groups)
    assert "lpips (lower is better)" in groups
    assert "for means a bootstrap's, paired for differences" in groups
    assert "Wilson" not in groups
    conditions = page.section("Under other conditions")
    assert re.search(r"copy_last 2\d\.\d+ dB \[.*?\] -4 dB \[-4, -4\], worse", conditions)
    assert re.search(
        r"lpips under other conditions world copy_last 0\.\d+ \[.*?\] \+0\.08 \[\+0\.08, \+0\.08\], worse", conditions
    )
    assert "world: psnr 26." in page.text
    assert not re.search("success|latent|points", page.text)


@pytest.mark.parametrize("name", ["somebody.report", "os", "mirage_pl.nothing", "mirage_pl.train", "../evil", None, 3])
def test_a_run_folder_names_no_code_and_tables_stand_without_words(tmp_path, name, monkeypatch):
    imported = []
    monkeypatch.setattr(words.importlib, "import_module", lambda path: imported.append(path) or object())
    page = Reader(report(tmp_path, change(score_clips(tmp_path / "world", copies=-4.0), words=name)))
    assert "copy_last" in page.section("Under other conditions")
    assert all(path.startswith("mirage_pl.") for path in imported)


def test_words_of_the_users_own_family_are_taken_if_the_command_names_them(tmp_path, monkeypatch):
    (tmp_path / "my_family.py").write_text(
        "CONDITIONS, NUMBERS = {'copy_last': 'the last frame, again'}, {}\n"
        "sections = lambda results: {'Of my own': '<p>hello</p>'}\n"
        "verdict = lambda metrics: ['It moves.']\n"
        "describe_method = lambda method: {}\njudge_methods = lambda methods, baseline: []\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = change(score_clips(tmp_path / "world", copies=-4.0), words="my_family")
    assert "the last frame" not in report(tmp_path, folder)
    write_report(tmp_path / "mine.html", [folder], "my_family")
    text = Reader((tmp_path / "mine.html").read_text()).text
    assert all(words in text for words in ("the last frame, again", "Of my own hello", "It moves."))


def test_clips_are_embedded_as_what_they_are(tmp_path):
    folder = score_clips(tmp_path / "world")
    (folder / "gallery").mkdir()
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (0, 200)]
    for name in ("3", "3_truth"):
        frames[0].save(folder / "gallery" / f"{name}.gif", save_all=True, append_images=frames[1:])
    page = Reader(report(tmp_path, folder))
    assert [str(a["src"]).split(";")[0] for tag, a in page.tags if tag == "img"] == ["data:image/gif"] * 2
    assert re.search(r"psnr 27 dB done lpips 0\.225, return -12\.5", page.section("Examples"))


def test_runs_by_other_measures_share_no_row_and_are_said_not_to_be_compared(tmp_path):
    page = Reader(report(tmp_path, score_clips(tmp_path / "world"), evaluation(tmp_path, "sft", "yyn")))
    assert "sft is not compared with world: it was measured by success, optimal, invalid, not by psnr" in page.text
    assert re.search(r"all n = 12 2\d\.\d+ dB \[[^]]*\] –", page.section("Results by group"))
