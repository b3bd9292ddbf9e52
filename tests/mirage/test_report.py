"""Mirage's words on a page."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mirage_pl.engine.evaluation.statistics import paired_difference, wilson
from mirage_pl.mirage.report import CONDITIONS, describe_method, judge_methods, verdict, write_lift
from tests.engine.reports.folders import ANSWERS, condition, graded
from tests.engine.reports.page import Reader
from tests.engine.reports.test_evaluation import EVIL, evaluation, report


def tampered(folder: Path, *names: str) -> Path:
    """Add interventions to an evaluation of right answers: zero costs 90 points, every other one nothing."""
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    n, metrics = len(rows), json.loads((folder / "metrics.json").read_text())
    metrics |= {"words": "mirage_pl.mirage.report", "conditions_in": "interventions", "interventions": {}}
    for name in names:
        others = [graded(name != "zero" or 10 * index < n) for index in range(n)]
        further = {"changed": wilson(n, n), "kl": {"mean": 0.25, "n": n}}
        metrics["interventions"][name] = {**condition(ANSWERS, rows, others, {}), **further}
    metrics["latents"] = {"rows": n, "cosine_within": 0.987, "norm": 12.3, "retrieved": wilson(n, n)}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def test_interventions_have_a_section_with_every_name_and_the_verdict(tmp_path: Path) -> None:
    names = ("identity", "zero", "matched_noise", "shuffled", "none", "mine")
    html = report(tmp_path, tampered(evaluation(tmp_path, "stage2", "y" * 20), *names))
    page = Reader(html)
    section = page.section("Under other conditions")
    heads = re.findall('<th scope="row"><b>([^<]*)</b>', html[html.index("Under other conditions") :])
    assert tuple(heads[: len(names)]) == names
    assert re.search(r"zero zeros 10\.0 % \[[^]]*\] -90\.0 points \[[^]]*\], p < 0\.001: worse", section)
    assert "changed 100.0 %, kl 0.25" in section
    assert "kl: nats: how far the next token's distribution moves" in section
    assert "cosine_within mean cosine of two latents of a sample 0.987" in page.section("The model in numbers")
    assert re.search(r"some are the same 1 \[0\.839, 1\], n = 20", page.section("The model in numbers"))
    sentence = "needs latents, but success doesn't show that they must be the sample's own, though 100.0 % of"
    assert sentence in page.text[: page.text.index("Results by group")]


def test_the_section_is_left_out_without_interventions(tmp_path: Path) -> None:
    folder = evaluation(tmp_path, "sft", "yyn")
    assert "Under other conditions" not in report(tmp_path, folder)
    assert "Under other conditions" not in report(tmp_path, tampered(folder))


def test_pictures_of_latents_have_a_section_that_says_how_to_read_them(tmp_path: Path) -> None:
    folders = [evaluation(tmp_path, name, "y" * 12) for name in ("stage2", "sft", "guided")]
    for folder, shade in ((folders[0], 10), (folders[2], 20)):
        (folder / "latents").mkdir()
        for name in ("row-10", "row-9", "plane", "geometry"):
            Image.new("RGB", (4, 4), (shade, len(name), 0)).save(folder / "latents" / f"{name}.png")
    tampered(folders[0])
    page = Reader(report(tmp_path, *folders))
    section = page.section("What the latents see")
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
    section = page.section("Under other conditions")
    assert re.search(r"shuffled those of another sample – 100\.0 %", section)
    assert re.search(r"norm mean norm of latents 12\.3 12\.3", page.section("The model in numbers"))
    assert "sft" not in section
    assert "checkpoint needs" not in page.text, "the first run has no shuffled latents"
    section = section[: section.index("optimal under other conditions")]
    assert section.count("mine") == 2, "once in the table, once beside the bars"
    assert "<script" not in html


def test_no_two_elements_of_a_page_with_two_bar_plots_share_an_id(tmp_path: Path) -> None:
    page = Reader(report(tmp_path, tampered(evaluation(tmp_path, "stage2", "yyyy"), "zero", "shuffled")))
    identities = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identities) == len(set(identities)) > 0


def told(zero: tuple[str, float], shuffled: tuple[str, float], own: str = "y" * 40) -> str:
    """The verdict on answers that are right or not under two interventions, and of which so many change."""

    def numbers(right: str, changed: float) -> Mapping[str, Any]:
        pairs = [letter == "y" for letter in own], [letter == "y" for letter in right]
        share = wilson(round(changed * len(own)), len(own))
        return {**wilson(sum(pairs[1]), len(own)), "difference": paired_difference(*pairs), "changed": share}

    (sentence,) = verdict({"interventions": {"zero": numbers(*zero), "shuffled": numbers(*shuffled)}})
    return sentence


SAME, FEWER = "y" * 40, "n" * 40


@pytest.mark.parametrize(
    ("zero", "shuffled", "words"),
    [
        ((FEWER, 1), (FEWER, 1), "This checkpoint's answers depend on the sample's own latents."),
        ((FEWER, 1), (SAME, 0.25), "must be the sample's own, though 25.0 % of the answers change."),
        ((FEWER, 1), (SAME, 0), "success doesn't show that they must be the sample's own."),
        ((SAME, 0.5), (FEWER, 1), "though not with zeros, though 50.0 % of the answers change."),
        ((SAME, 1), (SAME, 0), "Answers of this checkpoint change with other latents, but success isn't shown to"),
        ((SAME, 0), (SAME, 0.1), "Answers of this checkpoint change with other latents, but success isn't shown to"),
        ((SAME, 0), (SAME, 0), "No answer of this checkpoint changes with zeros or with another sample's latents."),
    ],
)
def test_the_verdict_agrees_with_differences_and_with_the_share_of_other_answers(zero, shuffled, words):
    sentence = told(zero, shuffled)
    assert words in sentence
    assert f"{100 * zero[1]:.1f} % of answers changed; with another sample's" in sentence
    assert "can't be seen" not in sentence


def test_latents_that_harm_are_said_to_be_no_loss() -> None:
    sentence = told((SAME, 1), (SAME, 1), own=FEWER)
    assert "success isn't shown to fall" in sentence
    assert "+100.0 points" in sentence
    assert "better)" in sentence


def test_the_verdict_says_whether_answers_follow_a_donor() -> None:
    follows = {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 100}
    for low, words in ((0.3, "Answers follow latents"), (-0.1, "Answers aren't shown to follow latents")):
        lift = {"difference": 0.45, "low": low, "high": 0.55, "n": 100, "p": 0.01}
        (sentence,) = write_lift({"follows": follows, "lift": lift})
        assert sentence.startswith(words)
        assert "50.0 % [40.0, 60.0] are right for the donor, +45.0 points" in sentence
    assert write_lift({}) == []


@pytest.mark.parametrize("conditions", [{}, {"zero": {"n": 0}, "shuffled": {"n": 0}}])
def test_without_both_interventions_there_is_no_verdict(conditions) -> None:
    assert verdict({"interventions": conditions}) == []


def test_every_condition_that_mirage_can_make_has_a_meaning() -> None:
    from mirage_pl.mirage.probing.interventions import NAMES

    assert set(CONDITIONS) == set(NAMES)


def test_methods_that_made_no_interventions_are_not_judged() -> None:
    assert judge_methods({"sft": {"used": None, "useful": True}}, "sft") == []


def test_methods_that_need_latents_are_not_said_to_do_without() -> None:
    lost, kept = ({"difference": {"difference": mean, "low": mean - 0.1, "high": mean + 0.1}} for mean in (-0.3, 0.0))
    conditions = {
        "both": {"zero": lost, "shuffled": lost},
        "zeros": {"zero": lost, "shuffled": kept},
        "others": {"zero": kept, "shuffled": lost},
        "neither": {"zero": kept, "shuffled": kept},
    }
    methods = {name: {"interventions": each, "useful": False} for name, each in conditions.items()}
    sentences = judge_methods({name: each | describe_method(each) for name, each in methods.items()}, "sft")
    heads = [sentence.split(": ")[0].split(", ")[0] for sentence in sentences[:4]]
    assert heads == [
        "Latents used",
        "Latents needed (not shown that they must be the sample's own)",
        "Another sample's latents cost success (zeros not shown to)",
        "Latents not shown to be used",
    ]
    assert [name in sentence for name, sentence in zip(conditions, sentences, strict=False)] == [True] * 4
