"""The law of the latent engine: a batch of B is B rows said slowly, in losses, gradients and numbers."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from data_modules.samples import Latent, Sample, Text
from mirage_pl.mirage.batch import IGNORE
from mirage_pl.mirage.collator import Collator
from mirage_pl.mirage.losses import latent_cosine, text_ce
from mirage_pl.mirage.model.latents import LatentVLM
from mirage_pl.mirage.model.recurrence import Jacobi, OnePass, Sequential
from mirage_pl.mirage.model.reference import recurrent_row, summed_losses
from mirage_pl.mirage.placing import rotary_positions


@pytest.fixture(scope="module")
def ragged(samples):
    """Different mazes, text before the latents, no latents, two blocks, three blocks each with its own size."""
    picture, helper = samples[1].question[0], next(p for p in samples[1].answer if isinstance(p, Latent))
    small = next(p for p in samples[0].answer if isinstance(p, Latent))
    before = Sample("a", (picture, Text("Read the map.")), (Text("<think>up</think>"), helper, Text("\\boxed{UP}")))
    without = Sample("b", (Text("Read the path."), picture), (Text("ice hole start goal"),))
    twice = Sample("c", (picture, picture, Text("q")), (helper, Text(" UP "), helper, Text("DOWN")))
    blocks = (replace(helper, size=1), Text("a"), replace(small, size=6), replace(helper, size=2), Text(" DOWN"))
    own = Sample("d", (picture, Text("Read.")), (Text("start "), *blocks))
    return [*samples[:3], before, without, twice, own]


def summed(net, batch, stage, chunk=None):
    """Losses as sums, so that rows add up."""
    asked = batch.targets_BT != IGNORE
    if stage == 2:
        hidden, latent = net.recurrent(batch), 0
    else:
        hidden, predicted, target = net.teacher_forced(batch)
        latent = latent_cosine(predicted, target) * len(target)
    return text_ce(hidden[asked], net.backbone.lm_head, batch.targets_BT[asked], chunk) * asked.sum() + latent


def gradients(net, loss):
    net.zero_grad(set_to_none=True)
    loss.backward()
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


def assert_same_gradients(found, expected, rel):
    assert found.keys() == expected.keys()
    for name, grad in expected.items():
        assert (found[name] - grad).norm() <= rel * grad.norm() + 1e-12, name


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("stage", [1, 2])
def test_a_batch_equals_the_reference_row_by_row(random_net, processor, ragged, stage, checkpointing):
    collator = Collator(processor, 4, latents=True, helpers=stage == 1)
    net = LatentVLM(random_net.backbone, random_net.compression, Sequential(), checkpointing)
    together = summed(net, collator(ragged), stage)
    grads = gradients(net, together)
    slow = [sum(summed_losses(net, collator([row]), stage).values()) for row in ragged]
    assert together.item() == pytest.approx(sum(loss.item() for loss in slow), rel=1e-10)
    assert_same_gradients(grads, gradients(net, sum(slow)), rel=1e-10)


def test_every_real_hidden_state_is_that_of_the_reference(random_net, processor, ragged):
    collator = Collator(processor, 4, latents=True, helpers=False)
    batch = collator(ragged)
    for hidden, real, row in zip(random_net.recurrent(batch), batch.real_BT, ragged, strict=True):
        assert torch.allclose(hidden[real], recurrent_row(random_net, collator([row])), atol=1e-10, rtol=1e-10)


def test_float32_is_as_near_as_float32_goes(random_net, processor, ragged):
    collator = Collator(processor, 4, latents=True, helpers=False)
    random_net.float()
    try:
        together = summed(random_net, collator(ragged), 2)
        grads = gradients(random_net, together)
        slow = [summed_losses(random_net, collator([row]), 2)["text"] for row in ragged]
        assert together.item() == pytest.approx(sum(loss.item() for loss in slow), rel=1e-6)
        assert_same_gradients(grads, gradients(random_net, sum(slow)), rel=1e-5)
    finally:
        random_net.double()


def calls(net):
    """Count the columns of every call of the first layer."""
    widths = []
    hook = net.decoder.layers[0].register_forward_pre_hook(lambda _, args: widths.append(args[0].shape[1]))
    return SimpleNamespace(widths=widths, remove=hook.remove)


def test_the_recurrence_costs_one_prefill_and_k_calls_for_all_rows_together(random_net, processor, ragged):
    batch = Collator(processor, 4, latents=True, helpers=False)(ragged[:4])
    block, counted = batch.blocks[0], calls(random_net)
    random_net.recurrent(batch)
    counted.remove()
    assert counted.widths == [block.start, 1, 1, 1, batch.tokens_BT.shape[1] - block.stop + 1]


def saved_bytes(net, loss_of):
    """Bytes that a forward pass keeps for the gradient."""
    kept = {}

    def keep(tensor):
        if not isinstance(tensor, torch.nn.Parameter):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = loss_of()
    del loss
    return sum(kept.values())


def test_checkpointing_keeps_a_fraction_of_the_activations(random_net, processor, ragged):
    batch = Collator(processor, 4, latents=True, helpers=False)(ragged)
    lean = LatentVLM(random_net.backbone, random_net.compression, Sequential(), checkpointing=True)
    all_bytes = saved_bytes(random_net, lambda: random_net.recurrent(batch).sum())
    assert saved_bytes(lean, lambda: lean.recurrent(batch).sum()) < all_bytes / 4


def jacobi(net, sweeps):
    return LatentVLM(net.backbone, net.compression, Jacobi(sweeps))


def test_as_many_sweeps_as_latents_are_the_sequential_recurrence_exactly(random_net, processor, ragged):
    batch = Collator(processor, 4, latents=True, helpers=False)(ragged)
    real, outcomes = batch.real_BT, []
    for net in (random_net, jacobi(random_net, 6)):  # the longest block has 6 latents
        hidden = net.recurrent(batch)[real]
        outcomes.append((hidden, gradients(net, (hidden * hidden.detach().cos()).sum())))
    assert torch.allclose(outcomes[0][0], outcomes[1][0], atol=1e-10)
    assert_same_gradients(outcomes[1][1], outcomes[0][1], rel=1e-8)


def test_each_sweep_makes_one_more_latent_exact(random_net, processor, samples):
    batch = Collator(processor, 4, latents=True, helpers=False)(samples[:2])
    start, exact = batch.blocks[0].start, random_net.recurrent(batch)
    for sweeps in (1, 2, 3):
        near = jacobi(random_net, sweeps).recurrent(batch)
        right = [torch.allclose(near[:, start + n], exact[:, start + n], atol=1e-10) for n in range(4)]
        assert right == [n < sweeps for n in range(4)]


def test_sweeps_run_the_whole_block_at_once(random_net, processor, samples):
    batch = Collator(processor, 8, latents=True, helpers=False)(samples)
    counted = calls(random_net)
    jacobi(random_net, 3).recurrent(batch)
    counted.remove()
    block = batch.blocks[0]
    assert counted.widths == [block.start, 8, 8, batch.tokens_BT.shape[1] - block.start]


def one_pass(net, count=6):
    """The random net with queries that differ much from each other."""
    torch.manual_seed(3)
    other = LatentVLM(net.backbone, net.compression, OnePass(count)).double().eval()
    torch.nn.init.normal_(other.recurrence.queries.weight)
    return other


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_block_written_at_once_is_that_of_the_reference_row_by_row(random_net, processor, ragged, checkpointing):
    net, collator = one_pass(random_net), Collator(processor, 4, latents=True, helpers=False)
    net.checkpointing = checkpointing
    together = summed(net, collator(ragged), 2)
    grads = gradients(net, together)
    slow = [summed_losses(net, collator([row]), 2)["text"] for row in ragged]
    assert together.item() == pytest.approx(sum(loss.item() for loss in slow), rel=1e-10)
    assert_same_gradients(grads, gradients(net, sum(slow)), rel=1e-8)
    assert grads["recurrence.queries.weight"].norm() > 0


def test_a_block_written_at_once_takes_two_calls(random_net, processor, samples):
    net, batch = one_pass(random_net, 8), Collator(processor, 8, latents=True, helpers=False)(samples)
    counted = calls(net)
    net.recurrent(batch)
    counted.remove()
    block = batch.blocks[0]
    assert counted.widths == [block.start, 8, batch.tokens_BT.shape[1] - block.start]


def test_what_queries_predict_depends_on_no_latent_of_their_block_but_on_those_before(random_net, processor, ragged):
    """Teacher-forced: other true latents in the first block change what the second one's queries predict."""
    net, batch = one_pass(random_net), Collator(processor, 4, latents=True, helpers=True)([ragged[5]])
    predicted, targets = net.teacher_forced(batch)[1:]
    for block in (0, 1):
        changed = targets.clone()
        changed[4 * block : 4 * block + 4] += 1
        net.latent_targets = lambda _, latents=changed: latents
        other = net.teacher_forced(batch)[1]
        same = [torch.allclose(other[n : n + 4], predicted[n : n + 4], atol=1e-12) for n in (0, 4)]
        assert same == [True, block == 1]


def test_what_is_not_taught_is_what_the_model_writes(random_net, processor, ragged):
    net, batch = one_pass(random_net), Collator(processor, 4, latents=True, helpers=True)(ragged)
    none, free = torch.zeros_like(batch.latent_BT), net.recycled(batch)
    for one, other in zip(net.teacher_forced(batch, none), free, strict=True):
        assert torch.allclose(one, other, atol=1e-12)
    assert not torch.allclose(net.teacher_forced(batch)[0], free[0])


def test_latents_that_are_not_shown_say_nothing(random_net, processor, samples):
    """Sequential: with all of a block hidden, its predictions are the same whatever the latents are."""
    batch = Collator(processor, 4, latents=True, helpers=True)(samples[:2])
    net = LatentVLM(random_net.backbone, random_net.compression, Sequential())
    seen, targets = net.teacher_forced(batch)[1:]
    hidden = net.teacher_forced(batch, torch.zeros_like(batch.latent_BT))[1]
    net.latent_targets = lambda _: targets + 1
    assert torch.equal(net.teacher_forced(batch, torch.zeros_like(batch.latent_BT))[1], hidden)
    assert not torch.allclose(net.teacher_forced(batch)[1], seen)


@pytest.mark.parametrize("build", [one_pass, lambda net: net])
def test_no_gradient_runs_through_latents_where_it_is_not_wanted(random_net, processor, samples, build):
    """The text's gradient to the columns before the block is gone, but for what they are read by."""
    net, batch = build(random_net), Collator(processor, 4, latents=True, helpers=False)(samples[:2])
    name = (
        "backbone.model.language_model.norm.weight"  # of hidden states that become latents, and of those with targets
    )
    whole, cut = (
        gradients(net, net.written(batch, through)[0][:, batch.blocks[0].stop :].sum())[name]
        for through in (True, False)
    )
    assert not torch.allclose(whole, cut)


def test_queries_that_no_block_uses_have_zero_gradients(random_net, processor, ragged):
    net, batch = one_pass(random_net), Collator(processor, 4, latents=True, helpers=False)([ragged[4]])
    assert not gradients(net, net.recurrent(batch).sum())["recurrence.queries.weight"].any()


def test_a_block_with_more_latents_than_queries_is_refused(random_net, processor, ragged):
    batch = Collator(processor, 4, latents=True, helpers=False)(ragged)
    with pytest.raises(ValueError, match=r"a block has 6 latents, but recurrence.count=5 queries; raise it to 6"):
        one_pass(random_net, 5).recurrent(batch)


def test_no_sweep_is_refused():
    with pytest.raises(ValueError, match=r"recurrence.sweeps=0 must be 1 or more"):
        Jacobi(0)


class Severed(Sequential):
    """Latents that pass no gradient on."""

    def __call__(self, *args):
        return super().__call__(*args).detach()


def test_stage_2_gradients_run_through_all_latents(random_net, processor, samples):
    """Cutting the graph at the latents must change the gradient of the prompt's side."""
    batch = Collator(processor, 4, latents=True, helpers=False)(samples[:2])
    whole = gradients(random_net, summed(random_net, batch, 2))
    cut = LatentVLM(random_net.backbone, random_net.compression, Severed())
    name = "backbone.model.language_model.layers.0.self_attn.q_proj.weight"
    severed = gradients(cut, summed(cut, batch, 2))
    assert (whole[name] - severed[name]).norm() > 1e-3 * whole[name].norm()


def test_the_vision_tower_gets_no_gradient_and_everything_else_does(random_net, processor, samples):
    batch = Collator(processor, 4, latents=True, helpers=True)(samples)
    grads = gradients(random_net, summed(random_net, batch, 1))
    trainable = {name for name, p in random_net.named_parameters() if "visual" not in name}
    assert grads.keys() == trainable
    assert all(grad.abs().sum() > 0 for grad in grads.values())


def test_positions_are_those_of_stock_qwen(random_net, processor, ragged):
    batch = Collator(processor, 4, latents=True, helpers=False)(ragged)
    kinds = (batch.tokens_BT == random_net.backbone.config.image_token_id).int()
    stock, _ = random_net.backbone.model.get_rope_index(
        batch.tokens_BT, kinds, image_grid_thw=torch.tensor(batch.images.grids), attention_mask=batch.real_BT.int()
    )
    assert torch.equal(batch.positions_3BT[:, batch.real_BT], stock[:, batch.real_BT])


def test_positions_of_text_alone_count_up_over_real_columns():
    real = torch.tensor([[False, True, True, False, True]])
    positions = rotary_positions(torch.zeros_like(real), real, torch.empty(0, 3, dtype=torch.long))
    assert positions[:, real].tolist() == [[0, 1, 2]] * 3


def test_features_that_are_known_stand_where_the_towers_would(random_net, processor, ragged):
    batch = Collator(processor, 4, latents=True, helpers=False)(ragged)
    features = random_net.image_features(batch.images)
    known = tuple(number % 2 == 0 for number in range(len(features)))
    sizes = [t * h * w for t, h, w in batch.images.grids]
    pixels = [p for p, k in zip(batch.images.pixels_PF.split(sizes), known, strict=True) if not k]
    stored = torch.cat([f for f, k in zip(features, known, strict=True) if k])
    mixed = replace(batch, images=replace(batch.images, known=known, pixels_PF=torch.cat(pixels), features_MD=stored))
    assert torch.allclose(random_net.embed(mixed).inputs_BTD, random_net.embed(batch).inputs_BTD, atol=1e-10)


def test_stage_1_without_helper_images_says_what_to_do(random_net, processor, samples):
    batch = Collator(processor, 4, latents=True, helpers=False)(samples[:1])
    with pytest.raises(ValueError, match="stage 1 needs helper images"):
        random_net.teacher_forced(batch)


def test_a_stage_1_batch_that_happens_to_have_no_blocks_has_no_latent_loss(random_net, processor, ragged):
    batch = Collator(processor, 4, latents=True, helpers=True)([ragged[4]])
    _, predicted, target = random_net.teacher_forced(batch)
    assert latent_cosine(predicted, target).item() == 0
