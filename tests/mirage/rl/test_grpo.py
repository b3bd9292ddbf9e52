"""The stage that learns from rewards: from a stage-2 run on, held near it, watched."""

import json
import logging
import math
from types import SimpleNamespace

import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from mirage_pl.engine.rl.batch import RolloutBatch
from mirage_pl.engine.rl.objective import Objective
from mirage_pl.engine.training import fit
from tests.contract.stages import Stage
from tests.mirage.rl.test_policy import roll
from tests.test_configs import unfit

FEW = ["trainer.max_steps=2", "trainer.val_check_interval=2"]


def build(data, *more):
    return instantiate(Stage("grpo").compose(data, *more).stage.module)


def test_it_starts_from_a_stage_2_run_and_is_held_near_a_frozen_copy_of_it(data, tmp_path):
    folders = [f"runs={tmp_path}", *FEW]
    fit.run(Stage("stage2").compose(data, *folders, "trainer.limit_val_batches=0"))
    cfg = Stage("grpo").compose(data, *folders, "latents=sampled", "reference=copy", "rollouts.epochs=2")
    cfg.stage.starts = compose_starts(data)
    metrics = fit.run(cfg)
    saved = torch.load(f"{cfg.run_dir}/checkpoints/last.ckpt", weights_only=True)
    start = torch.load(next(tmp_path.glob("**/stage2*/checkpoints/last.ckpt")), weights_only=True)["state_dict"]
    weights = saved["state_dict"]
    assert weights.keys() == start.keys(), "the copy isn't kept: it is in the run that it was taken from"
    learnt = {name for name in weights.keys() & start.keys() if not torch.equal(weights[name], start[name])}
    assert metrics["train/degenerate"] < 1
    assert learnt
    assert saved["round"]["rollouts"][0]["reference"]["text"].isfinite().all()
    watched = ("kl", "entropy", "text_clipped", "latent_clipped", "length", "emitted", "degenerate", "all_wrong")
    rewards = ("reward", "reward_accuracy", "reward_optimality", "reward_format", "success")
    assert {f"train/{name}" for name in (*watched, *rewards)} <= metrics.keys()
    assert all(math.isfinite(value) for name, value in metrics.items() if name.startswith(("train/", "val/")))
    drift = metrics["train/text_drift"]  # the policy began as its reference, so both are of the same log-ratios x
    assert 0 < metrics["train/kl"] < drift < 1, "exp(-x) - 1 + x is below |x| for small x"
    assert json.loads((tmp_path / cfg.run_dir / "environment.json").read_text())["starts"].keys() >= {"reference"}


def compose_starts(data):
    from tests.conftest import compose

    return compose("train", "stage=grpo", "reference=copy", f"data={data}").stage.starts


def test_a_step_makes_what_was_better_likelier(data, make_policy, rollout_collator, prompts):
    policy = make_policy("recompute", torch.float32, max_new_tokens=8)
    rollouts = roll(policy, rollout_collator, dict(list(prompts.items())[:1]), group=4)
    worth = [1.5, -0.5, -0.5, -0.5]
    rollouts = [r.__class__(**{**vars(r), "advantage": each}) for r, each in zip(rollouts, worth, strict=True)]
    batch: RolloutBatch = rollout_collator(rollouts)
    trained = [p for p in policy.net.parameters() if p.requires_grad]
    new = batch.align("text", policy.logprobs(batch.inputs).values["text"])
    Objective().surrogate(new, batch.old["text"], batch.masks["text"], batch.advantages_B).loss.backward()
    with torch.no_grad():
        for weight in trained:
            weight -= 1e-2 * weight.grad if weight.grad is not None else 0
        after = batch.align("text", policy.logprobs(batch.inputs).values["text"])
    assert (after.sum(1) - new.sum(1))[0] > 0


def test_losses_without_a_weight_are_refused_with_their_names(data):
    with pytest.raises(InstantiationException, match="this policy's losses are kl, latent, text"):
        build(data, "latents=sampled", "~stage.module.loss_weights.latent")


def test_null_drops_a_part_of_the_reward(data):
    assert not [*unfit("train", "stage=grpo", "rewards.format=null")]
    assert build(data, "rewards.format=null").rewards.keys() == {"accuracy", "optimality"}
    with pytest.raises(InstantiationException, match="rewards has no part"):
        build(data, *(f"rewards.{part}=null" for part in ("accuracy", "optimality", "format")))


def test_it_warns_where_answers_have_no_latents_any_more_or_are_cut(data, caplog):
    module = build(data)
    with caplog.at_level(logging.WARNING):
        module.on_acted({"emitted": 0.96, "finished": 0.5})
        assert not caplog.text
        module.on_acted({"emitted": 0.4, "finished": 0.4})
    assert "only 40 % of the answers have latents (least_emitted=95 %)" in caplog.text
    assert "reference=copy" in caplog.text
    assert "60 % of the answers were cut at answering.max_new_tokens=12" in caplog.text


def test_a_task_without_a_grader_is_refused_before_the_first_answer(data):
    module = build(data)
    loader = SimpleNamespace(batch_size=4)
    module._trainer = SimpleNamespace(
        datamodule=SimpleNamespace(loader=loader, datasets={"train": [1, 2]}), world_size=1, accumulate_grad_batches=1
    )
    with pytest.raises(ValueError, match="a task that grades answers, and list doesn't"):
        module.on_fit_start()
