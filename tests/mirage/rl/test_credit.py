"""Which latents right answers read, and wrong ones don't."""

from types import SimpleNamespace

import pytest
import torch

from mirage_pl.engine.training import fit
from mirage_pl.mirage.rl.credit import give_credit, judge_group, read_latents
from tests.contract.stages import Stage
from tests.mirage.rl.test_policy import roll


def test_what_a_row_reads_does_not_depend_on_the_rows_beside_it_and_is_a_share(make_policy, rollout_collator, prompts):
    policy = make_policy("replay")
    rollouts = roll(policy, rollout_collator, prompts)
    inputs = rollout_collator(rollouts).inputs
    together = read_latents(policy.net, inputs.batch, inputs.latents_ND.double())
    assert [len(each) for each in together] == [len(rollout.record["latents"]) for rollout in rollouts]
    assert any(len(each) > 3 for each in together)
    for rollout, reading in zip(rollouts, together, strict=True):
        alone = rollout_collator([rollout]).inputs
        (own,) = read_latents(policy.net, alone.batch, alone.latents_ND.double())
        torch.testing.assert_close(own, reading)
        if rollout.record["ended"] and len(reading):
            assert 0 < reading.max() < 1
    assert policy.net.decoder.config._attn_implementation != "eager"


def test_latents_at_the_end_of_an_answer_are_read_by_nothing(make_policy, rollout_collator, prompts):
    policy = make_policy("replay", max_new_tokens=20)
    for rollout in roll(policy, rollout_collator, prompts):
        if rollout.record["tokens"][-1] == policy.decoder.latent_pad:
            inputs = rollout_collator([rollout]).inputs
            assert read_latents(policy.net, inputs.batch, inputs.latents_ND.double())[0][-1] == 0


def test_credit_is_how_much_more_right_answers_read_a_place():
    readings = [torch.tensor(each) for each in ([0.4, 0.1], [0.2, 0.3], [0.1, 0.6], [0.3])]
    credit = give_credit(readings, [True, True, False, False])
    assert [each.tolist() for each in credit] == [pytest.approx([0.1, 0.0])] * 3 + [pytest.approx([0.1])]
    assert give_credit(readings[:2], [True, True])[0].tolist() == [0, 0], "there is nothing to compare with"
    assert give_credit([torch.zeros(0)] * 2, [True, False])[0].tolist() == []


def test_answers_are_right_by_their_success_or_where_it_is_not_known_by_their_rewards():
    graded = [SimpleNamespace(facts={"success": value}, rewards={"a": 1.0 - value}) for value in (1.0, 0.0)]
    assert judge_group(graded) == [True, False]
    rewarded = [SimpleNamespace(facts={}, rewards={"l1": value}) for value in (-0.1, -0.3, -0.4)]
    assert judge_group(rewarded) == [True, False, False]


def test_a_run_weighs_its_latents_by_credit(data, tmp_path):
    few = [f"runs={tmp_path}", "trainer.max_steps=2", "trainer.limit_val_batches=0", "callbacks.scores=null"]
    cfg = Stage("grpo").compose(data, "evidence=contrastive", "evidence.uniform=0.3", *few)
    metrics = fit.run(cfg)
    saved = torch.load(f"{cfg.run_dir}/checkpoints/last.ckpt", weights_only=True)["round"]["rollouts"]
    assert all(len(each["record"]["credit"]) == len(each["record"]["latents"]) for each in saved)
    assert metrics["train/evidence"] >= 0
