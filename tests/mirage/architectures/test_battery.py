"""What every architecture must pass; one is tested by being in the folder."""

import hashlib

import pytest
import torch
from safetensors.torch import load_file

from data_modules.images import open_image
from data_modules.samples import Picture, Text
from mirage_pl.mirage.batch import IGNORE
from mirage_pl.mirage.decoding.generate import Decoder
from mirage_pl.mirage.decoding.sampling import Decoding
from mirage_pl.mirage.losses import latent_cosine, text_ce
from mirage_pl.mirage.model import reference
from mirage_pl.mirage.model.backbone import load_backbone
from mirage_pl.mirage.model.latents import LatentVLM
from mirage_pl.mirage.model.recurrence import Jacobi, OnePass
from mirage_pl.mirage.probing.sight import use_eager_attention
from mirage_pl.mirage.stock.find import find_architecture


def losses(net, batch, stage):
    """The losses of a batch, summed over their terms."""
    if stage == 1:
        hidden, predicted, targets = net.teacher_forced(batch)
        latent = latent_cosine(predicted, targets) * len(targets)
    else:
        hidden, latent = net.recurrent(batch), 0
    asked = batch.targets_BT != IGNORE
    return text_ce(hidden[asked], net.architecture.head, batch.targets_BT[asked]) * asked.sum() + latent


def gradients(net, loss):
    """The loss's gradient by every learnt weight, in one row."""
    weights = [weight for weight in net.parameters() if weight.requires_grad]
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    return torch.cat([g.flatten() for g in found if g is not None])


def same(one, other):
    return torch.allclose(one, other, rtol=1e-10, atol=1e-10)


def stock_inputs(processor, *rows):
    """Questions as the stock processor reads them."""
    images = [[open_image(p.path, row.where) for p in row.question if isinstance(p, Picture)] for row in rows]
    texts = []
    for row in rows:
        content = [{"type": "text", "text": p.text} if isinstance(p, Text) else {"type": "image"} for p in row.question]
        texts.append(processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True))
    options = {"return_tensors": "pt", "add_special_tokens": False, "padding": True, "padding_side": "left"}
    inputs = processor(text=texts, images=images if any(images) else None, **options)
    return {key: value.double() if value.is_floating_point() else value for key, value in inputs.items()}


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("stage", [1, 2])
def test_a_batch_is_its_rows_one_by_one_with_their_gradients(net, collator, rows, stage):
    together = losses(net, collator(rows), stage)
    singles = sum(losses(net, collator([row]), stage) for row in rows)
    assert same(together, singles)
    assert same(gradients(net, together), gradients(net, singles))


@pytest.mark.usefixtures("exact")
def test_what_is_kept_of_earlier_columns_gives_what_running_them_again_gives(net, collator, rows):
    for row in rows:
        batch = collator([row])
        assert same(net.recurrent(batch)[0], reference.recurrent_row(net, batch))


@pytest.mark.usefixtures("exact")
def test_recomputed_activations_give_the_same_gradients(net, collator, rows):
    lean = LatentVLM(net.backbone, net.compression, net.recurrence, checkpointing=True)
    batch = collator(rows)
    assert same(gradients(lean, losses(lean, batch, 2)), gradients(net, losses(net, batch, 2)))


@pytest.mark.usefixtures("exact")
def test_as_many_sweeps_as_latents_are_the_sequential_recurrence(net, collator, rows):
    swept = LatentVLM(net.backbone, net.compression, Jacobi(4))
    batch = collator(rows)
    assert same(swept.recurrent(batch)[batch.real_BT], net.recurrent(batch)[batch.real_BT])


@pytest.mark.usefixtures("exact")
def test_blocks_written_at_once_are_those_of_running_everything_again(net, collator, rows):
    other = LatentVLM(net.backbone, net.compression, OnePass(4)).double().eval()
    torch.nn.init.normal_(other.recurrence.queries.weight)
    batch = collator(rows)
    for hidden_TD, real_T, row in zip(other.recurrent(batch), batch.real_BT, rows, strict=True):
        assert same(hidden_TD[real_T], reference.recurrent_row(other, collator([row])))


@pytest.mark.usefixtures("exact")
@torch.no_grad()
def test_a_question_is_what_the_stock_processor_and_the_stock_model_make_of_it(net, processor, collator, rows):
    prompts = collator.prompts(rows)
    hidden_BTD = net.columns(prompts, embeds := net.embed(prompts)).peek(embeds.inputs_BTD)
    for number, row in enumerate(rows):
        inputs = stock_inputs(processor, row)
        real_T = prompts.real_BT[number]
        assert prompts.tokens_BT[number, real_T].tolist() == inputs["input_ids"][0].tolist()
        assert same(net.logits(hidden_BTD[number, real_T]), net.backbone(**inputs).logits[0])


@pytest.mark.usefixtures("exact")
def test_a_question_that_several_rows_ask_is_run_once_with_the_same_states_gradients_and_answers(
    net, processor, collator, rows
):
    asked = [0, 1, 0, 2, 4, 1, 0]
    samples = [rows[number] for number in asked]
    apart, shared = collator.prompts(samples), collator.prompts(samples, asked)
    assert shared.shared.question_B.tolist() == [0, 1, 0, 2, 3, 1, 0]
    assert sum(shared.shared.spared) == apart.num_real - collator.prompts([rows[n] for n in (0, 1, 2, 4)]).num_real
    assert len(shared.images.grids) < len(apart.images.grids)
    ends = [net.columns(each, net.embed(each)) for each in (apart, shared)]
    separate_BTD = ends[0].finish(ends[0].embeds.inputs_BTD)
    assert ends[1].start == shared.shared.stop == shared.tokens_BT.shape[1]
    (together_BTD,) = ends[1].hidden
    one, other = (hidden_BTD[each.real_BT] for hidden_BTD, each in ((separate_BTD, apart), (together_BTD, shared)))
    assert same(one, other)
    weights_MD = torch.randn(one.shape, dtype=one.dtype, generator=torch.Generator().manual_seed(0))
    assert same(gradients(net, (one * weights_MD).sum()), gradients(net, (other * weights_MD).sum()))
    decoder = Decoder(processor, latent_size=3)
    answers = [decoder(net, each, Decoding(max_new_tokens=6)) for each in (apart, shared)]
    assert answers[0].tokens == answers[1].tokens


@pytest.mark.usefixtures("exact")
def test_answers_without_latents_are_those_of_the_stock_models_generate(net, processor, collator, rows):
    decoder = Decoder(processor, latent_size=3)
    net_without = Mute(net.backbone, net.compression, net.recurrence).eval()
    net_without.start = decoder.latent_start
    answers = decoder(net_without, collator.prompts(rows), Decoding(max_new_tokens=9)).tokens
    net.backbone.generation_config.eos_token_id = decoder.end
    net.backbone.generation_config.pad_token_id = decoder.pad
    for numbers in ([0], [1], [2], [3], [4], [0, 1, 2, 3]):  # the last as one padded batch, all with images
        inputs = stock_inputs(processor, *(rows[number] for number in numbers))
        written = net.backbone.generate(
            **inputs, max_new_tokens=9, do_sample=False, suppress_tokens=[decoder.latent_start]
        )
        for number, stock in zip(numbers, written[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
            assert answers[number] == (stock[: stock.index(decoder.end)] if decoder.end in stock else stock)


class Mute(LatentVLM):
    """A net that never opens a block."""

    start = -1

    def logits(self, hidden_MD):
        logits = super().logits(hidden_MD).clone()
        logits[..., self.start] = -torch.inf
        return logits


class Talkative(LatentVLM):
    """A net that opens a block wherever one number of its hidden state is above a level, and only there."""

    start, level = -1, 0.0

    def logits(self, hidden_MD):
        logits = super().logits(hidden_MD).clone()
        logits[..., self.start] = torch.where(hidden_MD[..., 0] > self.level, 1e9, -1e9)
        return logits


@pytest.mark.usefixtures("exact")
@torch.no_grad()
def test_answers_with_latents_are_those_of_the_reference_in_any_batch(net, processor, collator, rows):
    decoder = Decoder(processor, latent_size=3)
    talkative = Talkative(net.backbone, net.compression, net.recurrence).eval()
    talkative.start = decoder.latent_start
    prompts = collator.prompts(rows)
    hidden_BTD = net.columns(prompts, embeds := net.embed(prompts)).peek(embeds.inputs_BTD)
    talkative.level = hidden_BTD[:, -1, 0].sort().values[1:3].mean()  # two of the four rows begin with a block
    together = decoder(talkative, prompts, Decoding(max_new_tokens=12))
    assert sum(len(latents) for latents in together.latents) > 3
    for number, row in enumerate(rows):
        alone, sizes = collator.prompts([row]), [*prompts.sizes[number], *[3] * 12]
        expected = reference.greedy_answer(
            talkative, alone, sizes, decoder.latent_end, decoder.latent_start, decoder.latent_pad, decoder.end, 12
        )
        assert together.tokens[number] == expected


def test_the_tower_that_runs_is_the_one_in_the_file(folder):
    saved = {checksum(weight) for file in folder.glob("*.safetensors") for weight in load_file(file).values()}
    tower = [weight for module in find_architecture(load_backbone(str(folder))).tower for weight in module.parameters()]
    assert len({checksum(weight) for weight in tower}) > 10
    assert {checksum(weight) for weight in tower} <= saved


def checksum(weight):
    return hashlib.sha256(weight.detach().contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()


def test_a_trained_tower_learns_from_its_images_and_a_blank_one_gives_zeros(net, collator, rows):
    net.tower.requires_grad_(True)
    try:
        batch = collator(rows)
        weights = list(net.tower.parameters())
        grads = torch.autograd.grad(losses(net, batch, 2), weights, allow_unused=True)
        assert sum(g is not None and bool(g.any()) for g in grads) > len(weights) / 2
        blank = net.image_features(net.blank_image())
        assert [feature.shape[1] for feature in blank] == [net.width * (1 + net.architecture.deep)]
    finally:
        net.tower.requires_grad_(False)


@pytest.mark.usefixtures("exact")
@torch.no_grad()
def test_eager_attention_sees_the_same_columns(net, collator, rows):
    batch = collator(rows)
    fused = net.recurrent(batch)[batch.real_BT]
    with use_eager_attention(net.decoder):
        assert same(net.recurrent(batch)[batch.real_BT], fused)
