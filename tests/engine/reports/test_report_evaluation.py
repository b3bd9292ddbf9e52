"""A report out of fabricated evaluation folders."""

import json
import re
from html.parser import HTMLParser
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from mirage_pl.engine.evaluation.statistics import paired_difference, wilson
from mirage_pl.engine.reports.evaluation import write_report
from mirage_pl.engine.reports.plots import MAX_POINTS, draw_bars, draw_curves, read_curves, thin

EVIL = '<script>alert("1")</script>'


def share(rows: list[dict[str, Any]], key: str) -> dict[str, Any]:
    groups = {row["group"]: [r for r in rows if r["group"] == row["group"]] for row in rows} | {"all": rows}
    hit = {
        "success": lambda r: r["success"],
        "optimal": lambda r: r["optimal"],
        "invalid": lambda r: r["outcome"] == "invalid",
    }
    return {group: wilson(sum(map(hit[key], members)), len(members)) for group, members in groups.items()}


def evaluation(
    root: Path, name: str, right: str, file: str = "data/test.jsonl", described: bool = False, **row: Any
) -> Path:
    """Write a run with an evaluation: of ``right`` every character is a sample, ``y`` if its answer is right."""
    folder = root / name / "evaluation" / "vsp"
    (folder / "gallery").mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    for index, letter in enumerate(right):
        success = letter == "y"
        made = {
            "where": f"{file}:{index + 1}",
            "group": f"level_{3 + index % 2}",
            "success": success,
            "optimal": success,
        }
        made |= {"outcome": "success" if success else "hole", "text": f"\\boxed{{UP{index}}}"}
        rows.append(made | {"truth": f"\\boxed{{LEFT{index}}}", "latents": 4} | row)
    metrics = {key: share(rows, key) for key in ("success", "invalid", "optimal")}
    counts = {word: sum(r["outcome"] == word for r in rows) for word in {r["outcome"] for r in rows}}
    metrics |= {"name": name, "ckpt": f"runs/{name}/last.ckpt", "command": f"evaluate ckpt={name}", "task": "vsp"}
    metrics |= {"outcomes": counts, "seconds": 12.34, "steps": 700}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "predictions.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    for index in (0, 2):
        Image.new("RGB", (8, 8), (index * 60, len(name), 0)).save(folder / "gallery" / f"{index}.png")
        Image.new("RGB", (8, 8), (0, index, 255)).save(folder / "gallery" / f"{index}_truth.png")
    if described:
        describe(root / name)
    return folder


def tampered(folder: Path, *names: str) -> Path:
    """Add interventions to an evaluation's metrics: zero costs 90 points, every other one nothing."""
    metrics = json.loads((folder / "metrics.json").read_text())
    n = metrics["success"]["all"]["n"]
    right = [True] * n
    metrics["interventions"] = {
        name: wilson(sum(answers), n)
        | {"difference": paired_difference(right, answers), "changed": wilson(n, n), "kl": {"mean": 0.25, "n": n}}
        for name in names
        for answers in [[name != "zero" or 10 * index < n for index in range(n)]]
    }
    metrics["latents"] = {"rows": n, "cosine_within": 0.987, "norm": 12.3, "retrieved": wilson(n, n)}
    (folder / "metrics.json").write_text(json.dumps(metrics))
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


class Reader(HTMLParser):
    """What is on a page: tags, attributes, visible text; tags that don't close in order fail."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "title"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))


def test_the_verdict_of_one_run_is_its_success_with_the_interval(tmp_path: Path) -> None:
    html = report(tmp_path, evaluation(tmp_path, "sft", "y" * 8 + "n" * 2))
    assert "sft answers 80.0 % [49.0, 94.3] of 10 held-out samples." in html


@pytest.mark.parametrize(
    ("mine", "theirs", "words"),
    [
        ("y" * 40, "n" * 40, r"\+100\.0 points \[[^]]*\] against sft \(p &lt; 0\.001: better\)"),
        ("n" * 40, "y" * 40, r"-100\.0 points \[[^]]*\] against sft \(p &lt; 0\.001: worse\)"),
        ("yyyn" * 10, "yyny" * 10, r"\+0\.0 points \[-[^]]*\+[^]]*\] against sft \(p = 1\.00: not distinguishable\)"),
    ],
)
def test_the_verdict_is_honest_whatever_the_sign(tmp_path: Path, mine: str, theirs: str, words: str) -> None:
    html = report(tmp_path, evaluation(tmp_path, "stage2", mine), evaluation(tmp_path, "sft", theirs))
    assert re.search("; that is " + words + r"\.</p>", html)


def test_the_sections_come_in_order_and_every_run_has_its_column(tmp_path: Path) -> None:
    folders = [evaluation(tmp_path, name, right) for name, right in [("stage2", "yyyn"), ("sft", "ynny")]]
    page = Reader(report(tmp_path, *folders))
    places = [
        page.text.index(name) for name in ("Success by group", "Learning curves", "Outcomes", "Answers", "How each")
    ]
    assert places == sorted(places)
    assert "level_3 n = 2 100.0 % [34.2, 100.0] 50.0 % [9.5, 90.5]" in page.text
    assert "all n = 4 75.0 % [30.1, 95.4] 50.0 % [15.0, 85.0]" in page.text
    assert "invalid, all n = 4 0.0 % [0.0, 49.0]" in page.text
    assert "lead of stage2" in page.text
    assert "hole 1 25.0% 2 50.0%" in page.text


def test_a_group_that_one_run_lacks_leaves_a_dash(tmp_path: Path) -> None:
    folders = [evaluation(tmp_path, "big", "ynyy"), evaluation(tmp_path, "small", "y", file="small.jsonl")]
    assert re.search(r"level_4 n = 2 50\.0 % \[[^]]*\] –", Reader(report(tmp_path, *folders)).text)


def test_runs_of_different_test_files_share_the_table_but_are_not_paired(tmp_path: Path) -> None:
    folders = [evaluation(tmp_path, "stage2", "yyyn"), evaluation(tmp_path, "sft", "nnnn", file="other.jsonl")]
    page = Reader(report(tmp_path, *folders))
    assert "100.0 % [34.2, 100.0] 0.0 % [0.0, 65.8]" in page.text
    assert "it answered other.jsonl instead of data/test.jsonl, and only answers to the same test file" in page.text
    assert "points" not in page.text
    assert "lead of" not in page.text
    assert sum(tag == "img" for tag, _ in page.tags) == 4  # two rows: the truth and the first run


def test_a_test_file_with_other_content_under_the_same_name_is_not_paired(tmp_path: Path) -> None:
    folders = [evaluation(tmp_path, "stage2", "yyyn"), evaluation(tmp_path, "sft", "nnnn", truth="B")]
    assert "it answered other rows, or another version, of data/test.jsonl" in report(tmp_path, *folders)


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
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics |= {"name": EVIL, "ckpt": EVIL, "command": EVIL, "task": EVIL, "steps": EVIL}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    environment = {"command": EVIL, "git": EVIL, "uncommitted_files": EVIL, "packages": {EVIL: EVIL}}
    (tmp_path / "evil" / "environment.json").write_text(json.dumps(environment))
    (tmp_path / "evil" / "config.yaml").write_text(f"model: {{name: {json.dumps(EVIL)}}}\n")
    with SummaryWriter(str(tmp_path / "evil" / "tensorboard")) as writer:
        writer.add_scalar("train/<script>$x$", 1.0, 1)
    html = report(tmp_path, folder, evaluation(tmp_path, "other", "yyn", file=EVIL + "2"))
    assert "<script" not in html
    assert Reader(html).text.count("alert") > 10


def test_interventions_have_a_section_with_every_name_and_the_verdict(tmp_path: Path) -> None:
    names = ("identity", "zero", "matched_noise", "shuffled", "none", "mine")
    html = report(tmp_path, tampered(evaluation(tmp_path, "stage2", "y" * 20), *names))
    page = Reader(html)
    section = page.text[page.text.index("Do the latents matter?") : page.text.index("Learning curves")]
    heads = re.findall('<th scope="row"><b>([^<]*)</b>', html[html.index("Do the latents matter?") :])
    assert tuple(heads[: len(names)]) == names
    assert re.search(r"zero zeros 10\.0 % \[[^]]*\] -90\.0 points \[[^]]*\], p < 0\.001: worse", section)
    assert "other answers 100.0 %, KL 0.250 nats" in section
    assert "mean cosine of two latents of a sample 0.987" in section
    assert re.search(r"own helper image is the nearest of all chance 5\.00% 100\.0 %", section)
    sentence = "The answers need latents, but that they need the sample's own can't be seen"
    assert sentence in section
    assert sentence in page.text[: page.text.index("Success by group")], "and in the verdict at the top"


def test_the_section_is_left_out_without_interventions(tmp_path: Path) -> None:
    folder = evaluation(tmp_path, "sft", "yyn")
    assert "latents matter" not in report(tmp_path, folder)
    assert "latents matter" not in report(tmp_path, tampered(folder))


def test_pictures_of_latents_have_a_section_that_says_how_to_read_them(tmp_path: Path) -> None:
    folders = [evaluation(tmp_path, name, "y" * 12) for name in ("stage2", "sft", "guided")]
    for folder, shade in ((folders[0], 10), (folders[2], 20)):
        (folder / "latents").mkdir()
        for name in ("row-10", "row-9", "plane", "geometry"):
            Image.new("RGB", (4, 4), (shade, len(name), 0)).save(folder / "latents" / f"{name}.png")
    page = Reader(report(tmp_path, *folders))
    section = page.text[page.text.index("What the latents see") : page.text.index("Learning curves")]
    places = [section.index(words) for words in ("Red: how the latent", "Vectors of length 1", "Cosines at 1 mean")]
    assert places == sorted(places)
    assert re.findall("stage2|guided|sft", section) == ["stage2", "guided"] * 4
    shown = [attributes["alt"] for tag, attributes in page.tags if tag == "img" and "image" in str(attributes["alt"])]
    assert shown == ["On the images: row-9"] * 2 + ["On the images: row-10"] * 2 + ["Among words and images: plane"] * 2


def test_the_section_on_what_latents_see_is_left_out_without_pictures(tmp_path: Path) -> None:
    assert "latents see" not in report(tmp_path, tampered(evaluation(tmp_path, "stage2", "yyn"), "zero"))


def test_a_run_without_an_intervention_leaves_a_dash_and_without_a_verdict_no_sentence(tmp_path: Path) -> None:
    folders = [tampered(evaluation(tmp_path, "some", "yyyy"), "zero"), evaluation(tmp_path, "sft", "yyyy")]
    html = report(tmp_path, *folders, tampered(evaluation(tmp_path, "all", "yyyy"), "zero", "shuffled", "mine", EVIL))
    page = Reader(html)
    section = page.text[page.text.index("Do the latents matter?") : page.text.index("Learning curves")]
    assert re.search(r"shuffled those of another sample – 100\.0 %", section)
    assert "mean norm of token embeddings – –" in section
    assert "sft" not in section
    assert "some :" not in section
    assert "all : The answers" in section
    assert section.count("mine") == 2, "once in the table, once below the bars"
    assert "<script" not in html


def test_no_two_elements_of_a_page_with_two_bar_plots_share_an_id(tmp_path: Path) -> None:
    page = Reader(report(tmp_path, tampered(evaluation(tmp_path, "stage2", "yyyy"), "zero", "shuffled")))
    identities = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identities) == len(set(identities)) > 0


def test_learning_curves_are_drawn_once_by_name_without_the_sum_of_a_single_loss(tmp_path: Path) -> None:
    folders = [evaluation(tmp_path, "stage2", "yyn", described=True), evaluation(tmp_path, "sft", "yyn")]
    page = Reader(report(tmp_path, *folders))
    labels = [attributes["aria-label"] for tag, attributes in page.tags if tag == "svg"]
    assert labels[1:] == ["val/success over training steps", "train/text over training steps"]
    assert "sft has no TensorBoard events in" in page.text


def test_a_resumed_run_counts_each_step_once_and_the_later_value(tmp_path: Path) -> None:
    for number, values in enumerate([{0: 9.0, 1: 8.0, 2: 7.0}, {2: 5.0, 3: 4.0}]):
        with SummaryWriter(str(tmp_path), filename_suffix=f".{number}") as writer:
            for step, value in values.items():
                writer.add_scalar("train/text", value, step, walltime=number * 100 + step)
    assert read_curves(tmp_path) == {"train/text": [(0, 9.0), (1, 8.0), (2, 5.0), (3, 4.0)]}
    assert read_curves(tmp_path / "nothing") == {}


def test_long_curves_are_averaged_and_short_ones_kept() -> None:
    assert thin([(0, 1.0), (10, 3.0)]) == [(0, 1.0), (10, 3.0)]
    long = thin([(step, float(step % 2)) for step in range(4 * MAX_POINTS)])
    assert len(long) == MAX_POINTS
    assert long[:2] == [(1.5, 0.5), (5.5, 0.5)]


def test_losses_that_blew_up_are_still_drawn() -> None:
    assert "<path" in draw_curves("train/text", {0: [(0, nan), (1, inf), (2, -inf), (3, 1.0)]})


def test_plots_are_small_and_take_the_page_s_colour() -> None:
    interval = {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 10}
    groups = [f"level_{level}" for level in range(3, 9)]
    bars = draw_bars(groups, [dict.fromkeys(groups, interval)] * 6)
    assert len(bars) < 100_000
    assert "currentColor" in bars
    assert "#010203" not in bars
    assert bars == draw_bars(groups, [dict.fromkeys(groups, interval)] * 6)


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


@pytest.mark.parametrize("name", ["metrics.json", "predictions.jsonl"])
def test_a_missing_file_is_named_with_the_command_that_makes_it(tmp_path: Path, name: str) -> None:
    folder = evaluation(tmp_path, "sft", "yyn")
    (folder / name).unlink()
    with pytest.raises(
        ValueError, match=f"{name} does not exist; run python -m mirage_pl.evaluate ckpt=.*/sft task=vsp again"
    ):
        report(tmp_path, folder)


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
        report(tmp_path, folder)


def test_predictions_that_contradict_the_metrics_are_refused(tmp_path: Path) -> None:
    folder = evaluation(tmp_path, "sft", "yyn")
    lines = (folder / "predictions.jsonl").read_text().splitlines()
    (folder / "predictions.jsonl").write_text("\n".join(lines[:2]) + "\n")
    with pytest.raises(ValueError, match=r"has 2 of 2 right, metrics\.json says 66\.7% of 3; run python"):
        report(tmp_path, folder)


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"success": {}}', '{"success": {"all": {}}, "invalid": {}, "optimal": {}}']
)
def test_broken_metrics_are_named(tmp_path: Path, content: str) -> None:
    folder = evaluation(tmp_path, "sft", "yyn")
    (folder / "metrics.json").write_text(content)
    with pytest.raises(ValueError, match=r"metrics\.json: .*; run python -m mirage_pl\.evaluate"):
        report(tmp_path, folder)


def test_a_gallery_picture_without_a_row_is_refused(tmp_path: Path) -> None:
    folder = evaluation(tmp_path, "sft", "yyn")
    (folder / "gallery" / "3.png").write_bytes((folder / "gallery" / "2.png").read_bytes())
    with pytest.raises(ValueError, match=r"gallery/3\.png has no row; delete gallery/, run python"):
        report(tmp_path, folder)


def test_no_evaluation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"run python -m mirage_pl\.evaluate"):
        write_report(tmp_path / "report.html", [])


@pytest.mark.parametrize(
    ("seen", "said"), [(0, "0 of them are in train.jsonl"), (None, "not known how many of them are in train.jsonl")]
)
def test_the_test_set_is_held_against_the_training_file(tmp_path, seen, said):
    folder = evaluation(tmp_path, "sft", "yyyn")
    metrics = json.loads((folder / "metrics.json").read_text())
    test = {"file": "test.jsonl", "rows": 4, "digest": "c0ffee", "train_file": "train.jsonl", "seen": seen}
    (folder / "metrics.json").write_text(json.dumps(metrics | {"test": test}))
    text = Reader(report(tmp_path, folder)).text
    assert "test.jsonl: 4 questions, digest c0ffee; " in text
    assert said in text
