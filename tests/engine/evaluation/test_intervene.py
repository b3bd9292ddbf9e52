"""Scores of answers with tampered latents, against values by hand."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from data_modules.scores import Scores
from mirage_pl.engine.evaluation.intervene import check_names, chosen, intervene, print_interventions, verdict
from mirage_pl.engine.evaluation.journal import Journal
from mirage_pl.engine.evaluation.statistics import mcnemar, wilson

TRUTHS = ["A", "B", "C", "D", "E"]


class Alphabet:
    """Five questions in two groups; the n-th letter is the right answer to the n-th."""

    def grade(self, index, text):
        return Scores({"success": text == TRUTHS[index]}, "letter", "even" if index % 2 == 0 else "odd")


@dataclass
class Fake:
    """Answers in batches of three and two."""

    answers: dict = field(default_factory=dict)
    moved: dict = field(default_factory=dict)

    @property
    def names(self):
        return tuple(self.answers)

    def answer(self, name):
        for part in (slice(0, 3), slice(3, 5)):
            yield SimpleNamespace(texts=list(self.answers[name][part]))

    def divergence(self, name):
        return self.moved[name]


@pytest.fixture
def tamper(tmp_path):
    """Make interventions on answers to the five questions."""

    def tamper(probe, names, texts="ABCxx", rows=None):
        rows = baseline(texts) if rows is None else rows
        return intervene(probe, names, Alphabet(), range(5), rows, Journal(tmp_path / "unfinished", {}))

    return tamper


def baseline(texts):
    grades = [Alphabet().grade(index, text) for index, text in enumerate(texts)]
    return [
        {"text": text, "success": grade.values["success"], "group": grade.group}
        for text, grade in zip(texts, grades, strict=True)
    ]


FAKE = Fake(
    {"identity": "ABCxx", "zero": "AxxxE", "oracle": "ABCDE"},
    {"identity": [0.0, 0.0], "zero": [1.0, 2.0, 6.0], "oracle": []},
)


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ("all", ["identity", "zero", "oracle"]),
        ("zero", ["zero"]),
        (["oracle", "zero"], ["oracle", "zero"]),
        (OmegaConf.create(["oracle", "zero"]), ["oracle", "zero"]),
        ([], []),
        (None, []),
    ],
)
def test_all_or_some_or_none_are_chosen(wanted, names):
    assert chosen(wanted, FAKE) == names


@pytest.mark.parametrize("wanted", ["sero", ["zero", "sero"]])
def test_an_unknown_name_is_refused_with_the_choices(wanted):
    with pytest.raises(ValueError, match=r"interventions=sero can't be .*; choose from identity, zero, oracle, or all"):
        chosen(wanted, FAKE)


@pytest.mark.parametrize("wanted", ["all", "zero", "sero"])
def test_without_latents_there_is_nothing_to_choose(wanted):
    assert chosen(wanted, Fake()) == []


def test_answers_are_graded_by_group_and_paired_with_the_baseline(tamper):
    """The baseline has A, B, C right. Zero loses B and C and wins E: A, C, E are even."""
    found = tamper(FAKE, ["zero"])
    assert found.keys() == {"zero"}
    zero = found["zero"]
    assert {key: zero[key] for key in ("mean", "low", "high", "n")} == wilson(2, 5)
    assert zero["groups"] == {"even": wilson(2, 3), "odd": wilson(0, 2)}
    assert zero["difference"]["difference"] == pytest.approx(-1 / 5)
    assert zero["difference"]["p"] == mcnemar(2, 1)
    assert zero["changed"] == wilson(3, 5)
    assert zero["kl"] == {"mean": 3.0, "n": 3}


def test_identity_changes_nothing_and_what_wins_has_a_difference_above_0(tamper):
    found = tamper(FAKE, ["identity", "oracle"])
    assert list(found) == ["identity", "oracle"]
    assert (found["identity"]["difference"]["difference"], found["identity"]["changed"]["mean"]) == (0.0, 0.0)
    assert found["identity"]["kl"] == {"mean": 0.0, "n": 2}
    assert found["oracle"]["difference"]["difference"] == pytest.approx(2 / 5)
    assert found["oracle"]["kl"] == {"mean": 0.0, "n": 0}


def test_a_wrong_answer_that_becomes_another_wrong_one_is_changed(tamper):
    probe = Fake({"zero": "ABCyx"}, {"zero": [0.0]})
    zero = tamper(probe, ["zero"])["zero"]
    assert (zero["changed"]["mean"], zero["difference"]["difference"]) == (0.2, 0.0)


def test_every_row_learns_whether_it_stays_right(tamper):
    rows = baseline("ABCxx")
    tamper(FAKE, ["zero", "oracle"], rows=rows)
    right = [row["interventions"] for row in rows]
    assert [row["zero"]["success"] for row in right] == [True, False, False, False, True]
    assert all(row["oracle"]["success"] for row in right)


def test_an_interrupted_intervention_goes_on_with_the_next(tamper):
    """The second answers are those that were kept."""
    first = tamper(FAKE, ["zero"])
    assert tamper(Fake({"zero": "ABCDE"}, {"zero": [0.0]}), ["zero"]) == first


@pytest.mark.parametrize("wanted", ["sero", ["zero", "sero"], OmegaConf.create(["sero"])])
def test_a_misspelt_name_is_refused_before_anything_is_answered(wanted):
    module = SimpleNamespace(intervention_names=("zero", "oracle"))
    with pytest.raises(ValueError, match="interventions=sero is unknown; choose from zero, oracle, or all"):
        check_names(wanted, module)
    check_names("all", module)
    check_names(None, module)


def test_a_model_without_interventions_says_so():
    with pytest.raises(ValueError, match="interventions=zero is unknown; this model has none; set interventions=null"):
        check_names("zero", SimpleNamespace())


def test_no_intervention_makes_no_answers(tamper):
    assert tamper(Fake(), []) == {}


def test_an_answer_too_few_is_an_error(tamper):
    with pytest.raises(ValueError, match="zip"):
        tamper(Fake({"zero": "ABC"}, {"zero": []}), ["zero"])


def scored(**costs):
    """Interventions that cost so many of 100 points, with an interval of 10 points to both sides."""
    share = wilson(5, 10)
    return {
        name: share
        | {"changed": share, "kl": {"mean": 0.125, "n": 3}}
        | {"difference": {"difference": -cost, "low": -cost - 0.1, "high": -cost + 0.1, "n": 10, "p": 0.001}}
        for name, cost in costs.items()
    }


@pytest.mark.parametrize(
    ("zero", "shuffled", "finding"),
    [
        (0.5, 0.5, "The answers depend on the sample's own latents."),
        (0.5, 0.02, "The answers need latents, but that they need the sample's own can't be seen."),
        (0.02, 0.5, "The answers suffer from another sample's latents, though not from having none."),
        (0.02, 0.05, "That the answers depend on the latents can't be seen."),
    ],
)
def test_the_verdict_says_whether_latents_are_needed_and_whether_their_own(zero, shuffled, finding):
    said = verdict(scored(zero=zero, shuffled=shuffled, noise=0.9))
    assert said.startswith(f"{finding} Against the model's own: with zeroed latents {-100 * zero:+.1f} points")
    assert f"with another sample's {-100 * shuffled:+.1f} points" in said
    assert said.count("p = 0.001") == 2


def test_answers_that_get_better_without_latents_do_not_need_them():
    assert verdict(scored(zero=-0.5, shuffled=-0.5)).startswith("That the answers depend on the latents can't be seen.")


@pytest.mark.parametrize("names", [[], ["zero"], ["shuffled"], ["zero", "noise"]])
def test_there_is_no_verdict_unless_both_were_made(names):
    assert verdict(scored(**dict.fromkeys(names, 0.5))) == ""


def test_every_intervention_is_printed_and_the_verdict_below(capsys):
    interventions = scored(zero=0.5, shuffled=0.5, first_repeated=0.25)
    print_interventions(interventions)
    printed = capsys.readouterr().out
    assert all(name in printed for name in interventions)
    assert "-25.0 points" in printed
    assert "0.125" in printed
    assert verdict(interventions) in printed


def test_without_a_verdict_the_table_is_printed_alone(capsys):
    print_interventions(scored(noise=0.5))
    printed = capsys.readouterr().out
    assert "noise" in printed
    assert "The answers" not in printed
