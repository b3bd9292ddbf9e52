import pytest
import torch

from mirage_pl.mirage.batch import Collator
from mirage_pl.mirage.generate import Decoder


@pytest.fixture
def decoder(processor):
    return Decoder(processor, latent_size=3)


@pytest.fixture
def collator(processor):
    return Collator(processor, latent_size=3, latents=True, helpers=False)


def test_a_batch_of_answers_equals_answers_one_by_one(random_net, decoder, collator, samples):
    together = decoder(random_net, collator.prompts(samples), 12)
    for row, sample in enumerate(samples):
        alone = decoder(random_net, collator.prompts([sample]), 12)
        assert alone.tokens[0] == together.tokens[row]
        assert torch.allclose(alone.latents[0], together.latents[row], atol=1e-6)


def test_without_latents_greedy_decoding_is_stock_generate(random_net, decoder, collator, samples):
    for sample in samples[:2]:
        prompts = collator.prompts([sample])
        stock = random_net.backbone.generate(
            input_ids=prompts.tokens_BT,
            attention_mask=prompts.real_BT.long(),
            pixel_values=prompts.pixels_PF.double(),
            image_grid_thw=prompts.grids_N3,
            mm_token_type_ids=(prompts.tokens_BT == collator.image_pad).int(),
            max_new_tokens=10,
            do_sample=False,
            eos_token_id=decoder.end,
        )[0, prompts.tokens_BT.shape[1] :]
        ours = decoder(random_net, prompts, 10).tokens[0]
        assert decoder.latent_start not in ours
        assert ours == [token for token in stock.tolist() if token != decoder.end]


@pytest.fixture
def scripted(random_net, decoder, monkeypatch):
    """The random net, but its first word of an answer is <|latent_start|> in rows whose maze is 3x3."""
    original = random_net.logits
    state = {"calls": 0}

    def logits(hidden):
        values = original(hidden)
        if state["calls"] == 0:
            values[:, decoder.latent_start] = torch.where(torch.arange(len(values)) % 2 == 0, 1e9, -1e9)
        state["calls"] += 1
        return values

    monkeypatch.setattr(random_net, "logits", logits)
    return random_net


def test_each_row_leaves_latent_mode_by_itself_after_k_latents(scripted, decoder, collator, samples):
    answers = decoder(scripted, collator.prompts(samples[:4]), 8)
    start, pad, end = decoder.latent_start, decoder.latent_pad, decoder.latent_end
    for row in (0, 2):
        assert answers.tokens[row][:5] == [start, pad, pad, pad, end]
        assert answers.latents[row].shape == (3, 192)
    for row in (1, 3):
        assert answers.latents[row].shape == (0, 192)
        assert pad not in answers.tokens[row]


def test_decoded_latents_are_those_of_the_training_recurrence(scripted, decoder, collator, samples):
    """Decode k latents, then run the training engine over the same sequence: the same hidden states."""
    answer = decoder(scripted, collator.prompts(samples[:1]), 8)
    batch = collator(samples[:1])
    hidden = scripted.recurrent(batch)[0]
    before = batch.latent_BT[0].roll(-1)
    assert torch.allclose(answer.latents[0], hidden[before], atol=1e-6)


def test_an_answer_that_does_not_end_is_reported_unfinished(random_net, decoder, collator, samples):
    answer = decoder(random_net, collator.prompts(samples[:2]), 2)
    assert answer.finished == [False, False]
    assert [len(tokens) for tokens in answer.tokens] == [2, 2]
