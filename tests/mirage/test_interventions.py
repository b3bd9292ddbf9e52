"""Answers with other latents, against what was asked for and against the stock model, row by row."""

from dataclasses import replace
from itertools import accumulate

import pytest
import torch

from data_modules.samples import Latent, Text
from mirage_pl.mirage.collator import Collator
from mirage_pl.mirage.decoding.generate import Decoder
from mirage_pl.mirage.decoding.sampling import Decoding
from mirage_pl.mirage.model.recurrence import Jacobi
from mirage_pl.mirage.model.reference import hidden_states, join
from mirage_pl.mirage.probing.interventions import NAMES, ORACLES, Interventions, build_replacements, match_targets
from mirage_pl.mirage.probing.replacements import choose_donors, give_latents
from tests.mirage.conftest import Scripted

NOISES = ["noise", "matched_noise"]


@pytest.fixture
def rows(talkative, questions, samples):
    """Six questions: the answers have none, one, two or three blocks, one of them planned with 1 and 5 latents."""
    talkative.level = 0.8
    return [*questions, *samples[4:]]


@pytest.fixture
def probe(talkative, collator, rows):
    """Interventions on answers in ragged batches of two and of four."""
    return probe_of(talkative, collator, rows, (2, 4))


def probe_of(net, collator, rows, widths, decoding=None):
    decoding, decoder = decoding or Decoding(24), Decoder(collator.processor, collator.latent_size)
    parts = [rows[end - width : end] for end, width in zip(accumulate(widths), widths, strict=True)]
    baseline = [decoder(net, collator.prompts(part), decoding) for part in parts]
    return Interventions(net, collator.processor, collator, decoding, rows, baseline)


def tokens_of(generations):
    return [tokens for generation in generations for tokens in generation.tokens]


def blocks_of(probe):
    return [tokens.count(probe.collate.latent_start) for tokens in tokens_of(probe.baseline)]


def fed(probe, name):
    """What the decoder's first layer really gets in the latent slots of every answer."""
    calls, found = [], []
    hook = probe.net.decoder.layers[0].register_forward_pre_hook(lambda _, args: calls.append(args[0]))
    for generation in probe.answer(name):
        columns = [call[:, 0] for call in calls[1:]]  # the first call runs the prompts; the last column may not be run
        for row, tokens in enumerate(generation.tokens):
            slots = [c for c, token in enumerate(tokens[: len(columns)]) if token == probe.collate.latent_pad]
            found.append([columns[c][row] for c in slots])
        calls.clear()
    hook.remove()
    return found


def test_the_answers_cover_none_one_and_several_blocks(probe):
    assert {0, 1, 2} < set(blocks_of(probe))
    planned = [i for i, token in enumerate(probe.baseline[1].tokens[0]) if token == probe.collate.latent_pad]
    assert len(planned) == 6, "blocks of 1 and 5"


@pytest.mark.parametrize("options", [{}, {"temperature": 1.5, "seed": 3}])
def test_identity_is_the_baseline_to_the_last_bit(talkative, collator, rows, options):
    probe = probe_of(talkative, collator, rows, (2, 4), Decoding(24, **options))
    again = list(probe.answer("identity"))
    assert tokens_of(again) == tokens_of(probe.baseline)
    latents = [row for generation in again for row in generation.latents]
    assert all(torch.equal(one, other) for one, other in zip(latents, probe.latents, strict=True))
    assert probe.divergence("identity") == [0.0] * sum(len(row) > 0 for row in probe.latents)


def test_latents_that_are_found_together_are_replaced_too_and_identity_is_the_baseline(talkative, collator, rows):
    net = Scripted(talkative.backbone, talkative.compression, Jacobi(1)).eval()
    net.word, net.level = talkative.word, talkative.level
    probe, sequential = (probe_of(each, collator, rows, (2, 4)) for each in (net, talkative))
    again = list(probe.answer("identity"))
    assert tokens_of(again) == tokens_of(probe.baseline)
    latents = [row for generation in again for row in generation.latents]
    assert all(torch.equal(one, other) for one, other in zip(latents, probe.latents, strict=True))
    assert (probe.latents[0][:3] - sequential.latents[0][:3]).abs().max() > 0.01
    assert not any(vector.any() for vectors in fed(probe, "zero") for vector in vectors)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "none"])
def test_the_decoder_is_fed_and_reports_what_was_asked_for(probe, name):
    given, seen = probe.replace_latents(name), 0
    recorded = [row for generation in probe.answer(name) for row in generation.latents]
    for row, vectors in enumerate(fed(probe, name)):
        for place, vector in enumerate(vectors):
            assert torch.equal(vector, given[row][place % len(given[row])])
            assert torch.equal(vector, recorded[row][place])
        seen += len(vectors)
    assert seen > 20


@pytest.mark.parametrize("name", NAMES)
def test_a_row_without_latents_stays_as_it_is(probe, name):
    row = blocks_of(probe).index(0)
    assert tokens_of(probe.answer(name))[row] == tokens_of(probe.baseline)[row]
    assert len(probe.replace_latents(name)[row]) == 0 or name in ORACLES


def test_without_latents_every_block_is_left_at_once(probe):
    start, end, pad = probe.collate.latent_start, probe.collate.latent_end, probe.collate.latent_pad
    answers = tokens_of(probe.answer("none"))
    after = [tokens[i + 1] for tokens in answers for i, token in enumerate(tokens[:-1]) if token == start]
    assert len(after) >= 5
    assert set(after) == {end}
    assert not any(pad in tokens for tokens in answers)
    assert not any(len(row) for generation in probe.answer("none") for row in generation.latents)


@pytest.mark.parametrize("name", NAMES)
def test_answers_do_not_depend_on_the_baseline_s_batches(talkative, collator, rows, name):
    found = []
    for widths in ((2, 2, 2), (3, 3)):
        generations = list(probe_of(talkative, collator, rows, widths).answer(name))
        assert tuple(len(generation.texts) for generation in generations) == widths
        found.append(tokens_of(generations))
    assert found[0] == found[1]


def log_shares(net, collator, question, answer, latents, without=False):
    """Log-probabilities of the text after the first latent, by one call of the stock model on the whole row."""
    prompt = collator.prompts([question])
    tokens, embeds = prompt.tokens_BT[0].tolist(), list(net.embed(prompt).inputs_BTD[0])
    asked, used = [], 0
    for token in answer:
        if token == collator.latent_pad:
            used += 1
            if without:
                continue
            embeds.append(latents[(used - 1) % len(latents)])
        else:
            asked += [len(tokens) - 1] if used else []
            embeds.append(net.embed_tokens(torch.tensor(token)))
        tokens.append(token)
    hidden_TD = hidden_states(net, torch.tensor(tokens), join(net.embed(prompt), torch.stack(embeds)), prompt)
    return [net.logits(hidden_TD[column]).log_softmax(-1) for column in asked]


@torch.no_grad()
def slow_divergence(probe, name, answers):
    given, found = probe.replace_latents(name), []
    for question, answer, own, other in zip(probe.samples, answers, probe.latents, given, strict=True):
        if len(own):
            ours = log_shares(probe.net, probe.collate, question, answer, own)
            theirs = log_shares(probe.net, probe.collate, question, answer, other, without=name == "none")
            moved = [sum(p.exp() * (p - q)).item() for p, q in zip(ours, theirs, strict=True)]
            found.append(sum(moved) / len(moved))
    return found


@pytest.mark.parametrize("name", [name for name in NAMES if name != "identity"])
def test_divergence_is_that_of_the_stock_model_row_by_row(probe, random_net, name):
    probe.net = random_net  # reads answers with one block and with several; the scripted words would hide the others
    moved = probe.divergence(name)
    assert moved == pytest.approx(slow_divergence(probe, name, tokens_of(probe.baseline)), rel=1e-6, abs=1e-12)
    assert min(moved) > 0
    assert len(moved) == 5


def test_an_answer_cut_before_any_text_after_its_latents_has_no_divergence(talkative, collator, samples):
    talkative.level = -1e9  # enters a block at once
    assert probe_of(talkative, collator, samples[:2], (2,), Decoding(4)).divergence("zero") == []
    assert len(probe_of(talkative, collator, samples[:2], (2,), Decoding(5)).divergence("zero")) == 2


def test_special_tokens_said_as_words_are_read_as_padding(probe, random_net):
    """An untrained model may say an image token, or a latent pad outside a block."""
    probe.net, collate = random_net, probe.collate
    first = probe.baseline[0]
    spoken = [[collate.latent_pad, collate.image_pad, *first.tokens[0], collate.latent_pad], first.tokens[1]]
    padded = [[collate.pad, collate.pad, *first.tokens[0], collate.pad], *tokens_of(probe.baseline)[1:]]
    probe.baseline = [replace(first, tokens=spoken), *probe.baseline[1:]]
    assert probe.divergence("zero") == pytest.approx(slow_divergence(probe, "zero", padded), rel=1e-6)


def test_the_oracle_is_what_stage_1_teaches(probe, processor):
    training = Collator(processor, latent_size=3, latents=True, helpers=True)
    oracle = probe.oracle
    assert [len(row) for row in oracle] == [3, 3, 6, 3, 3, 3]
    for part in (slice(0, 2), slice(2, 6)):
        assert torch.allclose(torch.cat(oracle[part]), probe.net.latent_targets(training(probe.samples[part])))
    assert not torch.allclose(oracle[2][:1], oracle[2][1:2])


def test_there_is_no_oracle_unless_every_row_has_a_helper_image(probe):
    assert probe.names == NAMES
    probe = replace(probe, samples=[*probe.samples[:5], replace(probe.samples[5], answer=(Text("UP"),))])
    assert probe.names == tuple(name for name in NAMES if name not in ORACLES)
    assert not {"retrieved", "norm_of_targets"} & probe.describe().keys()


def test_there_is_nothing_to_tamper_with_without_latents(talkative, collator, rows):
    talkative.level = 1e9
    assert probe_of(talkative, collator, rows, (6,)).names == ()


def test_the_description_counts_rows_with_latents_and_finds_helper_images_if_all_have_some(probe, talkative, collator):
    described = probe.describe()
    assert described["rows"] == 5
    assert described["norm"] == pytest.approx(torch.cat(probe.latents).norm(dim=1).mean().item())
    assert "retrieved" not in described, "a row has no latents"
    talkative.level = -1e9
    described = probe_of(talkative, collator, probe.samples, (6,)).describe()
    assert described["rows"] == described["retrieved"]["n"] == 6
    assert described["norm_of_targets"] == pytest.approx(torch.cat(probe.oracle).norm(dim=1).mean().item())


def test_a_row_of_one_latent_has_no_cosine_within(talkative, processor, samples):
    """Not a number is no JSON."""
    talkative.level = -1e9
    alone = probe_of(talkative, Collator(processor, 1, latents=True, helpers=False), samples[:2], (2,), Decoding(2))
    assert "cosine_within" not in alone.describe()
    assert "cosine_across" in alone.describe()


def test_the_fixture_plans_blocks_of_two_sizes(questions):
    assert [part.size for part in questions[2].answer if isinstance(part, Latent)] == [1, 5]


def test_matched_targets_have_the_latents_mean_and_spread_slot_by_slot():
    latents = [torch.tensor([[1.0, 1.0], [5.0, 0.0]]), torch.tensor([[3.0, 1.0]]), torch.zeros(0, 2)]
    targets = [torch.tensor([[10.0, 0.0], [7.0, 7.0]]), torch.tensor([[10.0, 8.0]]), torch.tensor([[10.0, 4.0]])]
    # Slot 1: latents have mean (2, 1) and spread sqrt(2 / 4), targets (10, 4) and sqrt(32 / 6). Slot 2: one latent.
    found, scale = match_targets(targets, latents), (0.5 / (32 / 6)) ** 0.5
    assert torch.allclose(found[0], torch.tensor([[2.0, 1 - 4 * scale], [5.0, 0.0]]))
    assert torch.allclose(found[1], torch.tensor([[2.0, 1 + 4 * scale]]))
    assert torch.allclose(found[2], torch.tensor([[2.0, 1.0]]))
    assert targets[0][0].tolist() == [10.0, 0.0]


def test_the_matched_oracle_is_made_of_the_oracle(probe):
    found = probe.replace_latents("matched_oracle")
    assert torch.equal(torch.cat(found), torch.cat(match_targets(probe.oracle, probe.latents)))


def drawn(*sizes, width=6, rank=6, seed=1):
    """Rows of latents that vary in ``rank`` directions about a mean that isn't 0."""
    random = torch.Generator().manual_seed(seed)
    mix_rD = torch.randn(rank, width, generator=random, dtype=torch.float64)
    mean_D = 3 * torch.randn(width, generator=random, dtype=torch.float64)
    return [mean_D + torch.randn(size, rank, generator=random, dtype=torch.float64) @ mix_rD for size in sizes]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in (*ORACLES, "donor", "none")])
def test_every_replacement_keeps_the_number_of_latents_and_their_type(name):
    rows = [row.float() for row in drawn(0, 4, 1, 3, 0)]
    found = build_replacements(name, rows)
    assert [row.shape for row in found] == [row.shape for row in rows]
    assert {row.dtype for row in found} == {torch.float32}


def test_zeros_are_zero_and_the_first_latent_is_repeated():
    rows = drawn(0, 4, 2)
    assert not any(row.any() for row in build_replacements("zero", rows))
    for own, row in zip(rows, build_replacements("first_repeated", rows), strict=True):
        assert all(torch.equal(vector, own[0]) for vector in row)


@pytest.mark.parametrize("seed", range(20))
def test_shuffling_gives_every_row_the_latents_of_exactly_one_other(seed):
    rows = drawn(3, 0, 1, 4, 0, 2)
    donors = []
    for place, row in enumerate(build_replacements("shuffled", rows, seed)):
        if len(row):
            fits = [
                other
                for other, theirs in enumerate(rows)
                if len(theirs) and all(torch.equal(row[i], theirs[i % len(theirs)]) for i in range(len(row)))
            ]
            assert len(fits) == 1
            assert fits != [place]
            donors += fits
    assert sorted(donors) == [0, 2, 3, 5]


def test_shuffling_a_single_row_of_latents_leaves_it():
    rows = drawn(0, 3)
    assert torch.equal(build_replacements("shuffled", rows)[1], rows[1])


@pytest.mark.parametrize("seed", range(10))
def test_a_donor_has_latents_and_another_answer_and_is_of_the_same_group_where_there_is_one(seed):
    rows = drawn(2, 2, 0, 2, 2, 2)
    answers, groups = ["A", "A", "B", "B", "A", "A"], ["x", "x", "x", "y", "y", "y"]
    donors = choose_donors(rows, answers, groups, seed)
    assert donors.pop(3) in (4, 5)
    assert donors == {0: 3, 1: 3, 4: 3, 5: 3}, "row 2 has no latents, so x has none of another answer"
    assert choose_donors(rows, ["A"] * 6, groups) == {}
    given = give_latents(rows, {0: 3, 4: 3})
    assert [torch.equal(row, rows[place]) for row, place in zip(given, (3, 1, 2, 3, 3, 5), strict=True)] == [True] * 6


def test_donors_are_chosen_by_the_rows_right_answers(probe):
    donors = probe.donors
    assert set(donors) == {row for row, latents in enumerate(probe.latents) if len(latents)}
    for row, donor in donors.items():
        assert probe.samples[row].answer_text != probe.samples[donor].answer_text
    probe.samples = [replace(probe.samples[0], answer=()), *probe.samples[1:]]
    del probe.__dict__["donors"]
    assert probe.donors == {}
    assert "donor" not in probe.names


def test_matched_noise_has_the_latents_mean_and_covariance():
    rows = drawn(*[3, 5] * 1000, width=4, rank=4)
    real_ND, noise_ND = torch.cat(rows), torch.cat(build_replacements("matched_noise", rows))
    deviation_D = real_ND.std(0)
    assert ((noise_ND.mean(0) - real_ND.mean(0)).abs() < 5 * deviation_D / len(real_ND) ** 0.5).all()
    scale_DD = deviation_D.outer(deviation_D)  # the covariance of n draws is off by this times sqrt(2 / n) at most
    assert ((noise_ND.T.cov() - real_ND.T.cov()).abs() < 5 * scale_DD * (2 / len(real_ND)) ** 0.5).all()


def test_matched_noise_stays_where_the_latents_are_and_noise_does_not():
    rows = drawn(*[4] * 10, width=6, rank=2)
    real_ND = torch.cat(rows)
    off_ND = torch.linalg.svd(real_ND - real_ND.mean(0))[2][2:]  # directions in which the latents don't vary
    distances = {name: (torch.cat(build_replacements(name, rows)) - real_ND.mean(0)) @ off_ND.T for name in NOISES}
    assert distances["matched_noise"].abs().max() < 1e-10
    assert distances["noise"].abs().mean() > 0.1


def test_noise_has_the_mean_and_variance_of_all_numbers():
    rows = drawn(*[4] * 1000)
    real, found = torch.cat(rows), torch.cat(build_replacements("noise", rows))
    assert found.mean().item() == pytest.approx(real.mean().item(), abs=5 * real.std().item() / found.numel() ** 0.5)
    assert found.std().item() == pytest.approx(real.std().item(), rel=5 / (2 * found.numel()) ** 0.5)
    assert (found.std(0) / real.std()).tolist() == pytest.approx([1.0] * 6, rel=0.1)


@pytest.mark.parametrize("name", [*NOISES, "shuffled"])
def test_the_seed_decides(name):
    rows = drawn(*[2] * 8)
    once, again, other = (torch.cat(build_replacements(name, rows, seed)) for seed in (5, 5, 6))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


def test_an_unknown_replacement_is_refused_with_the_choices():
    with pytest.raises(ValueError, match=r"interventions=sero is unknown; choose from identity, zero, .*, or all"):
        build_replacements("sero", drawn(2))
