"""Learning from a twin that sees the helper image: what the twin is, what it sees, what is learnt of it."""

import json
from dataclasses import replace

import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from mirage_pl.engine.training import fit
from mirage_pl.mirage.rl.privilege import Helper, Noise
from mirage_pl.mirage.stages.distill import DIVERGENCE
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
def batch(module, collate, prompts):
    policy = module.policy
    logits = module.net.logits

    def eager(hidden):
        values = logits(hidden).clone()
        values[..., policy.decoder.latent_start] = values.amax(-1)
        return values

    module.net.logits = eager
    rollouts = roll(policy, collate, prompts)
    del module.net.logits
    rollouts = [replace(each, record={**each.record, "latents": each.record["latents"].double()}) for each in rollouts]
    return collate(rollouts)


def test_the_twin_has_the_features_of_the_helper_images_in_the_places_of_latents(module, batch, collate):
    inputs = batch.inputs
    sizes = [size for row in inputs.batch.sizes for size in row]
    assert sum(sizes) > 8
    seen = iter(Helper()(module.twin, inputs.batch, inputs.planned, inputs.latents_ND).split(sizes))
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
    noise = Noise()(module.twin, inputs.batch, inputs.planned, inputs.latents_ND.repeat(200, 1))
    assert noise.mean().item() == pytest.approx(
        inputs.latents_ND.mean().item(), abs=0.05 * inputs.latents_ND.std().item()
    )
    assert noise.std().item() == pytest.approx(inputs.latents_ND.std().item(), rel=0.05)


def test_a_twin_that_sees_the_same_teaches_nothing_and_one_that_sees_more_does(module, batch):
    module.privilege = lambda net, batch, planned, latents_ND: latents_ND
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


def test_latents_that_are_drawn_are_refused(data):
    with pytest.raises(InstantiationException, match="Sampled draws latents; set latents=recompute or replay"):
        instantiate(Stage("distill").compose(data, "latents=sampled", "~stage.module.loss_weights.latent").stage.module)


def test_a_run_begins_with_a_twin_of_its_start_and_keeps_it(data, tmp_path):
    folders = [f"runs={tmp_path}", "trainer.max_steps=2", "trainer.val_check_interval=2"]
    first = Stage("stage2").compose(data, *folders, "trainer.limit_val_batches=0")
    fit.run(first)
    cfg = Stage("distill").compose(data, *folders, "decay=0.5")
    cfg.stage.starts = {"weights": {"run": first.run_dir, "fresh": ["twin"]}}
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
