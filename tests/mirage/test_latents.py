"""The law of the latent engine: a batch of B is B batches of one, in losses, gradients and numbers."""

import pytest
import torch

from data_modules.samples import Latent, Sample, Text
from mirage_pl.mirage.batch import IGNORE, Collator
from mirage_pl.mirage.latents import rotary_positions
from mirage_pl.mirage.losses import latent_cosine, text_ce


@pytest.fixture(scope="module")
def ragged(samples):
    """Rows with different mazes, text before the latents, no latents, and two blocks."""
    picture, helper = samples[1].question[0], next(p for p in samples[1].answer if isinstance(p, Latent))
    before = Sample("a", (picture, Text("Read the map.")), (Text("<think>up</think>"), helper, Text("\\boxed{UP}")))
    without = Sample("b", (Text("Read the path."), picture), (Text("ice hole start goal"),))
    twice = Sample("c", (picture, picture, Text("q")), (helper, Text(" UP "), helper, Text("DOWN")))
    return [*samples[:3], before, without, twice]


def summed(net, batch, stage):
    """Losses as sums, so that rows add up."""
    asked = batch.targets_BT != IGNORE
    if stage == "stage2":
        hidden = net.recurrent(batch)
        return text_ce(net.logits(hidden[asked]), batch.targets_BT[asked]) * asked.sum()
    hidden, predicted, target = net.teacher_forced(batch)
    latent = latent_cosine(predicted, target) * len(target)
    return text_ce(net.logits(hidden[asked]), batch.targets_BT[asked]) * asked.sum() + latent


def gradients(net, loss):
    net.zero_grad(set_to_none=True)
    loss.backward()
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_a_batch_equals_its_rows_one_by_one(random_net, processor, ragged, stage):
    rows = ragged if stage == "stage2" else [row for row in ragged if any(isinstance(p, Latent) for p in row.answer)]
    collator = Collator(processor, 4, latents=True, helpers=stage == "stage1")
    together = summed(random_net, collator(rows), stage)
    grads = gradients(random_net, together)
    alone = [summed(random_net, collator([row]), stage) for row in rows]
    assert together.item() == pytest.approx(sum(loss.item() for loss in alone), rel=1e-6)
    for name, grad in gradients(random_net, sum(alone)).items():
        assert (grads[name] - grad).norm() <= 1e-6 * grad.norm() + 1e-9, name


def test_the_recurrence_with_a_cache_equals_recomputing_everything_for_each_latent(random_net, processor, ragged):
    """The slow, obvious version: one row, no cache, the whole prefix again for every latent."""
    for row in ragged:
        batch = Collator(processor, 4, latents=True, helpers=False)([row])
        fast = random_net.recurrent(batch)
        embeds = random_net.embed(batch)
        positions = random_net.positions(batch)
        for column in batch.latent_BT[0].nonzero().flatten().tolist():
            prefix = random_net.language_model(inputs_embeds=embeds[:, :column], position_ids=positions[:, :, :column])
            embeds = torch.cat([embeds[:, :column], prefix.last_hidden_state[:, -1:], embeds[:, column + 1 :]], 1)
        slow = random_net.language_model(inputs_embeds=embeds, position_ids=positions).last_hidden_state
        assert torch.allclose(fast, slow, atol=1e-6, rtol=1e-6)


def test_stage_2_gradients_run_through_all_latents(random_net, processor, samples):
    """Cutting the graph at the latents must change the gradient of the prompt's side."""
    batch = Collator(processor, 4, latents=True, helpers=False)(samples[:2])
    whole = gradients(random_net, summed(random_net, batch, "stage2"))
    original = random_net.run
    random_net.run = lambda *args: original(args[0].detach() if args[0].shape[1] == 1 else args[0], *args[1:])
    try:
        cut = gradients(random_net, summed(random_net, batch, "stage2"))
    finally:
        del random_net.run
    name = "backbone.model.language_model.layers.0.self_attn.q_proj.weight"
    assert (whole[name] - cut[name]).norm() > 1e-3 * whole[name].norm()


def test_the_vision_tower_gets_no_gradient_and_everything_else_does(random_net, processor, samples):
    batch = Collator(processor, 4, latents=True, helpers=True)(samples)
    grads = gradients(random_net, summed(random_net, batch, "stage1"))
    trainable = {name for name, p in random_net.named_parameters() if "visual" not in name}
    assert grads.keys() == trainable
    assert all(grad.abs().sum() > 0 for grad in grads.values())


def test_positions_are_those_of_stock_qwen(random_net, processor, ragged):
    batch = Collator(processor, 4, latents=True, helpers=False)(ragged)
    config = random_net.backbone.config
    kinds = (batch.tokens_BT == config.image_token_id).int()
    stock, _ = random_net.backbone.model.get_rope_index(
        batch.tokens_BT, kinds, image_grid_thw=batch.grids_N3, attention_mask=batch.real_BT.int()
    )
    assert torch.equal(random_net.positions(batch)[:, batch.real_BT], stock[:, batch.real_BT])


def test_positions_of_text_alone_count_up_over_real_columns():
    real = torch.tensor([[False, True, True, False, True]])
    positions = rotary_positions(torch.zeros_like(real), real, torch.empty(0, 3, dtype=torch.long))
    assert positions[:, real].tolist() == [[0, 1, 2]] * 3


def test_stage_1_without_helper_images_says_what_to_do(random_net, processor, samples):
    batch = Collator(processor, 4, latents=True, helpers=False)(samples[:1])
    with pytest.raises(ValueError, match="stage 1 needs helper images"):
        random_net.teacher_forced(batch)
