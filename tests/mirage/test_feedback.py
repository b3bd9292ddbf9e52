"""What is fed back, and that training, decoding and the slow reference agree on it."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy

from mirage_pl.mirage.batch import Batch
from mirage_pl.mirage.collator import Collator
from mirage_pl.mirage.decoding.sampling import Decoding
from mirage_pl.mirage.model import reference
from mirage_pl.mirage.model.codes import Pads, Snapped, Words
from mirage_pl.mirage.model.feedback import Matched
from mirage_pl.mirage.model.latents import LatentVLM
from mirage_pl.mirage.model.recurrence import Jacobi, OnePass, Sequential


def matched(norm: float) -> Matched:
    feedback = Matched()
    feedback.norm.fill_(norm)
    return feedback


@pytest.fixture
def scaled(random_net):
    """The random net, whose latents all have a length of 3."""
    return LatentVLM(random_net.backbone, random_net.compression, Sequential(), feedback=matched(3.0)).double().eval()


def test_matched_latents_have_the_mean_length_of_those_seen_in_training():
    feedback = Matched(memory=0.5)
    hidden_ND = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    assert torch.equal(feedback(hidden_ND), hidden_ND)  # none seen yet
    feedback.observe(torch.tensor([[6.0, 8.0], [0.0, 2.0]]))
    assert feedback.norm == 6
    feedback.observe(torch.tensor([[0.0, 2.0]]))
    assert feedback.norm == 4
    assert torch.allclose(feedback(hidden_ND), torch.tensor([[2.4, 3.2], [0.0, 4.0]]))
    feedback.eval().observe(torch.tensor([[0.0, 9.0]]))
    assert feedback.norm == 4


def test_an_impossible_memory_is_refused():
    with pytest.raises(ValueError, match="feedback.memory=1"):
        Matched(1)


def test_stage_1_shows_the_feedback_its_targets(random_net, processor, samples):
    net = LatentVLM(random_net.backbone, random_net.compression, Sequential(), feedback=Matched()).double().train()
    batch = Collator(processor, latent_size=3, latents=True, helpers=True)(samples[:3])
    _, _, targets_ND = net.teacher_forced(batch)
    assert torch.allclose(net.feedback.norm, targets_ND.norm(dim=-1).mean())


def test_the_recurrence_feeds_back_what_the_reference_does(scaled, processor, samples):
    collate = Collator(processor, latent_size=3, latents=True, helpers=False)
    batch: Batch = collate(samples[:3])
    hidden_BTD = scaled.recurrent(batch)
    for row, sample in enumerate(samples[:3]):
        expected_TD = reference.recurrent_row(scaled, collate([sample]))
        assert torch.allclose(hidden_BTD[row][batch.real_BT[row]], expected_TD, atol=1e-10)


def test_as_many_jacobi_sweeps_as_latents_feed_back_the_same(scaled, processor, samples):
    batch = Collator(processor, latent_size=3, latents=True, helpers=False)(samples[:3])
    other = LatentVLM(scaled.backbone, scaled.compression, Jacobi(3), feedback=scaled.feedback)
    assert torch.allclose(other.recurrent(batch), scaled.recurrent(batch), atol=1e-10)


@pytest.mark.parametrize("recurrence", [Sequential(), Jacobi(3)])
def test_decoding_feeds_back_what_the_reference_does(talkative, decoder, collator, questions, recurrence):
    talkative.feedback, talkative.recurrence = matched(3.0), recurrence
    prompts = collator.prompts(questions)
    found = decoder(talkative, prompts, Decoding(max_new_tokens=14))
    assert any(len(row) for row in found.latents)
    assert all(torch.allclose(row.norm(dim=-1), torch.tensor(3.0).to(row)) for row in found.latents if len(row))
    for row, question in enumerate(questions):
        alone = replace(collator.prompts([question]))
        sizes = [*alone.sizes[0], *[decoder.latent_size] * 14]
        ids = (decoder.latent_end, decoder.latent_start, decoder.latent_pad, decoder.end)
        assert found.tokens[row] == reference.greedy_answer(talkative, alone, sizes, *ids, 14)


def snapped(*codes, length=None):
    feedback = Snapped(codes=4, memory=0.5, length=length)
    feedback.build(2, torch.zeros(()))
    feedback.codes_CD[: len(codes)] = torch.tensor(codes).view(-1, 2)
    feedback.counts_C[: len(codes)] = 1
    return feedback


def test_a_snapped_latent_is_the_code_whose_direction_from_the_mean_of_all_the_hidden_state_has():
    feedback = snapped([1.0, 0.0], [3.0, 0.0], [2.0, 3.0])  # around [2, 1]
    assert torch.equal(feedback.mean_D, torch.tensor([2.0, 1.0]))
    hidden = torch.tensor([[9.0, 0.0], [0.0, 0.1], [-0.1, -0.2]], requires_grad=True)
    latents = feedback(hidden)
    assert latents.tolist() == [[3.0, 0.0], [2.0, 3.0], [1.0, 0.0]]
    assert [feedback.name(each) for each in latents] == ["code 1 of 3", "code 2 of 3", "code 0 of 3"]
    latents.sum().backward()
    assert torch.equal(hidden.grad, torch.ones(3, 2)), "gradients pass straight through"


@pytest.mark.parametrize("length", [0.01, 1.0, 100.0])
def test_what_a_hidden_state_says_and_how_surely_depends_on_its_direction_alone(length):
    feedback = snapped([101.0, 0.0], [103.0, 0.0], [102.0, 3.0])
    hidden = torch.tensor([[1.0, -1.0], [0.0, 1.0]])
    targets = torch.tensor([[103.0, 0.0], [102.0, 3.0]])
    assert torch.equal(feedback(length * hidden), targets)
    assert feedback.surprise(length * hidden, targets, 0.1).tolist() == pytest.approx([0, 0], abs=1e-5)
    (least,) = feedback.surprise(length * hidden[:1], targets[1:], 0.1).tolist()
    cosine = 2 / (2 * 5**0.5)  # right: 1, 0 and 0 of the other; said: their places change
    assert least > cosine / 0.1 / 2


def test_codes_are_read_at_a_length_without_what_all_have():
    feedback = snapped([101.0, 0.0], [103.0, 0.0], [102.0, 3.0], length=0.5)
    mean = feedback.mean_D
    taught = feedback.encode(torch.tensor([[103.0, 0.0], [102.0, 3.0]]))
    assert torch.equal(taught, 0.5 * torch.nn.functional.normalize(torch.tensor([[103.0, 0.0], [102.0, 3.0]]) - mean))
    hidden = torch.tensor([[1.0, -1.0], [0.0, 1.0]])
    assert torch.allclose(feedback(hidden), taught)
    assert feedback.surprise(hidden, taught, 0.1).tolist() == pytest.approx([0, 0], abs=1e-5)


def test_words_are_said_and_read_as_those_of_text():
    feedback = Words(codes=4, memory=0.5)
    feedback.build(2, torch.zeros(()))
    hidden = torch.tensor([[2.0, 1.0], [0.0, -5.0]], requires_grad=True)
    assert torch.equal(feedback(hidden), hidden), "none is known yet"
    assert feedback.name(hidden[0]) == ""
    feedback.codes_CD[:3] = torch.tensor([[7.0, 7.0], [8.0, 7.0], [7.0, 9.0]])
    feedback.counts_C[:3] = 1
    with torch.no_grad():
        feedback.words.weight[:] = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [9.0, 9.0]])
    said = feedback(hidden)
    assert said.tolist() == [[1.0, 0.0], [0.0, -1.0]], "the fourth word isn't in use"
    assert [feedback.name(each) for each in said] == ["code 0 of 3", "code 2 of 3"]
    taught = feedback.encode(torch.tensor([[7.9, 7.0], [7.0, 8.5]]))
    assert taught.tolist() == [[0.0, 1.0], [0.0, -1.0]]
    expected = cross_entropy(torch.tensor([[2.0, 1.0, -1.0], [0.0, -5.0, 5.0]]), torch.tensor([1, 2]), reduction="none")
    assert torch.allclose(feedback.surprise(hidden, taught, 0.1), expected)
    (said.sum() + taught.sum()).backward()
    assert torch.equal(hidden.grad, torch.ones(2, 2)), "gradients pass straight through"
    assert feedback.words.weight.grad.tolist() == [[1.0, 1.0], [1.0, 1.0], [2.0, 2.0], [0.0, 0.0]]


def test_codes_become_the_latents_that_are_taught():
    feedback = snapped()
    hidden = torch.randn(3, 2)
    assert torch.equal(feedback(hidden), hidden), "none is known yet"
    taught = torch.tensor([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]])
    for _ in range(30):
        feedback.observe(taught.repeat(3, 1) + 0.1 * torch.tensor([-1.0, 0.0, 1.0]).repeat_interleave(3).unsqueeze(1))
    distance = torch.cdist(taught, feedback.codes_CD[feedback.counts_C > 1e-3])
    assert (distance.min(1).values < 0.15).all()
    before = feedback.codes_CD.clone()
    feedback.eval().observe(taught + 1)
    assert torch.equal(feedback.codes_CD, before)


def test_pads_are_alike_whatever_is_said_and_taught():
    feedback = Pads()
    feedback.build(3, torch.zeros(()))
    pad = feedback.words.weight[0]
    assert torch.equal(feedback(torch.randn(2, 5, 3)), pad.expand(2, 5, 3))
    assert torch.equal(feedback.encode(torch.randn(4, 3)), pad.expand(4, 3))


@pytest.mark.parametrize("kind", [Snapped, Words])
def test_codes_are_the_same_in_training_and_decoding(kind, random_net, collator, samples):
    net = (
        LatentVLM(random_net.backbone, random_net.compression, OnePass(3), feedback=kind(codes=4, memory=0.5))
        .double()
        .eval()
    )
    torch.manual_seed(0)
    net.feedback.codes_CD.normal_()
    net.feedback.counts_C.fill_(1)
    batch = collator(samples[:2])
    hidden_BTD = net.recurrent(batch)
    for row, sample in enumerate(samples[:2]):
        expected_TD = reference.recurrent_row(net, collator([sample]))
        assert torch.allclose(hidden_BTD[row][batch.real_BT[row]], expected_TD, atol=1e-6)
