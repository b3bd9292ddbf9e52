"""How much helper images help: likelihoods with and without, and other runs by quarter of the gain."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from data_modules.samples import Text
from mirage_pl.engine.evaluation import publishing
from mirage_pl.engine.evaluation.journal import Journal
from mirage_pl.engine.evaluation.summary import describe_evaluation, summarize_scores
from mirage_pl.engine.runs.folder import CONFIG
from mirage_pl.mirage.collator import Collator, blocks, reveal
from mirage_pl.mirage.gain.evaluation import HelperGain, lend, split_by_gain, sum_logs
from mirage_pl.mirage.gain.words import sections, verdict


class Questions(list):
    """Samples as a data set."""

    def identity(self, sample):
        return sample.where

    def grade(self, sample, text):
        return SimpleNamespace(group="maze")

    def answer_identity(self, sample):
        return sample.answer_text

    def picture(self, sample):
        raise AssertionError("nothing is drawn here")


def open_trial(tmp_path, net, processor, samples, width=2, **options):
    collate = Collator(processor, latent_size=3, latents=False, helpers=False, revealed=options.pop("revealed", None))
    data = SimpleNamespace(
        datasets={"test": Questions(samples)}, collate=collate, loader=SimpleNamespace(eval_batch_size=width)
    )
    module = SimpleNamespace(net=net, device="cpu")
    evaluation = HelperGain(**options)
    return evaluation, evaluation.open(module, data, Journal(tmp_path / "work", {}).once)


def rows_of(trial, condition="own"):
    return [row for batch in trial.score(condition) for row in batch]


def test_the_gain_is_the_likelihood_with_helper_images_less_that_without(tmp_path, random_net, processor, samples):
    _, trial = open_trial(tmp_path, random_net, processor, samples)
    rows = rows_of(trial)
    assert [row["where"] for row in rows] == [sample.where for sample in samples]
    for row, sample in zip(rows, samples, strict=True):
        for name, asked in (("shown", reveal(sample)), ("unshown", sample)):
            batch = Collator(processor, 3, latents=False, helpers=False)([asked])
            with torch.no_grad():
                logs = random_net.logits(random_net.recurrent(batch)[0]).log_softmax(-1)
            places = (batch.targets_BT[0] >= 0).nonzero().squeeze(1)
            by_hand = sum(float(logs[place, batch.targets_BT[0, place]]) for place in places)
            assert row[name] == pytest.approx(by_hand, rel=1e-4)
        assert row["gain"] == pytest.approx(row["shown"] - row["unshown"])
        assert row["helped"] == (row["gain"] > 0)


def test_answers_are_their_text_alone_and_the_order_of_batches_does_not_matter(
    tmp_path, random_net, processor, samples
):
    _, one = open_trial(tmp_path / "a", random_net, processor, samples, width=1)
    _, four = open_trial(tmp_path / "b", random_net, processor, samples, width=4)
    for alone, together in zip(rows_of(one), rows_of(four), strict=True):
        assert alone["gain"] == pytest.approx(together["gain"], abs=1e-3)
        assert alone["truth"] == together["truth"]


def test_the_control_shows_another_row_s_helper_images_with_another_answer(tmp_path, random_net, processor, samples):
    _, trial = open_trial(tmp_path, random_net, processor, samples, conditions=["shuffled"])
    own = rows_of(trial)
    givers = trial.choose_givers()
    for sample, giver in zip(samples, givers, strict=True):
        others = [each for each in samples if each.answer_text != sample.answer_text]
        alike = [each for each in others if len(blocks(each)) == len(blocks(sample))]
        assert giver in alike if alike else giver is sample
    told = lend(samples[0], givers[0])
    assert told.answer == samples[0].answer
    assert told.question[-1].path == blocks(givers[0])[-1].path
    rows = rows_of(trial, "shuffled")
    assert [row["where"] for row in rows] == [row["where"] for row in own]
    assert [row["unshown"] for row in rows] == [row["unshown"] for row in own]
    assert any(row["shown"] != before["shown"] for row, before in zip(rows, own, strict=True))


def test_rows_without_helper_images_or_answers_are_failures_and_the_others_are_scored(
    tmp_path, random_net, processor, samples
):
    bare = replace(samples[0], where="bare:1", answer=(Text("up"),))
    mute = replace(samples[0], where="mute:1", answer=())
    _, trial = open_trial(tmp_path, random_net, processor, [bare, *samples[:2], mute], width=1)
    assert [row["where"] for row in rows_of(trial)] == [sample.where for sample in samples[:2]]
    assert [failure["where"] for failure in trial.failures] == ["bare:1", "mute:1"]
    assert "no helper image" in trial.failures[0]["error"]


def test_a_run_that_thinks_in_latents_is_refused_and_one_that_saw_no_helper_image_is_remarked(
    tmp_path, random_net, processor, samples
):
    collate = Collator(processor, latent_size=3, latents=True, helpers=False)
    with pytest.raises(ValueError, match="stage.collator.revealed=0.5"):
        HelperGain().open(None, SimpleNamespace(collate=collate), None)
    _, trial = open_trial(tmp_path / "a", random_net, processor, samples)
    assert "saw no helper image" in trial.remark([])[0]
    _, trial = open_trial(tmp_path / "b", random_net, processor, samples, revealed=0.5)
    assert not trial.remark([])
    assert trial.collate.revealed is None  # each row is scored with and without
    with pytest.raises(ValueError, match="conditions=.*unknown; choose from shuffled"):
        HelperGain(["zero"])


def test_likelihoods_are_of_rows_though_their_answers_differ_in_length():
    hidden = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[-100, 1, -100, 2], [-100, -100, -100, 3]])
    logs = hidden.log_softmax(-1)
    by_hand = [logs[0, 1, 1] + logs[0, 3, 2], logs[1, 3, 3]]
    found = sum_logs(hidden, targets, lambda vectors: vectors)
    assert found.tolist() == pytest.approx([float(each) for each in by_hand])


GAINS = [0.5, -0.1, 3.0, 0.2, 1.0, 2.0, 0.0, 0.7]


def write_run(folder, success):
    """A run that has answered eight questions."""
    (folder / "evaluation/vsp").mkdir(parents=True)
    (folder / CONFIG).write_text("{}")
    rows = [
        {"where": f"q:{number}", "id": f"q:{number}", "group": "maze", "success": right, "text": "", "truth": ""}
        for number, right in enumerate(success)
    ]
    evaluation = SimpleNamespace(
        name="answers", conditions_in="interventions", numbers_in="latents", words=None, facts={}, measures=MEASURES
    )
    trial = SimpleNamespace(failures=(), hidden=(), over_all=lambda *_: {}, summarize=lambda _: {}, describe=dict)
    scores = summarize_scores(evaluation, trial, {"own": rows}, {})
    facts = {"name": folder.name, "task": "vsp", "steps": 5, "ckpt": "x"}
    publishing.write_scores(
        folder / "evaluation/vsp", evaluation, {**facts, **describe_evaluation(evaluation), **scores}, {"own": rows}
    )
    return str(folder)


MEASURES = {"success": HelperGain.measures["helped"]}


def test_other_runs_are_shown_by_quarter_of_the_gain(tmp_path):
    plain = write_run(tmp_path / "sft", [gain < 0.6 for gain in GAINS])
    imagines = write_run(tmp_path / "words", [True] * 8)
    evaluation = HelperGain(against=[plain, imagines])
    rows = [{"id": f"q:{number}", "gain": gain} for number, gain in enumerate(GAINS)]
    assert split_by_gain(rows) == [[1, 6], [3, 0], [7, 4], [5, 2]]
    collate = SimpleNamespace(latents=False, revealed=0.5)
    data = SimpleNamespace(datasets={"test": []}, collate=collate, loader=SimpleNamespace(eval_batch_size=2))
    trial = evaluation.open(None, data, None)
    found = trial.summarize(rows)
    assert found["quarters"][-1] == {"low": 2.0, "high": 3.0, "n": 2}
    first, second = found["by_quarter"].values()
    assert [share["mean"] for share in first["success"]] == [1, 1, 0, 0]
    assert [share["mean"] for share in second["success"]] == [1, 1, 1, 1]
    assert [lead["difference"] for lead in second["above_first"]] == [0, 0, 1, 1]
    assert "above_first" not in first
    html = sections([SimpleNamespace(metrics=found, name="gain")])["Other runs, by how much helper images help"]
    assert "words, less the first" in html
    assert "2 to 3 nats" in html
    with pytest.raises(ValueError, match="was scored on other questions"):
        trial.summarize(rows[:7])


def test_what_is_said_follows_from_the_intervals():
    def metrics(low, high=None, gain_high=2.0):
        gain = {"all": {"mean": 1.0, "low": low, "high": gain_high, "n": 9}}
        other = {"difference": {"difference": -0.5, "low": -0.9, "high": high, "n": 9}}
        return {"gain": gain, "conditions": {} if high is None else {"shuffled": other}}

    assert verdict({}) == []
    assert verdict(metrics(0.5)) == ["With their helper images in the question, this run finds true answers likelier."]
    assert "isn't shown to change" in verdict(metrics(-0.5))[0]
    assert "less likely: it can't read them" in verdict(metrics(-3, gain_high=-1.0))[0]
    assert "It matters whose they are: with another row's, -0.5" in verdict(metrics(0.5, -0.1))[0]
    assert "Nothing shows that it matters" in verdict(metrics(0.5, 0.1))[0]
