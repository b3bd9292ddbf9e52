"""Answers sampled with a cache are as likely, action by action, as one packed pass says, whoever else is there."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch.distributions import Normal

from mirage_pl.engine.rl.batch import RolloutBatch
from mirage_pl.engine.rl.objective import Objective
from mirage_pl.mirage.decoding.columns import AnswerColumns
from mirage_pl.mirage.decoding.generate import Decoder
from mirage_pl.mirage.model.columns import Columns
from mirage_pl.mirage.model.latents import LatentVLM
from mirage_pl.mirage.model.recurrence import Jacobi
from mirage_pl.mirage.model.reference import hidden_states, join, recurrent_row
from mirage_pl.mirage.rl.actions import Sampled
from mirage_pl.mirage.rl.policy import TEXT, Answering, AnswerPolicy
from tests.mirage.rl.conftest import VARIANTS

EVERY = pytest.mark.parametrize("variant", VARIANTS)


def roll(policy, collate, prompts, group=2, seed=0, step=0):
    with torch.no_grad():
        return policy.roll(collate, prompts, group, seed, step)


@EVERY
def test_in_float32_every_ratio_is_one_until_something_is_learnt(variant, make_policy, rollout_collator, prompts):
    policy = make_policy(variant, torch.float32)
    rollouts = roll(policy, rollout_collator, prompts)
    assert len({len(policy.block_sizes(rollout.record["tokens"])) for rollout in rollouts}) >= 3, "ragged blocks"
    batch: RolloutBatch = rollout_collator(rollouts)
    scores = policy.logprobs(batch.inputs)
    assert scores.values.keys() == batch.old.keys() == set(policy.kinds)
    for kind, values_M in scores.values.items():
        assert len(values_M) == batch.counts[kind] > 0
        ratios_BS = (batch.align(kind, values_M) - batch.old[kind]).exp()
        torch.testing.assert_close(ratios_BS, torch.ones_like(ratios_BS), rtol=0, atol=1e-4)


@pytest.mark.parametrize("variant", ["recompute", "sampled"])
def test_a_rollout_depends_on_seed_step_row_and_number_not_on_the_batch(
    variant, make_policy, rollout_collator, prompts
):
    together = roll(make_policy(variant), rollout_collator, prompts)
    three = roll(make_policy(variant, batch=5), rollout_collator, dict(reversed(prompts.items())))
    alone = roll(make_policy(variant), rollout_collator, {2: prompts[2]})
    key = lambda rollout: (rollout.index, rollout.number)  # noqa: E731
    for others in (three, alone):
        for other in others:
            (own,) = (rollout for rollout in together if key(rollout) == key(other))
            assert own.record["tokens"] == other.record["tokens"]
            torch.testing.assert_close(own.record["latents"], other.record["latents"], rtol=1e-6, atol=1e-6)
            assert {k: v.shape for k, v in own.old.items()} == {k: v.shape for k, v in other.old.items()}
    texts = [rollout.record["tokens"] for rollout in together[:2]]
    assert texts[0] != texts[1], "each of a group has numbers of its own"
    for changed in ({"seed": 1}, {"step": 1}):
        assert roll(make_policy(variant), rollout_collator, {0: prompts[0]}, **changed)[0].record["tokens"] != texts[0]


def latent_gradient(policy, batch):
    """The norm of the gradient with respect to all latents that the model writes, of text and latents together."""
    states = []

    def keep(_, __, output):
        if output.requires_grad:
            output.retain_grad()
            states.append(output)

    handle = policy.net.feedback.register_forward_hook(keep)
    scores = policy.logprobs(batch.inputs)
    handle.remove()
    loss = sum(
        Objective().surrogate(batch.align(kind, values), batch.old[kind], batch.masks[kind], batch.advantages_B).loss
        for kind, values in scores.values.items()
    )
    loss.backward()
    return sum(state.grad.norm().item() for state in states if state.grad is not None)


@pytest.mark.parametrize(
    ("variant", "learns"),
    [("recompute", True), ("replay", False), ("sampled", True), ("vlpo", False), ("vlpo with noise", True)],
)
def test_at_the_first_step_latents_have_a_gradient_where_they_are_drawn_or_computed_again(
    variant, learns, make_policy, rollout_collator, prompts
):
    policy = make_policy(variant)
    rollouts = [
        replace(rollout, advantage=1.0 if rollout.number else -2.0)
        for rollout in roll(policy, rollout_collator, prompts)
    ]
    rollouts = [replace(r, record={**r.record, "latents": r.record["latents"].double()}) for r in rollouts]
    norm = latent_gradient(policy, rollout_collator(rollouts))
    weights = sum(p.grad.norm().item() for p in policy.net.parameters() if p.grad is not None)
    assert weights > 1e-3, "the text has a gradient whatever latents have"
    assert norm > 1e-4 if learns else norm < 1e-8, norm


@pytest.mark.parametrize("variant", ["recompute", "sampled"])
def test_text_is_as_likely_as_the_slow_reference_says(variant, make_policy, rollout_collator, prompts):
    """Row by row, without a cache and without padding."""
    policy = make_policy(variant, temperature=0.7)
    rollouts = roll(policy, rollout_collator, prompts, group=1)
    packed = iter(policy.logprobs(rollout_collator(rollouts).inputs).values[TEXT].tolist())
    for rollout in rollouts:
        inputs = rollout_collator([rollout]).inputs
        batch, embeds = inputs.batch, policy.net.embed(inputs.batch)
        if variant == "recompute":
            hidden_TD = recurrent_row(policy.net, batch)
        else:
            embeds_TD = embeds.inputs_BTD[0].clone()
            embeds_TD[batch.latent_BT[0]] = inputs.latents_ND.double()
            hidden_TD = hidden_states(policy.net, batch.tokens_BT[0], join(embeds, embeds_TD), batch)
        for column, target in enumerate(batch.targets_BT[0].tolist()):
            if target >= 0:
                logits_V = policy.net.logits(hidden_TD[column]) / 0.7
                logits_V[policy.banned] = -torch.inf
                assert next(packed) == pytest.approx(logits_V.log_softmax(-1)[target].item(), abs=1e-6)
    assert next(packed, None) is None


@EVERY
def test_answers_that_share_a_question_teach_what_they_teach_one_by_one(
    variant, make_policy, rollout_collator, prompts
):
    policy = make_policy(variant)
    rollouts = roll(policy, rollout_collator, prompts, group=3)
    rollouts = [replace(each, record={**each.record, "latents": each.record["latents"].double()}) for each in rollouts]
    rollouts = [rollouts[place] for place in (4, 0, 7, 2, 5, 1)]  # as a step picks them
    weights = [weight for weight in policy.net.parameters() if weight.requires_grad]

    def learn(some):
        values = policy.logprobs(rollout_collator(some).inputs).values
        sums = {kind: values_M.sum() for kind, values_M in values.items()}
        found = torch.autograd.grad(sum(sums.values()), weights, allow_unused=True)
        return sums, torch.cat([g.flatten() for g in found if g is not None])

    sums, gradient = learn(rollouts)
    singles = [learn([rollout]) for rollout in rollouts]
    for kind, value in sums.items():
        torch.testing.assert_close(value, sum(each[kind] for each, _ in singles), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(gradient, sum(each for _, each in singles), rtol=1e-6, atol=1e-8)


def test_the_density_of_a_drawn_latent_is_that_of_its_normal_distribution():
    states, noise = torch.randn(3, 8, dtype=torch.float64) * 5, torch.randn(3, 8, dtype=torch.float64)
    sampled = Sampled(0.2)
    latents = sampled.draw(states, noise)
    width = 0.2 * states.square().mean(-1, keepdim=True).sqrt()
    expected = Normal(states, width).log_prob(latents).sum(-1)
    torch.testing.assert_close(sampled.density(latents, states), expected)
    torch.testing.assert_close((latents - states) / width, noise)
    assert sampled.actions(expected, [1, 2]).tolist() == pytest.approx([expected[0].item(), expected[1:].sum().item()])


def test_what_stands_for_latents_and_images_is_never_drawn_as_text(make_policy, rollout_collator, prompts):
    policy = make_policy("replay")
    policy.net.word = policy.banned[1]  # an image token is what it wants most
    rollouts = roll(policy, rollout_collator, prompts, group=1)
    assert all(policy.banned[1] not in rollout.record["tokens"] for rollout in rollouts)


def test_an_answer_that_is_cut_has_no_end_to_learn_and_says_so(make_policy, rollout_collator, prompts):
    policy = make_policy("replay", max_new_tokens=6)
    policy.net.word = policy.decoder.end
    rollouts = roll(policy, rollout_collator, prompts, group=6)
    ended = [rollout for rollout in rollouts if rollout.facts["finished"]]
    cut = [rollout for rollout in rollouts if not rollout.facts["finished"]]
    assert ended
    assert cut
    for rollout in rollouts:
        batch = rollout_collator([rollout]).inputs.batch
        chosen = batch.targets_BT[batch.targets_BT >= 0].tolist()
        assert len(chosen) == len(rollout.old[TEXT])
        assert (chosen[-1] == policy.decoder.end) == bool(rollout.facts["finished"])
        assert rollout.facts["length"] == len(rollout.record["tokens"]) <= 6


@pytest.mark.parametrize("variant", ["recompute", "sampled"])
def test_answers_that_have_ended_are_run_no_further_and_the_others_go_on_as_before(
    variant, make_policy, rollout_collator, prompts, monkeypatch
):
    run, advance = [], Columns.advance
    monkeypatch.setattr(Columns, "advance", lambda self, embeds: run.append(len(embeds)) or advance(self, embeds))

    def answer():
        run.clear()
        policy = make_policy(variant, max_new_tokens=30)
        policy.net.word = policy.decoder.end
        return roll(policy, rollout_collator, prompts, group=6), list(run)

    rollouts, widths = answer()
    monkeypatch.setattr(AnswerColumns, "leave", lambda self, alive: None)
    others, full = answer()
    assert widths[0] == full[0] == len(prompts), "a question is run once"
    assert set(full[1:]) == {24}
    assert len(widths) == len(full)
    assert widths[1:] == sorted(widths[1:], reverse=True)
    assert 1 <= widths[-1] <= 6, "of 24 answers few are long"
    for one, other in zip(rollouts, others, strict=True):
        assert one.record["tokens"] == other.record["tokens"]
        torch.testing.assert_close(one.record["latents"], other.record["latents"])
        torch.testing.assert_close(one.old, other.old)
    assert rollouts[0].facts["cache_gib"] < others[0].facts["cache_gib"]


def test_answers_to_questions_of_similar_lengths_are_decoded_together_as_the_cache_has_room(
    make_policy, rollout_collator, prompts
):
    lengths = [rollout_collator.prompt_length(sample) for sample in prompts.values()]
    assert lengths == [rollout_collator.prompts([sample]).lengths[0] for sample in prompts.values()]
    asked = [(index, prompts[index], number) for index in (2, 0, 1) for number in (0, 1)]
    policy = make_policy("replay")
    size = policy.net.architecture.state_bytes(8)
    columns = [20 + lengths[index] for index, _, _ in asked]
    assert policy.divide(rollout_collator, asked) == [sorted(range(6), key=lambda number: columns[number])]
    gib = size * max(columns) / 2**30
    policy = make_policy("replay", cache_gib=2.1 * gib)
    assert [len(some) for some in policy.divide(rollout_collator, asked)] == [2, 2, 2]
    for rollout in roll(policy, rollout_collator, prompts):
        assert 0 < rollout.facts["cache_gib"] <= 2 * gib
    with pytest.raises(ValueError, match=r"an answer may take .* GiB of keys and values, .* raise answering.cache_gib"):
        roll(make_policy("replay", cache_gib=0.9 * gib), rollout_collator, prompts)


def test_the_reference_scores_in_place_of_the_policy_and_only_while_it_is_asked(make_policy, rollout_collator, prompts):
    policy = make_policy("recompute")
    assert policy.reference() is None
    policy.other = deepcopy(policy.net)
    policy.other.word = policy.decoder.end
    batch = rollout_collator(roll(policy, rollout_collator, prompts, group=1))
    own = policy.logprobs(batch.inputs).values[TEXT]
    with policy.reference():
        other = policy.logprobs(batch.inputs).values[TEXT]
    assert not torch.allclose(own, other)
    assert torch.equal(own, policy.logprobs(batch.inputs).values[TEXT])


def test_drawn_latents_and_blocks_computed_together_are_refused_with_what_to_set(random_net, processor):
    net = LatentVLM(random_net.backbone, random_net.compression, Jacobi(2))
    with pytest.raises(ValueError, match=r"Sampled.*recurrence=sequential, or latents=recompute"):
        AnswerPolicy(net, None, Decoder(processor, 3), VARIANTS["sampled"], Answering(8), None)
    assert AnswerPolicy(net, None, Decoder(processor, 3), VARIANTS["replay"], Answering(8), None).kinds == (TEXT,)


def test_tokens_are_located_by_how_far_behind_a_block_they_stand(make_policy, rollout_collator, prompts):
    policy = make_policy("recompute", max_new_tokens=40)
    policy.net.word = policy.decoder.latent_start
    rollouts = roll(policy, rollout_collator, prompts)
    distances = []
    for rollout in rollouts:
        tokens, since, before = [*rollout.record["tokens"]], None, None
        for token in [*tokens, policy.decoder.end][: len(tokens) + rollout.record["ended"]]:
            latent = token == policy.decoder.latent_pad
            if not latent and not (before == policy.decoder.latent_pad and token == policy.decoder.latent_end):
                distances.append(since)  # of the column that chooses it, from the last latent
            since = 0 if latent else None if since is None else since + 1
            before = token
    scores = policy.logprobs(rollout_collator(rollouts).inputs)
    expected = {
        "before": [each is None for each in distances],
        "after_1": [each == 1 for each in distances],
        "after_2_4": [each is not None and 2 <= each <= 4 for each in distances],
        "after_5_16": [each is not None and 5 <= each <= 16 for each in distances],
        "after_17_on": [each is not None and each >= 17 for each in distances],
    }
    assert {name: there.tolist() for name, there in scores.places.items()} == expected
    assert all(map(any, list(expected.values())[:3]))
