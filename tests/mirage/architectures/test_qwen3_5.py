"""Layers that keep a state: padding leaves it alone, gradients flow through it, and nothing can be hidden from it."""

import json
import math
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils.flop_counter import FlopCounterMode

from mirage_pl.engine.training import fit
from mirage_pl.mirage.decoding.generate import Decoder
from mirage_pl.mirage.model import reference
from mirage_pl.mirage.model.backbone import load_backbone
from mirage_pl.mirage.probing.panels import Panels
from mirage_pl.mirage.probing.sight import record_attention
from mirage_pl.mirage.stock.delta import CHUNK, DeltaState, order_columns
from mirage_pl.mirage.stock.flops import delta_decoder_parameters
from tests.mirage.architectures.test_battery import gradients, losses, same

pytestmark = pytest.mark.parametrize("architecture", ["qwen3_5"], indirect=True, scope="session")


@pytest.fixture
def layer(net):
    return net.decoder.layers[0].linear_attn


def run(layer, hidden_BSD, real_BS=None, state=()):
    """Outputs and new state of one call."""
    cache = DeltaState(state)
    real_BS = torch.ones(hidden_BSD.shape[:2], dtype=torch.bool) if real_BS is None else real_BS
    return layer(hidden_BSD, cache_params=cache, attention_mask=order_columns(real_BS)), cache.keep()


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def read(*rows):
    return torch.tensor([[letter == "x" for letter in row] for row in rows])


@pytest.mark.usefixtures("exact")
def test_real_columns_see_what_they_would_without_padding_wherever_it_stands(layer):
    calls = [
        read("__xxxxx", "xxxxx__", "x__x_xx", "______x", "_______"),
        read("_xx", "___", "x__", "x_x", "_x_"),
        read("x", "x", "_", "x", "_"),
    ]
    hidden = [draw(5, calls[number].shape[1], 48, seed=number) for number in range(3)]
    state, outputs = (), []
    for hidden_BSD, real_BS in zip(hidden, calls, strict=True):
        output_BSD, state = run(layer, hidden_BSD, real_BS, state)
        assert output_BSD.isfinite().all()
        outputs.append(output_BSD)
    real_BT, hidden_BTD, outputs_BTD = (torch.cat(parts, dim=1) for parts in (calls, hidden, outputs))
    for row in range(5):
        alone_1TD = hidden_BTD[row, real_BT[row]].unsqueeze(0)
        assert same(outputs_BTD[row, real_BT[row]], layer(alone_1TD)[0]), "stock code, without padding"
        left = run(layer, alone_1TD)[1]
        assert all(same(piece[row], expected[0]) for piece, expected in zip(state[0], left[0], strict=True))


def test_a_call_in_which_a_row_is_all_padding_leaves_its_state_bitwise(layer):
    _, state = run(layer, draw(2, 6, 48), read("xxxxxx", "_x_x__"))
    for width in (1, 4, CHUNK + 1):
        real_BS = torch.zeros(2, width, dtype=torch.bool)
        real_BS[0, width // 2] = True
        _, after = run(layer, 1e3 * draw(2, width, 48, seed=width), real_BS, state)
        for piece, earlier in zip(after[0], state[0], strict=True):
            assert torch.equal(piece[1], earlier[1])
            assert not torch.equal(piece[0], earlier[0])


@pytest.mark.usefixtures("exact")
def test_columns_one_by_one_are_columns_in_chunks_however_they_are_cut(layer):
    T = 2 * CHUNK + 7
    hidden_BTD, real_BT = draw(2, T, 48), torch.ones(2, T, dtype=torch.bool)
    real_BT[0, 5:40], real_BT[1, :3] = False, False
    whole_BTD, left = run(layer, hidden_BTD, real_BT)
    for widths in ([1] * T, [1, 2, 1, CHUNK + 1, T - CHUNK - 5]):
        state, outputs = (), []
        for hidden_BSD, real_BS in zip(hidden_BTD.split(widths, 1), real_BT.split(widths, 1), strict=True):
            output_BSD, state = run(layer, hidden_BSD, real_BS, state)
            outputs.append(output_BSD)
        assert same(torch.cat(outputs, dim=1)[real_BT], whole_BTD[real_BT])
        assert all(same(piece, expected) for piece, expected in zip(state[0], left[0], strict=True))


@pytest.mark.usefixtures("exact")
def test_gradients_through_all_latents_are_those_of_the_stock_model_run_anew_for_each(net, collator, rows):
    for row in rows[1:3]:
        batch = collator([row])
        assert batch.latent_BT.sum() >= 3
        expected = reference.summed_losses(net, batch, 2)["text"]
        loss = losses(net, batch, 2)
        assert same(loss, expected)
        assert same(gradients(net, loss), gradients(net, expected))


@torch.no_grad()
def test_a_sweep_leaves_the_state_as_it_was(net, collator, rows):
    batch = collator(rows)
    embeds = net.embed(batch)
    columns = net.columns(batch, embeds)
    first, later = embeds.inputs_BTD.split([20, batch.tokens_BT.shape[1] - 20], dim=1)
    columns.advance(first)
    before = deepcopy(columns.states)
    once, again = columns.peek(later), columns.peek(later)
    assert torch.equal(once, again)
    for state, earlier in zip(columns.states, before, strict=True):
        assert all(
            torch.equal(*pair) for piece in zip(state, earlier, strict=True) for pair in zip(*piece, strict=True)
        )


def test_bfloat16_gives_finite_losses_and_gradients(net, collator, rows):
    small = deepcopy(net).bfloat16()
    batch = collator(rows).to("cpu")
    loss = losses(small, batch, 2)
    assert loss.isfinite()
    assert gradients(small, loss).isfinite().all()


def test_a_mask_that_hides_columns_is_refused(net):
    with pytest.raises(ValueError, match="a bottleneck hides columns from later ones, but 4 of the 5 layers"):
        net.architecture.check_masks("a bottleneck")


@torch.no_grad()
def test_attention_is_that_of_the_layer_that_attends_and_the_picture_says_so(net, collator, rows):
    batch = collator(rows)
    shares_LNT = record_attention(net, batch, net.embed(batch))
    assert shares_LNT.shape == (1, int(batch.latent_BT.sum()), batch.tokens_BT.shape[1])
    assert torch.allclose(shares_LNT.sum(-1), torch.ones(shares_LNT.shape[:2], dtype=shares_LNT.dtype), atol=1e-5)
    decoder = Decoder(collator.processor, 3)
    answer = [decoder.latent_start, *[decoder.latent_pad] * 3, decoder.latent_end]
    panels = Panels(net, collator, rows[:1], [answer], [draw(3, net.width)], [], [0])
    strip = next(iter(panels.strips(0)))
    assert strip.label.split() == ["attention", "to", "the", "input", "image", "in", "1", "of", "5", "layers"]


def test_the_head_that_predicts_further_tokens_is_left_in_the_file(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {"mtp.fc.weight": torch.zeros(2, 2)}, tmp_path / "model.safetensors", {"format": "pt"})
    assert set(load_backbone(str(tmp_path)).state_dict()) == set(load_backbone(str(folder)).state_dict())


def counts(run):
    """Operations of ``run()`` by kind."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_flop_counts()["Global"]


def test_the_products_of_the_decoder_cost_what_is_counted(net):
    decoder, head, text = deepcopy(net.decoder), net.architecture.head, net.architecture.text_config
    channels = 4 * 80 * 4  # of four layers, each multiplied with the four inputs before
    counted = counts(lambda: head(decoder(torch.arange(40)[None], use_cache=False)[0][:, :9]).sum().backward())
    assert counted[torch.ops.aten.mm] == 6 * (delta_decoder_parameters(text) - channels) * 40 + 6 * 48 * 384 * 9
    assert counted[torch.ops.aten.convolution] == 2 * channels * (40 + 3), "its own padding, too"
    attention, states = 12 * 4 * 32 * 40**2 // 2, 18 * 4 * 4 * 8 * 12 * 40
    products = 6 * delta_decoder_parameters(text) * 40 + 6 * 48 * 384 * 9
    assert net.architecture.decoder_flops([40], 9) == products + attention + states


def test_it_trains_from_stage_1_to_stage_2(folder, train_config):
    model = ["model=qwen3_5", f"model.path={folder}", "model.cell_px=28", "model.dtype=float32"]
    once = ["trainer.max_steps=1", "trainer.val_check_interval=1", "trainer.accelerator=cpu"]
    for stage in ("stage1", "stage2"):
        cfg = train_config(*model, *once, f"stage={stage}")
        fit.run(cfg)
        metrics = json.loads((Path(cfg.run_dir) / "metrics.json").read_text())
        assert math.isfinite(metrics["val/loss"])
