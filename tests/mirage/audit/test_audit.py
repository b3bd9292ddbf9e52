"""An audit of constructed models: one answers what its latents say, one doesn't look at them."""

import json
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import one_hot

from data_modules.samples import Sample, Text
from data_modules.scores import Scores
from mirage_pl.engine.evaluation import publishing
from mirage_pl.engine.evaluation.journal import Journal
from mirage_pl.engine.evaluation.results import Result
from mirage_pl.engine.evaluation.summary import describe_evaluation, summarize_scores
from mirage_pl.engine.reports.evaluation import write_report
from mirage_pl.engine.runs.folder import CONFIG
from mirage_pl.engine.seams import Measure
from mirage_pl.mirage.audit.evaluation import Audit, AuditTrial
from mirage_pl.mirage.audit.interventions import AuditInterventions
from mirage_pl.mirage.audit.terms import judge_words, list_numbers, list_tests
from mirage_pl.mirage.audit.words import sections
from mirage_pl.mirage.decoding.generate import Decoder, Generation
from mirage_pl.mirage.decoding.sampling import Decoding

LETTERS, ROWS = "ABCD", 80
DECODING = {"max_new_tokens": 9}


def ask(number, letter):
    return Sample(f"abc:{number}", (Text("letter?"),), (Text(letter),), {"number": number})


class Alphabet:
    """Which letter? The counterfactual asks for the next one."""

    def __len__(self):
        return ROWS

    def __getitem__(self, number):
        return ask(number, LETTERS[number * 7 % 4])

    def identity(self, sample):
        return sample.where

    def grade(self, sample, text):
        right = text == sample.answer_text
        return Scores({"success": right}, "success" if right else "wrong", "letters")

    def counterfactual(self, sample):
        return ask(sample.meta["number"], LETTERS[(LETTERS.index(sample.answer_text) + 1) % 4])

    def states(self, sample):
        return ()


def write_latents(samples):
    """Two latents a question that say its letter, a little blurred."""
    random = torch.Generator().manual_seed(0)
    letters = torch.tensor([LETTERS.index(sample.answer_text) for sample in samples])
    return list(one_hot(letters, 4).float().unsqueeze(1) + 0.1 * torch.rand(len(letters), 2, 4, generator=random))


class Module:
    """Answers right, but every so manieth question."""

    device, generation_type = "cpu", Generation

    def __init__(self, misses=10):
        self.misses = misses
        architecture = SimpleNamespace(attending=[0], kinds=["full_attention"])
        self.net = SimpleNamespace(architecture=architecture, words=lambda: torch.ones(5, 4))

    def generate(self, prompts, **decoding):
        texts = [self.say(sample) for sample in prompts]
        return Generation(texts, [[1]] * len(texts), write_latents(prompts), [True] * len(texts))

    def say(self, sample):
        return "x" if sample.meta["number"] % self.misses == 0 else sample.answer_text


class Prompts(list):
    def to(self, device):
        return self


class Reader(AuditInterventions):
    """The answer is what the latents say, and A without any."""

    @property
    def changed_latents(self):
        return dict(zip(self.changed, write_latents(list(self.changed.values())), strict=True))

    def answer(self, name):
        for part in self.parts:
            pairs = zip(self.samples[part], self.replace_latents(name)[part], strict=True)
            yield SimpleNamespace(texts=[self.read_out(*pair) for pair in pairs])

    def read_out(self, sample, latents):
        said = LETTERS[int(latents.sum(0).argmax())]
        return "x" if Module().say(sample) == "x" else said


class Deaf(Reader):
    """The answer is what it was, whatever the latents say."""

    def read_out(self, sample, latents):
        return Module().say(sample)


def audit(tmp_path, monkeypatch, kind, module=None, against=(), name="run"):
    """Audit a model; returns its metrics, and the folder they are written to."""
    monkeypatch.setattr(AuditTrial, "probe", property(lambda trial: probe_of(trial, kind)))
    monkeypatch.setattr(AuditTrial, "look", lambda trial: {})
    evaluation = Audit(DECODING, "all", [str(run) for run in against])
    collate = SimpleNamespace(prompts=Prompts, processor=None, latent_size=2, latent_start=1, latent_end=2)
    loader = SimpleNamespace(eval_batch_size=32)
    data = SimpleNamespace(datasets={"test": Alphabet()}, collate=collate, loader=loader)
    trial = evaluation.open(module or Module(), data, Journal(tmp_path / f"{name}-work", {}).once)
    rows = {"own": [row for batch in trial.score("own") for row in batch]}
    for condition in trial.conditions:
        rows[condition] = [row for batch in trial.score(condition) for row in batch]
    metrics = describe_evaluation(evaluation) | {"name": name, "task": "letters", "steps": 3, "finished": True}
    metrics |= summarize_scores(evaluation, trial, rows, trial.describe())
    folder = tmp_path / name / "evaluation" / "letters-audit"
    folder.mkdir(parents=True)
    (folder.parent.parent / CONFIG).touch()
    return publishing.write_scores(folder, evaluation, metrics, rows), folder


def probe_of(trial, kind):
    probe = kind(*trial.answered())
    probe.dataset = trial.dataset
    return probe


def test_a_model_that_answers_what_its_latents_say_uses_them(tmp_path, monkeypatch):
    metrics, _ = audit(tmp_path, monkeypatch, Reader)
    assert judge_words(list_tests(metrics))["used"] is True
    conditions = metrics["interventions"]
    assert conditions["identity"]["changed"]["mean"] == 0.0
    for name in ("donor", "flipped"):
        assert conditions[name]["follows"]["mean"] == pytest.approx(0.9)
        assert conditions[name]["lift"]["low"] > 0.8
        assert conditions[name]["flips"]["mean"] == pytest.approx(0.9), "all but those that are wrong anyhow"
    strengths = [conditions[name]["mean"] for name in ("noise_25", "noise_50", "noise_75", "matched_noise")]
    assert strengths == sorted(strengths, reverse=True)
    assert strengths[0] > strengths[-1] + 0.3
    assert not {"oracle", "donor_oracle", "flipped_oracle"} & conditions.keys(), "no helper images"


def test_a_model_that_does_not_look_at_its_latents_does_not(tmp_path, monkeypatch):
    metrics, _ = audit(tmp_path, monkeypatch, Deaf)
    assert judge_words(list_tests(metrics)) == {"used": False, "useful": None, "readable": None}
    for name in ("donor", "flipped"):
        assert metrics["interventions"][name]["lift"]["difference"] == 0.0
        assert metrics["interventions"][name]["flips"]["mean"] == 0.0


def test_useful_is_better_than_the_baselines_that_are_named_and_all_is_on_the_page(tmp_path, monkeypatch):
    _, worse = audit(tmp_path, monkeypatch, Deaf, Module(misses=2), name="worse")
    _, level = audit(tmp_path, monkeypatch, Deaf, name="level")
    metrics, folder = audit(tmp_path, monkeypatch, Reader, against=[worse.parent.parent])
    assert judge_words(list_tests(metrics))["useful"] is True
    (against,) = metrics["audit"]["against"].values()
    assert (against["name"], against["steps"], against["difference"]["difference"]) == ("worse", 3, pytest.approx(0.4))
    both, _ = audit(tmp_path, monkeypatch, Reader, against=[worse.parent.parent, level.parent.parent], name="both")
    assert judge_words(list_tests(both))["useful"] is False
    write_report(tmp_path / "report.html", [folder])
    page = (tmp_path / "report.html").read_text()
    assert "Latents: used: yes, useful: yes, readable: not tested." in page
    for heading in ("Used, useful, readable", "Replacement by strength"):
        assert f"<h2>{heading}</h2>" in page


def test_what_latents_hold_is_plain_numbers_and_has_its_sections(probe, tmp_path):
    short = Decoder(probe.processor, probe.collate.latent_size)
    probe.baseline = [short(probe.net, probe.collate.prompts(probe.samples[part]), Decoding(6)) for part in probe.parts]
    found = AuditTrial.look(SimpleNamespace(probe=probe))
    assert json.loads(json.dumps(found)) == found
    assert found["writing"]["written"] == 1.0
    for name in ("retrieved", "told_apart"):
        forced, free = (found["writing"]["measures"][name][source]["places"] for source in ("forced", "free"))
        assert len(forced) == len(free) == 3
        assert forced[0] == free[0], "nothing was given away yet"
    assert list_numbers(found).keys() >= {"forced", "forced_first", "free", "copied"}
    result = Result(tmp_path, "run", {"audit": found}, [], {"success": Measure("share")})
    assert list(sections([result])) == ["Used, useful, readable", "Which target is it", "Where answers look"]


def test_a_run_without_latents_has_no_word():
    audit = {"against": {"sft": {"name": "sft", "steps": 1, "difference": {"difference": 0, "p": 1.0}}}}
    assert list_tests({"audit": audit}) == []


def test_a_baseline_that_was_not_scored_or_on_other_questions_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"against=.*nowhere is no run folder"):
        Audit(DECODING, "all", [str(tmp_path / "nowhere")])
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / CONFIG).touch()
    with pytest.raises(ValueError, match=r"has no evaluation; run python -m mirage_pl.evaluate ckpt=.*new first"):
        Audit(DECODING, "all", [str(tmp_path / "new")])
    with pytest.raises(ValueError, match=r"against=.*new is the run that is audited"):
        Audit(DECODING, "all", [str(tmp_path / "new")], str(tmp_path / "new/checkpoints/last.ckpt"))
    _, folder = audit(tmp_path, monkeypatch, Deaf, name="first")
    monkeypatch.setattr(Alphabet, "identity", lambda self, sample: f"other {sample.where}")
    with pytest.raises(ValueError, match="was scored on other questions"):
        audit(tmp_path, monkeypatch, Deaf, against=[folder.parent.parent], name="second")


def test_a_condition_that_no_audit_has_is_refused():
    with pytest.raises(ValueError, match="interventions=sero is unknown; choose from identity, noise_25"):
        Audit(DECODING, ["sero"])
