"""Contrastive evidence: latents are drawn to their own helper image, and away from the nearest of other rows."""

from dataclasses import replace

import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from mirage_pl.mirage.evidence import EVIDENCE, Evidence, find_images
from tests.contract.stages import Stage
from tests.mirage.rl.test_policy import roll

PLAIN = Evidence(margin=0.5, negatives=16, centre=False)


def test_the_loss_is_the_margin_less_how_much_nearer_the_own_image_is_than_the_nearest_other():
    prototypes = torch.tensor([[1.0, 0], [0, 1.0], [0.6, 0.8]])
    places = find_images([[2], [1], []], [1, 1, 1], ["a", "b", "c"])
    assert places.image_N == (0, 0, 1)
    latents = torch.tensor([[2.0, 0], [0.6, 0.8], [0, 3.0]])
    expected = [0.5 - (1 - 0.6), 0.5 - (0.6 - 1), 0.5 - (1 - 0.8)]
    assert PLAIN(latents, prototypes, places).item() == pytest.approx(sum(expected) / 3, abs=1e-6)
    near = torch.tensor([[1.0, 0]])
    assert PLAIN(near, prototypes[:2], find_images([[1], []], [1, 1], ["a", "b"])).item() == 0, "1 is above the margin"


def test_means_of_the_batch_are_taken_off_first_if_it_is_centred():
    latents, prototypes = torch.randn(3, 4), torch.randn(3, 4)
    places = find_images([[1]] * 3, [1] * 3, "abc")
    centred = Evidence(centre=True)(latents + 5, prototypes - 7, places)
    less = PLAIN(latents - latents.mean(0), prototypes - prototypes.mean(0), places)
    torch.testing.assert_close(centred, less, atol=1e-5, rtol=0)


def test_images_of_the_same_row_are_never_its_negatives_and_others_are_the_next_ones_in_a_circle():
    others = Evidence(negatives=2).choose_others(["a", "b", "a", "c", "d"])
    assert [row.nonzero().flatten().tolist() for row in others] == [[1, 3], [2, 3], [3, 4], [0, 4], [0, 1]]


def test_latents_without_an_image_or_with_no_other_row_beside_them_are_not_compared():
    places = find_images([[2, 1], [1]], [1, 0], ["a", "b"])
    assert places.count == 0, "there is one image only"
    places = find_images([[2, 1], [1]], [1, 1], ["a", "b"])
    assert places.image_N == (0, 0, -1, 1)
    same = find_images([[1], [1]], [1, 1], ["a", "a"])
    assert same.count == 0
    latents = torch.randn(2, 4, requires_grad=True)
    with pytest.warns(UserWarning, match="images of one question alone.*raise loader.batch_size"):
        loss = PLAIN(latents, torch.randn(2, 4), same)
    loss.backward()
    assert loss.item() == 0
    assert not latents.grad.any()


def test_credit_weighs_latents_beside_what_all_have_alike():
    prototypes, latents = torch.tensor([[1.0, 0], [0, 1.0]]), torch.tensor([[1.0, 0], [0.6, 0.8], [5.0, 5.0]])
    places = find_images([[2], [1]], [1, 1], "ab")
    each = [PLAIN(latents[[row]], prototypes, find_images([[1], []], [1, 1], "ab")).item() for row in (0, 1)]
    each.append(PLAIN(latents[[2]], prototypes, find_images([[], [1]], [1, 1], "ab")).item())
    weighed = Evidence(0.5, 16, centre=False, uniform=0.3)(latents, prototypes, places, torch.tensor([2.0, 0, 1]))
    expected = (each[0] * (0.3 + 1.4) + each[1] * 0.3 + each[2] * 1.0) / 3
    assert weighed.item() == pytest.approx(expected, abs=1e-6)


def losing(data, stage, *more):
    torch.manual_seed(0)
    cfg = Stage(stage).compose(data, "evidence=contrastive", *more)
    module, collate = instantiate(cfg.stage.module).eval(), instantiate(cfg.stage.collator)
    rows = instantiate(cfg.task.dataset).read(cfg.task.train_file)
    return module, collate, [rows[number] for number in range(0, 8, 2)]


@pytest.mark.parametrize("stage", ["stage1", "stage2", "guided"])
def test_it_is_a_loss_of_stages_without_rewards_and_what_writes_latents_learns_from_it(data, stage):
    module, collate, rows = losing(data, stage)
    batch = collate(rows)
    losses = module.losses(batch)
    assert losses.keys() == module.loss_weights.keys() >= {EVIDENCE}
    assert module.terms(batch)[EVIDENCE] == sum(map(sum, batch.sizes)) > 0
    losses[EVIDENCE].backward()
    assert losses[EVIDENCE].item() > 0
    assert any(weight.grad is not None and weight.grad.norm() > 0 for weight in module.net.parameters())


@pytest.mark.parametrize(("stage", "latents"), [("grpo", "recompute"), ("grpo", "replay"), ("distill", "replay")])
def test_it_is_a_loss_of_answers_beside_rewards_of_latents_that_are_written_anew(data, stage, latents):
    module, collate, rows = losing(data, stage, f"latents={latents}")
    logits = module.net.logits

    def eager(hidden):
        values = logits(hidden).clone()
        values[..., module.decoder.latent_start] = values.amax(-1)
        return values

    module.net.logits = eager
    rollouts = roll(module.policy, collate, dict(enumerate(rows[:2])))
    del module.net.logits
    batch = collate([replace(each, advantage=float(each.number)) for each in rollouts])
    planned = sum(row[0] for row in batch.inputs.batch.sizes if row)
    assert module.terms(batch)[EVIDENCE] == planned > 0, "the first block of an answer has the row's image"
    losses = module.losses(batch)
    assert losses.keys() == module.loss_weights.keys()
    losses[EVIDENCE].backward()
    assert any(weight.grad is not None and weight.grad.norm() > 0 for weight in module.net.parameters())
    held_out = collate(rows)
    assert module.losses(held_out)[EVIDENCE].item() > 0
    assert module.terms(held_out)[EVIDENCE] == sum(map(sum, held_out.sizes))


def test_weights_by_credit_need_rewards(data):
    with pytest.raises(InstantiationException, match=r"evidence.uniform=0.3 weighs latents .* take stage=grpo"):
        losing(data, "stage2", "evidence.uniform=0.3")
    assert losing(data, "grpo", "evidence.uniform=0.3")[0].evidence.uniform == 0.3


@pytest.mark.parametrize("stage", ["sft", "auxiliary"])
def test_a_stage_without_latents_refuses_it(data, stage):
    with pytest.raises(InstantiationException, match="evidence compares the latents that a model writes"):
        instantiate(Stage(stage).compose(data, "evidence=contrastive").stage.module)


@pytest.mark.parametrize("feedback", ["words", "pads"])
def test_latents_that_are_no_features_are_refused(data, feedback):
    with pytest.raises(InstantiationException, match=r"evidence compares latents with features .* are none; set"):
        instantiate(Stage("stage1").compose(data, "evidence=contrastive", f"feedback={feedback}").stage.module)
