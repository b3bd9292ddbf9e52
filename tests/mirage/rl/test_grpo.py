"""The stage that learns from rewards: from a stage-2 run on, held near it, watched."""

import json
import logging
import math
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

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
    watched = (
        "kl",
        "entropy",
        "text_clipped",
        "text_drift_before",
        "latent_clipped",
        "length",
        "emitted",
        "degenerate",
        "all_wrong",
    )
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
        module.on_acted({"emitted": 0.96, "finished": 0.5, "degenerate": 0.9, "groups": 2.0})
        assert not caplog.text
        for _ in range(2):
            module.on_acted({"emitted": 0.4, "finished": 0.4, "degenerate": 1.0, "groups": 2.0})
    assert "in none of 2 groups do rewards differ" in caplog.text
    assert len(caplog.records) == 3, "each is said once"
    assert "only 40% of the answers have latents (least_emitted=95%)" in caplog.text
    assert "reference=copy" in caplog.text
    assert "60% of the answers were cut at answering.max_new_tokens=12" in caplog.text


def test_a_task_without_a_grader_is_refused_before_the_first_answer(data):
    module = build(data)
    loader = SimpleNamespace(batch_size=4)
    module._trainer = SimpleNamespace(
        datamodule=SimpleNamespace(loader=loader, datasets={"train": [1, 2]}), world_size=1, accumulate_grad_batches=1
    )
    with pytest.raises(ValueError, match="a task that grades answers, and list doesn't"):
        module.on_fit_start()


def test_a_round_of_more_prompts_than_there_are_is_refused_before_the_first_answer(data):
    module, questions = build(data), MagicMock()
    questions.__len__.return_value = module.rollouts.prompts - 1
    module._trainer = SimpleNamespace(
        datamodule=SimpleNamespace(loader=SimpleNamespace(batch_size=4), datasets={"train": questions}),
        world_size=1,
        accumulate_grad_batches=1,
    )
    with pytest.raises(ValueError, match=r"rollouts.prompts=\d+, but there are \d+ prompts to train on; lower it"):
        module.on_fit_start()


def test_a_reference_of_another_vocabulary_is_refused_with_both_sizes(data):
    cfg = Stage("grpo").compose(data)
    other = instantiate(cfg.stage.module.net)
    own = other.architecture.head.weight.shape[0]
    other.backbone.resize_token_embeddings(own + 8, mean_resizing=False)
    with pytest.raises(
        InstantiationException, match=f"reference has a vocabulary of {own + 8} tokens, .* one of {own}"
    ):
        instantiate(cfg.stage.module, reference=other)


def test_a_round_in_which_all_answers_are_worth_the_same_is_counted_and_changes_nothing(data, tmp_path, caplog):
    few = ["rewards={accuracy: null, optimality: null, format: {pattern: never said}}", "rollouts.refill=1"]
    cfg = Stage("grpo").compose(data, f"runs={tmp_path}", *FEW, *few)
    metrics = fit.run(cfg)
    assert metrics["train/degenerate"] == 1
    assert metrics["train/groups"] == 2, "one of the round, and one more"
    assert metrics["train/loss"] == 0
    assert all(math.isfinite(value) for name, value in metrics.items() if name.startswith(("train/", "val/")))
    assert "in none of 2 groups do rewards differ" in caplog.text


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_weight_of_a_reward_that_is_no_number_is_refused_before_the_run(data, tmp_path, value):
    cfg = Stage("grpo").compose(data, f"runs={tmp_path}", f"rewards.format.weight={value}")
    with pytest.raises(ValueError, match=f"rewards.format.weight={value} must be a number"):
        fit.run(cfg)


def test_answers_that_need_more_memory_than_there_may_be_are_refused_by_row_before_anything_is_learnt(data, tmp_path):
    cfg = Stage("grpo").compose(data, f"runs={tmp_path}", *FEW, "answering.cache_gib=1e-6")
    with pytest.raises(ValueError, match=r"train\.jsonl:\d+: an answer may take .* but cache_gib=1e-06; raise"):
        fit.run(cfg)


def test_a_group_of_one_is_refused_with_what_is_usual(data):
    with pytest.raises(InstantiationException, match="rollouts.group=1, but an answer is compared with others"):
        build(data, "rollouts.group=1")


def test_questions_without_helper_images_are_learnt_from_since_rewards_do_not_need_any(data, tmp_path):
    given = Stage("grpo").compose(data, f"runs={tmp_path}", *FEW)
    for name in ("train", "val"):
        rows = [json.loads(line) for line in Path(given.task[f"{name}_file"]).read_text().splitlines()]
        for row in rows:
            row["text_output"] = row["text_output"].replace("<output_image>", "")
            row["image_input"] = f"{given.task.folder}/{row['image_input']}"
            del row["image_output"]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = [f"task.{name}_file={tmp_path}/{name}.jsonl" for name in ("train", "val")]
    metrics = fit.run(Stage("grpo").compose(data, f"runs={tmp_path}", *FEW, *files))
    assert math.isfinite(metrics["train/text"])
    assert math.isfinite(metrics["val/text"])


@pytest.mark.parametrize(
    ("stage", "words"),
    [("grpo", ["latents=replay"]), ("distill", ["latents=replay"]), ("grpo", ["latents=replay", "recurrence=queries"])],
)
def test_a_writer_of_latents_that_are_held_as_they_were_would_learn_nothing(data, tmp_path, stage, words):
    frozen = ["feedback=writer", "stage.freeze=[net.backbone]"]
    cfg = Stage(stage).compose(data, f"runs={tmp_path}", *FEW, *frozen, *words)
    cfg.stage.starts = None
    with pytest.raises(ValueError, match=r"latents=replay gives what writes latents no gradient.*latents=recompute"):
        fit.run(cfg)


def test_a_writer_learns_from_rewards_where_latents_are_computed_again(data, tmp_path):
    frozen = ["feedback=writer", "stage.freeze=[net.backbone]", "latents=recompute"]
    cfg = Stage("grpo").compose(data, f"runs={tmp_path}", *FEW, *frozen)
    cfg.stage.starts = None
    assert fit.run(cfg)["step"] == 2
