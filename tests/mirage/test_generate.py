from dataclasses import replace

import pytest
import torch

from data_modules.samples import Picture, Sample, Text
from mirage_pl.mirage.decoding.sampling import Choice, Decoding
from mirage_pl.mirage.model.recurrence import Jacobi, OnePass
from mirage_pl.mirage.model.reference import greedy_answer
from tests.mirage.conftest import Scripted


def reference(net, decoder, collator, question, max_new_tokens):
    prompt = collator.prompts([question])
    sizes = [*prompt.sizes[0], *[decoder.latent_size] * max_new_tokens]
    ids = (decoder.latent_end, decoder.latent_start, decoder.latent_pad, decoder.end)
    return greedy_answer(net, prompt, sizes, *ids, max_new_tokens)


def test_greedy_answers_of_a_batch_are_those_of_the_reference(talkative, decoder, collator, questions):
    """Without a cache, row by row, everything again for each token: the very same tokens, block after block."""
    answers = decoder(talkative, collator.prompts(questions), Decoding(24))
    slow = [reference(talkative, decoder, collator, question, 24) for question in questions]
    assert answers.tokens == slow
    starts = [[place for place, token in enumerate(row) if token == decoder.latent_start] for row in slow]
    assert len({tuple(row) for row in starts}) == len(questions), "rows must differ in when they enter blocks"
    assert max(map(len, starts)) >= 2


def test_a_batch_of_answers_equals_answers_one_by_one(talkative, decoder, collator, questions):
    together = decoder(talkative, collator.prompts(questions), Decoding(24))
    for row, question in enumerate(questions):
        alone = decoder(talkative, collator.prompts([question]), Decoding(24))
        assert alone.tokens[0] == together.tokens[row]
        assert torch.allclose(alone.latents[0], together.latents[row], atol=1e-8)


def test_a_block_ends_after_its_own_number_of_latents(talkative, decoder, collator, questions):
    talkative.level = 0.0
    answers = decoder(talkative, collator.prompts(questions), Decoding(40))
    sizes = []
    for tokens in answers.tokens:
        words = "".join("p" if t == decoder.latent_pad else "s" if t == decoder.latent_start else "." for t in tokens)
        sizes.append([len(block) - len(block.lstrip("p")) for block in words.split("s")[1:]])
        ends = [tokens[i + 1] for i, t in enumerate(tokens[:-1]) if t == decoder.latent_pad != tokens[i + 1]]
        assert set(ends) <= {decoder.latent_end}
    complete = [row[:-1] for row in sizes]
    assert complete[2][:2] == [1, 5]
    assert all(size == 3 for row in (complete[0], complete[1], complete[2][2:], complete[3]) for size in row)
    assert [len(latents) for latents in answers.latents] == [t.count(decoder.latent_pad) for t in answers.tokens]


def test_without_latents_greedy_decoding_is_stock_generate(random_net, decoder, collator, samples):
    for sample in samples[:2]:
        prompts = collator.prompts([sample])
        stock = random_net.backbone.generate(
            input_ids=prompts.tokens_BT,
            attention_mask=prompts.real_BT.long(),
            pixel_values=prompts.images.pixels_PF.double(),
            image_grid_thw=torch.tensor(prompts.images.grids),
            mm_token_type_ids=(prompts.tokens_BT == collator.image_pad).int(),
            max_new_tokens=10,
            do_sample=False,
            eos_token_id=decoder.end,
        )[0, prompts.tokens_BT.shape[1] :]
        ours = decoder(random_net, prompts, Decoding(10)).tokens[0]
        assert decoder.latent_start not in ours
        assert ours == [token for token in stock.tolist() if token != decoder.end]


def test_decoded_latents_are_those_of_the_training_recurrence(talkative, decoder, collator, samples):
    """Decode, then train on what was decoded: the hidden states before the latent slots are the same."""
    talkative.level = -1e9  # the first token enters a block
    answer = decoder(talkative, collator.prompts(samples[:1]), Decoding(6))
    batch = collator(samples[:1])
    hidden = talkative.recurrent(batch)[0]
    assert torch.allclose(answer.latents[0][:3], hidden[batch.latent_BT[0].roll(-1)], atol=1e-8)


def parallel(net, sweeps):
    other = Scripted(net.backbone, net.compression, Jacobi(sweeps)).eval()
    other.word, other.level = net.word, net.level
    return other


def test_as_many_sweeps_as_latents_decode_what_the_sequential_recurrence_does(talkative, decoder, collator, questions):
    exact = decoder(talkative, collator.prompts(questions), Decoding(24))
    swept = decoder(parallel(talkative, 5), collator.prompts(questions), Decoding(24))
    assert swept.tokens == exact.tokens
    for one, other in zip(swept.latents, exact.latents, strict=True):
        assert torch.allclose(one, other, atol=1e-8)


def test_fewer_sweeps_decode_what_they_train(talkative, decoder, collator, samples):
    net = parallel(talkative, 2)
    net.level = -1e9
    answer = decoder(net, collator.prompts(samples[:3]), Decoding(6))
    batch = collator(samples[:3])
    embeds = []
    original = net.decoder.layers[0].register_forward_pre_hook(lambda _, args: embeds.append(args[0]))
    net.recurrent(batch)
    original.remove()
    trained = embeds[-1][:, :3]
    assert torch.allclose(torch.stack(answer.latents)[:, :3], trained, atol=1e-8)


@pytest.fixture
def at_once(talkative):
    """A net that writes its blocks at once."""
    torch.manual_seed(3)
    net = Scripted(talkative.backbone, talkative.compression, OnePass(5)).double().eval()
    torch.nn.init.normal_(net.recurrence.queries.weight)
    net.word, net.level = talkative.word, talkative.level
    return net


def test_blocks_written_at_once_are_those_of_the_reference_and_of_training(at_once, decoder, collator, questions):
    answers = decoder(at_once, collator.prompts(questions), Decoding(24))
    assert answers.tokens == [reference(at_once, decoder, collator, question, 24) for question in questions]
    assert sum(len(latents) for latents in answers.latents) > 10
    at_once.level = -1e9  # the first token enters a block
    written = decoder(at_once, collator.prompts(questions[:2]), Decoding(6)).latents
    batch = collator(questions[:2])
    states = at_once.written(batch)[1].view(2, 3, -1)
    assert torch.allclose(torch.stack([latents[:3] for latents in written]), states, atol=1e-8)


def test_samples_depend_on_seed_and_row_but_not_on_the_batch(talkative, decoder, collator, questions):
    options = {"temperature": 1.5, "top_p": 0.95, "seed": 3}
    together = decoder(talkative, collator.prompts(questions), Decoding(16, **options)).tokens
    backwards = decoder(talkative, collator.prompts(questions[::-1]), Decoding(16, **options)).tokens[::-1]
    alone = [
        decoder(talkative, collator.prompts([question]), Decoding(16, **options)).tokens[0] for question in questions
    ]
    assert together == backwards == alone
    assert together != decoder(talkative, collator.prompts(questions), Decoding(16, **options | {"seed": 4})).tokens


def test_a_row_that_comes_twice_is_drawn_twice(random_net, decoder, collator, samples):
    tokens = decoder(random_net, collator.prompts([samples[0]] * 2), Decoding(16, temperature=2.0)).tokens
    assert tokens[0] != tokens[1]


def drawn(decoding, logits, count=4000):
    samples = [Sample(f"file:{number}", (), ()) for number in range(count)]
    choose = Choice(decoding, samples, torch.device("cpu"))
    return (
        choose(logits.expand(count, -1), torch.zeros(count, dtype=torch.long)).bincount(minlength=len(logits)) / count
    )


def test_draws_follow_the_probabilities_at_a_temperature():
    logits = torch.tensor([0.0, 1.0, 2.0, -1e9])
    found = drawn(Decoding(1, temperature=0.5), logits)
    assert torch.allclose(found, (logits / 0.5).softmax(-1), atol=0.03)
    assert found[3] == 0


def test_top_p_and_top_k_keep_the_likeliest():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    assert (drawn(Decoding(1, temperature=1.0, top_p=0.75), logits) > 0).tolist() == [True, True, False, False]
    assert (drawn(Decoding(1, temperature=1.0, top_k=3), logits) > 0).tolist() == [True, True, True, False]
    assert torch.allclose(
        drawn(Decoding(1, temperature=1.0, top_k=2), logits)[:2], torch.tensor([0.625, 0.375]), atol=0.03
    )


def test_an_answer_ends_before_a_stop_string(talkative, decoder, collator, questions):
    free = decoder(talkative, collator.prompts(questions), Decoding(24))
    stop = free.texts[0][3:5]
    stopped = decoder(talkative, collator.prompts(questions), Decoding(24, stop=[stop]))
    for row, text in enumerate(free.texts):
        assert stopped.texts[row] == text.split(stop)[0]
        assert stopped.finished[row] == (stop in text)
    assert len(stopped.tokens[0]) < len(free.tokens[0])
    streamed = "".join(decoder.stream(talkative, collator.prompts(questions[:1]), Decoding(24, stop=[stop])))
    assert stop not in streamed.split("\n")[0]


def test_a_greedy_answer_needs_no_sample_to_draw_for(talkative, decoder, collator, questions):
    prompts = collator.prompts(questions)
    named = decoder(talkative, prompts, Decoding(20))
    assert decoder(talkative, replace(prompts, samples=()), Decoding(20)).tokens == named.tokens


def test_a_stream_says_what_the_batch_says(talkative, decoder, collator, questions):
    answer = decoder(talkative, collator.prompts(questions[:1]), Decoding(20))
    pieces = list(decoder.stream(talkative, collator.prompts(questions[:1]), Decoding(20)))
    spoken = "".join(piece for piece in pieces if not piece.startswith("[latent")).split("\n")[0]
    assert spoken == answer.texts[0].split("\n")[0]
    assert sum(piece.startswith("[latent") for piece in pieces) == len(answer.latents[0]) > 0
    assert sum(piece.startswith("latent") for piece in pieces) == len(answer.latents[0])


def test_that_a_streamed_answer_is_cut_is_said_on_a_line_of_its_own(talkative, decoder, collator, questions, caplog):
    said = []
    for piece in decoder.stream(talkative, collator.prompts(questions[:1]), Decoding(2)):
        said.append(piece)
        if caplog.records:
            break
    assert "cut at decoding.max_new_tokens=2" in caplog.text
    *answer, first_said_after = said
    assert "".join(answer).endswith("\n")
    assert first_said_after.startswith("latent 1: ")


@pytest.mark.parametrize("most", [2, 5])
def test_a_streamed_answer_that_ends_is_not_said_to_be_cut(
    most, random_net, decoder, collator, questions, caplog, monkeypatch
):
    prompts = collator.prompts(questions[:1])
    monkeypatch.setattr(decoder, "end", decoder(random_net, prompts, Decoding(2)).tokens[0][1])
    said = "".join(decoder.stream(random_net, prompts, Decoding(most)))
    assert said.endswith("\n")
    assert caplog.text == ""


def test_an_answer_that_does_not_end_is_reported_unfinished(random_net, decoder, collator, samples):
    answer = decoder(random_net, collator.prompts(samples[:2]), Decoding(2))
    assert answer.finished == [False, False]
    assert [len(tokens) for tokens in answer.tokens] == [2, 2]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"temperature": -1}, "decoding.temperature=-1 must be 0"),
        ({"top_p": 0}, "decoding.top_p=0 must be above 0"),
        ({"top_k": -2}, "decoding.top_k=-2 must be 0"),
        ({"stop": "x"}, "decoding.stop=x must be a list"),
        ({"stop": [""]}, "must be a list of strings, none of them empty"),
        ({"max_new_tokens": 0}, "decoding.max_new_tokens=0 must be 1 or more"),
    ],
)
def test_an_impossible_option_names_its_key(option, message):
    with pytest.raises(ValueError, match=message):
        Decoding(**{"max_new_tokens": 4} | option)


def test_prompts_without_images_are_answered_too(random_net, decoder, collator):
    asked = Sample("x:1", (Text("Read the map."),), ())
    assert not any(isinstance(part, Picture) for part in asked.question)
    assert len(decoder(random_net, collator.prompts([asked]), Decoding(3)).tokens[0]) <= 3
