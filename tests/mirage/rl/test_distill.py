"""Learning from a twin that sees the helper image: what the twin is, what it sees, what is learnt of it."""

import json
from dataclasses import replace

import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from data_modules.samples import Picture, Text
from mirage_pl.engine.training import fit
from mirage_pl.mirage.batch import IGNORE
from mirage_pl.mirage.collator import blocks
from mirage_pl.mirage.rl.privilege import Helper, Noise, Shown
from mirage_pl.mirage.stages.distill import DIVERGENCE
from tests.conftest import compose
from tests.contract.stages import Stage
from tests.mirage.rl.test_policy import roll


@pytest.fixture
def module(data):
    torch.manual_seed(0)
    return instantiate(Stage("distill").compose(data, "answering.max_new_tokens=20").stage.module).double().eval()


@pytest.fixture
def collate(data):
    return instantiate(Stage("distill").compose(data).stage.collator)


@pytest.fixture
def text_alone(data):
    """The stage without latents, and its collator."""
    torch.manual_seed(0)
    cfg = Stage("distill_text").compose(data, "answering.max_new_tokens=20")
    return instantiate(cfg.stage.module).double().eval(), instantiate(cfg.stage.collator)


def roll_eagerly(module, collate, prompts):
    """Answers that open a block wherever they may."""
    policy = module.policy
    logits = module.net.logits

    def eager(hidden):
        values = logits(hidden).clone()
        values[..., policy.decoder.latent_start] = values.amax(-1)
        return values

    module.net.logits = eager
    rollouts = roll(policy, collate, prompts)
    del module.net.logits
    return [replace(each, record={**each.record, "latents": each.record["latents"].double()}) for each in rollouts]


@pytest.fixture
def batch(module, collate, prompts):
    return collate(roll_eagerly(module, collate, prompts))


def test_the_twin_has_the_features_of_the_helper_images_in_the_places_of_latents(module, batch, collate):
    inputs = batch.inputs
    sizes = [size for row in inputs.batch.sizes for size in row]
    assert sum(sizes) > 8
    batch_read, latents_ND = Helper()(module.twin, inputs)
    assert batch_read is inputs.batch
    seen = iter(latents_ND.split(sizes))
    own = iter(inputs.latents_ND.split(sizes))
    swapped = 0
    for rollout, row in zip(batch.samples, inputs.batch.sizes, strict=True):
        images, planned = collate.helper_images([rollout.sample])
        features = module.net.compress(images, planned[0])
        for block, size in enumerate(row):
            theirs, ours = next(seen), next(own)
            if block < len(features):
                torch.testing.assert_close(theirs, features[block][torch.arange(size) % len(features[block])].double())
                swapped += 1
            else:
                assert torch.equal(theirs, ours)
    assert swapped


def test_noise_has_the_latents_mean_and_spread_and_nothing_else_of_them(module, batch):
    inputs = batch.inputs
    _, noise = Noise()(module.twin, replace(inputs, latents_ND=inputs.latents_ND.repeat(200, 1)))
    assert noise.mean().item() == pytest.approx(
        inputs.latents_ND.mean().item(), abs=0.05 * inputs.latents_ND.std().item()
    )
    assert noise.std().item() == pytest.approx(inputs.latents_ND.std().item(), rel=0.05)


def test_a_twin_that_sees_the_same_teaches_nothing_and_one_that_sees_more_does(module, batch):
    module.privilege = lambda net, answers: (answers.batch, answers.latents_ND)
    assert module.losses(batch)[DIVERGENCE].item() == pytest.approx(0, abs=1e-6)
    module.privilege = Helper()
    loss = module.losses(batch)[DIVERGENCE]
    loss.backward()
    assert loss.item() > 0
    assert any(weight.grad is not None and weight.grad.norm() > 0 for weight in module.net.parameters())
    assert all(weight.grad is None for weight in module.twin.parameters())


def test_a_step_towards_the_twin_lowers_the_divergence_and_the_twin_follows_slowly(module, batch):
    before = module.losses(batch)[DIVERGENCE]
    before.backward()
    with torch.no_grad():
        for weight in module.net.parameters():
            weight -= 0 if weight.grad is None else 1e-4 * weight.grad
    assert module.losses(batch)[DIVERGENCE] < before
    name = next(name for name, weight in module.net.named_parameters() if weight.grad is not None)
    own, other = (dict(net.named_parameters())[name] for net in (module.net, module.twin))
    expected = 0.9 * other + 0.1 * own
    module.follow(0.9)
    torch.testing.assert_close(other.detach(), expected.detach())


def test_without_latents_no_block_is_opened(text_alone, prompts):
    rollouts = roll_eagerly(*text_alone, prompts)
    start = text_alone[0].decoder.latent_start
    assert all(start not in each.record["tokens"] and not len(each.record["latents"]) for each in rollouts)
    assert text_alone[1](rollouts).inputs.batch.blocks == []


@pytest.mark.parametrize("stage", ["distill", "distill_text"])
def test_a_twin_can_be_shown_helper_images_in_the_question(data, prompts, stage):
    torch.manual_seed(0)
    cfg = Stage(stage).compose(data, "answering.max_new_tokens=20", "privilege=shown")
    module, collate = instantiate(cfg.stage.module).double().eval(), instantiate(cfg.stage.collator)
    rollouts = roll_eagerly(module, collate, prompts)
    inputs = collate(rollouts).inputs
    own, told = inputs.batch, inputs.batch.told
    assert own.targets_BT[own.targets_BT != IGNORE].tolist() == told.targets_BT[told.targets_BT != IGNORE].tolist()
    more = sum(len(blocks(sample)) for sample in prompts.values())
    assert more >= len(own.images.grids)
    assert len(told.images.grids) == len(own.images.grids) + more
    assert Shown()(module.twin, inputs)[0] is told
    for row, rollout in enumerate(rollouts):  # as if that had been the question
        sample = rollout.sample
        helpers = [Picture(block.path) for block in blocks(sample)]
        alone = collate([replace(rollout, sample=replace(sample, question=(*sample.question, *helpers)))])
        both = [(told, inputs.latents_ND), (alone.inputs.batch, alone.inputs.latents_ND)]
        hidden = [module.twin.with_latents(batch, module.twin.embed(batch), given_ND) for batch, given_ND in both]
        mine_MD, theirs_MD = (
            hidden[0][row][told.targets_BT[row] != IGNORE],
            hidden[1][0][both[1][0].targets_BT[0] != IGNORE],
        )
        torch.testing.assert_close(mine_MD, theirs_MD)
    loss = module.losses(collate(rollouts))[DIVERGENCE]
    loss.backward()
    assert loss.item() > 0
    assert any(weight.grad is not None and weight.grad.norm() > 0 for weight in module.net.parameters())


def test_held_out_rows_are_shown_to_the_twin_alone(text_alone, samples):
    module, collate = text_alone
    batch = collate(samples[:2])
    assert len(batch.images.grids) == 2
    assert len(batch.told.images.grids) == 4
    assert (
        batch.targets_BT[batch.targets_BT != IGNORE].tolist()
        == batch.told.targets_BT[batch.told.targets_BT != IGNORE].tolist()
    )
    assert module.losses(batch)[DIVERGENCE] > 0


def test_a_twin_that_is_shown_nothing_is_refused(module, batch):
    module.privilege = Shown()
    with pytest.raises(ValueError, match=r"privilege=shown reads questions with helper images; set stage.collator.sho"):
        module.losses(batch)


def test_a_share_of_rows_that_isnt_trained_on_is_refused(data):
    with pytest.raises(InstantiationException, match=r"revealed=0.5 is for stages that train on rows"):
        instantiate(Stage("distill_text").compose(data, "stage.collator.revealed=0.5").stage.collator)


def test_rows_without_helper_images_are_refused(text_alone, samples):
    rows = [replace(sample, answer=(Text("a"),)) for sample in samples]
    with pytest.raises(ValueError, match="have no latent block, which this stage teaches"):
        text_alone[1].check_training(rows)


def test_latents_that_are_drawn_are_refused(data):
    with pytest.raises(InstantiationException, match="Sampled draws latents; set latents=recompute or replay"):
        instantiate(Stage("distill").compose(data, "latents=sampled", "~stage.module.loss_weights.latent").stage.module)


@pytest.mark.parametrize(("before", "stage"), [("stage2", "distill"), ("sft", "distill_text")])
def test_a_run_begins_with_a_twin_of_its_start_and_keeps_it(data, tmp_path, before, stage):
    folders = [f"runs={tmp_path}", "trainer.max_steps=2", "trainer.val_check_interval=2"]
    first = Stage(before).compose(data, *folders, "trainer.limit_val_batches=0")
    fit.run(first)
    cfg = Stage(stage).compose(data, *folders, "decay=0.5")
    cfg.stage.starts = compose("train", f"stage={stage}").stage.starts
    metrics = fit.run(cfg)
    start, saved = (
        torch.load(f"{each.run_dir}/checkpoints/last.ckpt", weights_only=True)["state_dict"] for each in (first, cfg)
    )
    moved = [name for name in start if not torch.equal(saved[name], start[name])]
    assert moved
    for name in moved:
        own, twin = saved[name], saved[name.replace("net", "twin", 1)]
        assert (twin - start[name]).norm() < (own - start[name]).norm()
    assert {"train/divergence", "val/divergence", "train/length", "train/emitted"} <= metrics.keys()
    assert "weights" in json.loads((tmp_path / cfg.run_dir / "environment.json").read_text())["starts"]
