"""A world model that learns from rewards: exactness, errors as rewards, a run from a world model on."""

import json
from copy import deepcopy

import pytest
import torch
from hydra.utils import instantiate

from mirage_pl.engine.rl.rewards import ByGrade, reward_answer
from mirage_pl.engine.training import fit
from mirage_pl.ivideogpt.model.rollout import Rollout
from mirage_pl.ivideogpt.rl.errors import FrameErrors
from mirage_pl.ivideogpt.rl.policy import CODES, Drawing, WorldPolicy
from tests.ivideogpt.conftest import QUIET, compose_small

STAGE = "ivideogpt/rlvr"
FLOAT32, FLOAT64 = torch.float32, torch.float64


@pytest.fixture(scope="module")
def cfg(squares):
    return compose_small("train", f"data={squares}", "reference=none", stage=STAGE)


@pytest.fixture(scope="module")
def collate(cfg):
    return instantiate(cfg.stage.collator)


@pytest.fixture(scope="module")
def prompts(cfg):
    rows = instantiate(cfg.task.dataset).read(cfg.task.train_file)
    return {index: rows[index] for index in (0, 5, 9)}


@pytest.fixture
def make_policy(cfg):
    """(dtype, options of drawing) -> a policy whose actions and codes differ."""

    def make(dtype=FLOAT64, **options):
        torch.manual_seed(0)
        module = instantiate(cfg.stage.module).to(dtype).eval()
        with torch.no_grad():
            for weight in module.net.transformer.parameters():
                weight.add_(0.1 * torch.randn_like(weight))
        return WorldPolicy(module.net, None, module.take_actions, Drawing(**options), FrameErrors(None))

    return make


def roll(policy, collate, prompts, group=2, seed=0, step=0):
    with torch.no_grad():
        return policy.roll(collate, prompts, group, seed, step)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_in_float32_every_ratio_is_one_until_something_is_learnt(temperature, make_policy, collate, prompts):
    """Drawn with a cache that a group shares, and scored in one packed pass of clips in another order."""
    policy = make_policy(FLOAT32, temperature=temperature)
    rollouts = roll(policy, collate, prompts, group=3)[::-1]
    batch = collate(rollouts)
    scores = policy.logprobs(batch.inputs)
    ratios = (batch.align(CODES, scores.values[CODES]) - batch.old[CODES]).exp()
    assert ratios.numel() == batch.counts[CODES] == batch.inputs.codes_BFn.numel()
    torch.testing.assert_close(ratios, torch.ones_like(ratios), rtol=0, atol=1e-4)
    assert batch.old[CODES].std() > 0.1, "codes aren't all as likely"
    assert scores.values[CODES].requires_grad


def test_a_rollout_depends_on_seed_step_row_and_number_not_on_the_batch(make_policy, collate, prompts):
    together = roll(make_policy(), collate, prompts)
    backwards = roll(
        make_policy(cache_gib=1.5 * make_policy().count_bytes(3, 2) / 2**30), collate, dict(reversed(prompts.items()))
    )
    alone = roll(make_policy(), collate, {5: prompts[5]})
    for others in (backwards, alone):
        for other in others:
            (own,) = (each for each in together if (each.index, each.number) == (other.index, other.number))
            assert torch.equal(own.record["codes"], other.record["codes"])
            torch.testing.assert_close(own.old[CODES], other.old[CODES])
            assert own.answer == pytest.approx(other.answer)
    first = together[0].record["codes"]
    assert not torch.equal(first, together[1].record["codes"]), "each of a group has numbers of its own"
    for changed in ({"seed": 1}, {"step": 1}):
        assert not torch.equal(roll(make_policy(), collate, {0: prompts[0]}, **changed)[0].record["codes"], first)


def test_a_clip_is_graded_by_how_far_its_frames_are_from_those_that_came(make_policy, collate, prompts):
    policy = make_policy()
    for rollout in roll(policy, collate, prompts):
        frames = collate([rollout.sample]).frames_BTCHW.double() / 255
        contexts = Rollout(policy.world, frames[:, :1], frames.shape[1] - 1)
        missed = contexts.see(rollout.record["codes"][None].long()) - frames[:, 1:]
        assert rollout.answer["l1"] == pytest.approx(missed.abs().mean().item())
        assert rollout.answer["mse"] == pytest.approx(missed.square().mean().item())
        parts = {"pixels": ByGrade("l1", -2.0)}
        rewards, facts = reward_answer(parts, policy.errors, rollout.sample, rollout.answer)
        assert rewards == {"pixels": -2 * rollout.answer["l1"]}
        assert not facts


def test_repetition_and_the_memory_of_the_cache_are_watched(make_policy, collate, prompts):
    policy = make_policy()
    (rollout, *_) = roll(policy, collate, prompts, group=4)
    codes = rollout.record["codes"]
    assert rollout.facts["repetition"] == (codes[1:] == codes[:-1]).all(1).float().mean().item()
    assert rollout.facts["cache_gib"] == 3 * policy.count_bytes(3, 4) / 2**30


def test_groups_are_imagined_as_the_cache_has_room_and_one_without_room_is_refused(make_policy, collate, prompts):
    one, clips = make_policy().count_bytes(3, 2) / 2**30, list(prompts.values())
    assert make_policy().divide(clips, 2) == [[0, 1, 2]]
    assert make_policy(cache_gib=2.5 * one).divide(clips, 2) == [[0, 1], [2]]
    with pytest.raises(ValueError, match=r"a group of 2 imagined clips takes .* but cache_gib=.* lower rollouts.group"):
        roll(make_policy(cache_gib=0.9 * one), collate, prompts)


def test_what_is_imagined_well_becomes_likelier(make_policy, collate, prompts, cfg):
    """A step along the gradient of the loss, whose advantages are set."""
    policy, objective = make_policy(), instantiate(cfg.objective.codes)
    rollouts = roll(policy, collate, {0: prompts[0]}, group=4)
    batch = collate(rollouts)
    advantages = torch.tensor([1.5, -0.5, -0.5, -0.5])
    score = lambda: batch.align(CODES, policy.logprobs(batch.inputs).values[CODES])  # noqa: E731
    before = score()
    objective.surrogate(before, batch.old[CODES], batch.masks[CODES], advantages).loss.backward()
    with torch.no_grad():
        for weight in policy.world.parameters():
            weight -= 0 if weight.grad is None else 1e-3 * weight.grad
    change = (score() - before).sum(1)
    assert change[0] > 0
    assert change[0] > change[1:].max()


def test_the_reference_scores_in_place_of_the_policy_and_only_while_it_is_asked(make_policy, collate, prompts):
    policy = make_policy()
    assert policy.reference() is None
    policy.other = deepcopy(policy.world)
    with torch.no_grad():
        policy.other.transformer.llm.lm_head.weight.mul_(2)
    inputs = collate(roll(policy, collate, prompts)).inputs
    own = policy.logprobs(inputs).values[CODES]
    with policy.reference():
        assert not torch.allclose(policy.logprobs(inputs).values[CODES], own)
    assert torch.equal(policy.logprobs(inputs).values[CODES], own)


def test_perceptual_rewards_need_their_network(make_policy, collate, prompts, tmp_path):
    with pytest.raises(ValueError, match=r"errors.lpips=.* does not exist"):
        FrameErrors(str(tmp_path / "none.pt"))
    (rollout, *_) = roll(make_policy(), collate, prompts)
    with pytest.raises(ValueError, match=r"train.jsonl:1@0: reward perceptual: there is no lpips .* l1, mse"):
        reward_answer({"perceptual": ByGrade("lpips", -1.0)}, FrameErrors(None), rollout.sample, rollout.answer)


class Distance(torch.nn.Module):
    """A network in place of LPIPS."""

    def forward(self, ours, theirs):
        return (ours - theirs).square().mean((1, 2, 3), keepdim=True)


def test_a_network_is_a_further_error(tmp_path):
    frames = torch.rand(2, 3, 3, 4, 4), torch.rand(3, 3, 4, 4)
    pair = frames[0][:, 0], frames[0][:, 1]
    torch.jit.trace(Distance(), pair).save(file := str(tmp_path / "distance.pt"))
    errors = FrameErrors(file)(*frames)
    torch.testing.assert_close(errors["lpips"], 4 * errors["mse"])


def test_a_run_starts_from_a_world_model_and_is_held_near_a_frozen_copy_of_it(run, squares, tmp_path):
    folders = [f"data={squares}", f"runs={tmp_path}", *QUIET]
    first = compose_small("train", *folders, f"stage.starts.tokenizer.run={run}", stage="ivideogpt/world_model")
    fit.run(first)
    small = ["rollouts={prompts: 2, group: 4, epochs: 2}", "loader.batch_size=8", "callbacks.best.monitor=val/loss"]
    second = compose_small("train", *folders, *small, f"init_from={first.run_dir}", stage=STAGE)
    metrics = fit.run(second)
    start, saved = (torch.load(f"{each.run_dir}/checkpoints/last.ckpt", weights_only=True) for each in (first, second))
    starts = json.loads((tmp_path / second.run_dir / "environment.json").read_text())["starts"]
    assert set(starts) == {"weights", "reference"}
    weights = saved["state_dict"]
    assert weights.keys() == start["state_dict"].keys(), "the copy isn't kept: it is in the run that it was taken from"
    for name, weight in start["state_dict"].items():
        assert "tokenizer" not in name or torch.equal(weights[name], weight)
    changed = {name for name, weight in start["state_dict"].items() if not torch.equal(weights[name], weight)}
    assert any("lm_head" in name for name in changed)
    assert not any("reward_linear" in name for name in changed)
    watched = {"reward", "reward_pixels", "l1", "mse", "repetition", "cache_gib", "degenerate", "entropy", "kl"}
    assert {f"train/{name}" for name in watched} <= metrics.keys()
    assert metrics["train/reward"] == pytest.approx(-metrics["train/l1"])
    assert 0 < metrics["train/kl"] < 0.1
