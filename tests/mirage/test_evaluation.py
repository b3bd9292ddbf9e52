"""Scores of answers with tampered latents, against values by hand."""

from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from data_modules.samples import Sample, Text
from data_modules.scores import Scores
from mirage_pl.engine.evaluation.journal import Journal
from mirage_pl.engine.evaluation.statistics import mcnemar, wilson
from mirage_pl.engine.evaluation.summary import join_conditions, summarize_scores
from mirage_pl.mirage.evaluation import LatentAnswers, LatentTrial
from mirage_pl.mirage.probing.replacements import NAMES

TRUTHS = ["A", "B", "C", "D", "E"]
DECODING = {"max_new_tokens": 9}


class Alphabet:
    """Five questions in two groups; the n-th letter is the right answer to the n-th."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return Sample(f"abc:{index}", (Text("letter?"),), (Text(TRUTHS[index]),), {"index": index})

    def identity(self, sample):
        return sample.where

    def grade(self, sample, text):
        index = sample.meta["index"]
        right = text == TRUTHS[index]
        return Scores({"success": right}, "letter" if right else "invalid", "even" if index % 2 == 0 else "odd")


class Generation:
    def __init__(self, texts, tokens):
        self.texts, self.tokens = texts, tokens

    def describe(self, row):
        return {"finished": self.texts[row] != "x"}


class Module:
    """Says the same five texts, in order."""

    device, generation_type = "cpu", Generation

    def __init__(self, texts="ABCxx"):
        self.texts = texts

    def generate(self, prompts, **decoding):
        numbers = [int(sample.where[-1]) for sample in prompts]
        return Generation([self.texts[number] for number in numbers], [[7] * (number + 1) for number in numbers])


class Prompts(list):
    def to(self, device):
        return self


class Probe:
    """What interventions find, in batches of three and two."""

    parts = [slice(0, 3), slice(3, 5)]
    texts = {"identity": "ABCxx", "zero": "AxxxE", "oracle": "ABCDE"}
    moved = {"identity": [0.0, 0.0], "zero": [1.0, 2.0, 6.0], "oracle": []}
    names = ("identity", "zero", "oracle")

    def answer(self, name):
        for part in self.parts:
            yield SimpleNamespace(texts=list(self.texts[name][part]))

    def divergence(self, name):
        return self.moved[name]

    def list_givers(self, name):
        return {}

    def describe(self):
        return {"norm": 2.0}

    def pictures(self, rows):
        yield from ((f"row-{row}", None) for row in rows)


class Donors(Probe):
    """Rows 0 and 1 take each other's latents, and rows 3 and 4; row 2 has none."""

    names, texts, moved = ("donor",), {"donor": "BxCED"}, {"donor": [1.0]}

    def list_givers(self, name):
        return {row: Alphabet()[donor] for row, donor in {0: 1, 1: 0, 3: 4, 4: 3}.items()}


class Silent(Probe):
    """No answer has latents."""

    names = ()


@pytest.fixture
def tamper(tmp_path, monkeypatch):
    """Score the five questions and their interventions; returns summary, rows and trial."""

    def tamper(interventions, probe=None, folder="work"):
        monkeypatch.setattr(LatentTrial, "probe", probe or Probe())
        evaluation = LatentAnswers(DECODING, interventions)
        data = SimpleNamespace(
            datasets={"test": Alphabet()},
            collate=SimpleNamespace(prompts=Prompts),
            loader=SimpleNamespace(eval_batch_size=3),
        )
        trial = evaluation.open(Module(), data, Journal(tmp_path / folder, {}).once)
        assert trial.conditions == (), "before there are answers"
        rows = {"own": [row for batch in trial.score("own") for row in batch]}
        for name in trial.conditions:
            rows[name] = [row for batch in trial.score(name) for row in batch]
        return summarize_scores(evaluation, trial, rows, trial.describe()), join_conditions(evaluation, rows), trial

    return tamper


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
def test_all_or_some_or_none_are_made(tamper, wanted, names):
    metrics, rows, trial = tamper(wanted)
    assert list(metrics.get("interventions", {})) == names
    assert list(rows[0].get("interventions", {})) == names
    assert metrics.get("latents", {}) == ({} if wanted is None else {"columns": 3.0, "norm": 2.0})
    assert len(list(trial.pictures([0, 3]))) == (0 if wanted is None else 2)


def test_answers_that_follow_a_donor_are_right_for_the_donors_question(tamper):
    condition = tamper(["donor"], Donors())[0]["interventions"]["donor"]
    assert condition["follows"] == wilson(3, 4), "B, E and D are right for rows 1, 4 and 3; x isn't for row 0"
    lift = condition["lift"]
    assert (lift["mean"], lift["difference"], lift["n"]) == (0.75, 0.75, 4), "no own answer was right for a donor"
    assert lift["low"] < 0.75 < lift["high"]


@pytest.mark.parametrize("wanted", ["shuffled", ["zero", "shuffled"]])
def test_one_that_can_not_be_made_here_is_refused_with_the_choices(tamper, wanted):
    match = r"interventions=shuffled can't be made here; choose from identity, zero, oracle, or all"
    with pytest.raises(ValueError, match=match):
        tamper(wanted)


@pytest.mark.parametrize("wanted", ["sero", ["zero", "sero"], OmegaConf.create(["sero"])])
def test_a_misspelt_name_is_refused_before_anything_is_loaded(wanted):
    with pytest.raises(ValueError, match=f"interventions=sero is unknown; choose from {', '.join(NAMES)}, or all"):
        LatentAnswers(DECODING, wanted)


def test_a_bad_option_of_decoding_is_refused_before_anything_is_loaded():
    with pytest.raises(ValueError, match="decoding.top_p=0 must be above 0"):
        LatentAnswers(DECODING | {"top_p": 0}, "all")


@pytest.mark.parametrize("wanted", ["all", "zero", []])
def test_without_latents_there_is_nothing_to_tamper_with_and_it_is_said(tamper, wanted):
    metrics, rows, trial = tamper(wanted, Silent())
    assert "interventions" not in metrics
    assert metrics["latents"] == {"columns": 3.0}, "answers of 1, 2, 3, 4 and 5 columns"
    assert trial.remark(rows)[-1] == "no answer has latents, so there is nothing to intervene in"


def test_answers_are_graded_by_group_and_paired_with_the_models_own(tamper):
    """The model has A, B, C right. Zero loses B and C and wins E: A, C, E are even."""
    metrics, _, _ = tamper(["zero"])
    assert metrics["success"]["all"] == wilson(3, 5)
    zero = metrics["interventions"]["zero"]
    assert {key: zero[key] for key in ("mean", "low", "high", "n")} == wilson(2, 5)
    assert zero["groups"] == {"even": wilson(2, 3), "odd": wilson(0, 2)}
    assert zero["difference"]["difference"] == pytest.approx(-1 / 5)
    assert zero["difference"]["p"] == mcnemar(2, 1)
    assert zero["changed"] == wilson(3, 5)
    assert zero["kl"] == {"mean": 3.0, "n": 3}
    assert zero["measures"]["invalid"]["difference"]["difference"] == pytest.approx(1 / 5)


def test_identity_changes_nothing_and_what_wins_has_a_difference_above_0(tamper):
    found = tamper(["identity", "oracle"])[0]["interventions"]
    assert (found["identity"]["difference"]["difference"], found["identity"]["changed"]["mean"]) == (0.0, 0.0)
    assert found["identity"]["kl"] == {"mean": 0.0, "n": 2}
    assert found["oracle"]["difference"]["difference"] == pytest.approx(2 / 5)
    assert found["oracle"]["kl"] == {"mean": 0.0, "n": 0}


def test_a_wrong_answer_that_becomes_another_wrong_one_is_changed(tamper):
    probe = Probe()
    probe.texts = {"zero": "ABCyx"}
    zero = tamper(["zero"], probe)[0]["interventions"]["zero"]
    assert (zero["changed"]["mean"], zero["difference"]["difference"]) == (0.2, 0.0)


def test_every_row_learns_whether_it_stays_right(tamper):
    _, rows, _ = tamper(["zero", "oracle"])
    right = [row["interventions"] for row in rows]
    assert [row["zero"]["success"] for row in right] == [True, False, False, False, True]
    assert all(row["oracle"] == {"success": True, "optimal": True, "invalid": False} for row in right)


def test_an_interrupted_intervention_goes_on_with_the_next(tamper):
    """The second answers are those that were kept."""
    first = tamper(["zero"])[:2]
    other = Probe()
    other.texts, other.moved = {"zero": "ABCDE"}, {"zero": [0.0]}
    assert tamper(["zero"], other)[:2] == first
    assert tamper(["zero"], other, "elsewhere")[0] != first[0]


def test_an_answer_too_few_is_an_error(tamper):
    probe = Probe()
    probe.texts = {"zero": "ABCD"}
    with pytest.raises(ValueError, match="zip"):
        tamper(["zero"], probe)


def test_what_can_be_made_is_found_out_once(talkative, collator, samples, monkeypatch):
    """Whether there is an oracle takes a look at every row's helper image."""
    from mirage_pl.mirage.decoding.generate import Decoder
    from mirage_pl.mirage.decoding.sampling import Decoding
    from mirage_pl.mirage.probing import interventions

    talkative.level, looks = -1e9, []
    decoding, decoder = Decoding(12), Decoder(collator.processor, collator.latent_size)
    baseline = [decoder(talkative, collator.prompts(samples), decoding)]
    monkeypatch.setattr(interventions, "has_helpers", lambda *given: looks.append(given) or True)
    probe = interventions.Interventions(talkative, collator.processor, collator, decoding, samples, baseline)
    for _ in range(3):
        assert probe.names == NAMES
        probe.describe()
    assert len(looks) == len(samples)
