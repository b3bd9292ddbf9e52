"""The formulas against operations counted while a model really runs, and against numbers worked out by hand."""

from copy import deepcopy
from functools import partial
from importlib import import_module

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from mirage_pl.mirage.model.backbone import load_backbone
from mirage_pl.mirage.stock.delta import CHUNK, run_rule
from mirage_pl.mirage.stock.find import find_architecture
from mirage_pl.mirage.stock.flops import decoder_flops, decoder_parameters, step_flops, tower_forward_flops, twice_pairs

RAGGED_GRIDS = [(1, 12, 10), (1, 6, 20), (2, 8, 8)]
"""Windows are 8 x 8 patches: some are cut off, one image is a window, and one has two frames."""


@pytest.fixture(scope="module")
def grouped(random_net):
    """The tiny architecture with three query heads a key head.

    Eager attention is plain products of matrices, which are counted as they are: nothing recomputed, no mask obeyed.
    """
    config = deepcopy(random_net.backbone.config)
    config.text_config.num_key_value_heads = 2
    return Qwen2_5_VLForConditionalGeneration._from_config(config, attn_implementation="eager")


@pytest.fixture(scope="module")
def seven_billion():
    """The numbers of Qwen2.5-VL-7B."""
    text = {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
    }
    return Qwen2_5_VLConfig(text_config=text, vision_config={"hidden_size": 1280, "out_hidden_size": 3584})


def counted(run):
    """Operations of ``run()``: those of attention, and all others."""
    with FlopCounterMode(display=False) as counter:
        run()
    by_kind = counter.get_flop_counts()["Global"]
    attention = by_kind.pop(torch.ops.aten.bmm)
    return attention, sum(by_kind.values())


def test_the_decoder_costs_what_a_counted_forward_and_backward_cost_row_by_row(grouped):
    def train_on(length, supervised):
        hidden = grouped.model.language_model(input_ids=torch.arange(length)[None]).last_hidden_state
        grouped.lm_head(hidden[:, :supervised]).sum().backward()

    text = grouped.config.text_config
    rows = {24: 7, 40: 9, 64: 30}
    counts = [counted(lambda row=row: train_on(*row)) for row in rows.items()]
    attention, others = (sum(kind) for kind in zip(*counts, strict=True))
    without_attention = 6 * decoder_parameters(text) * sum(rows) + 6 * 192 * 384 * sum(rows.values())
    assert others == without_attention
    causal = decoder_flops(text, list(rows), sum(rows.values())) - without_attention
    assert causal == pytest.approx(
        attention / 2, rel=0.01
    )  # the counter sees the masked half too, and the rotary angles


def test_the_tower_costs_what_a_counted_forward_costs(grouped):
    grids = torch.tensor(RAGGED_GRIDS)
    pixels = torch.zeros(int(grids.prod(1).sum()), 3 * 2 * 14 * 14)
    with torch.no_grad():
        total = sum(counted(lambda: grouped.model.visual(pixels, grids)))
    assert tower_forward_flops(grouped.config.vision_config, RAGGED_GRIDS) == total


@pytest.mark.parametrize("name", ["qwen3_vl", "qwen3_5"])
def test_a_tower_that_sees_whole_images_costs_what_a_counted_forward_costs(name, tmp_path):
    import_module(f"tests.mirage.architectures.{name}").write_folder(tmp_path)
    network = find_architecture(load_backbone(str(tmp_path), attention="eager", random_weights=True))
    grids = RAGGED_GRIDS[:2]
    pixels = torch.zeros(2 * 120, 3 * 2 * 14 * 14)
    with torch.no_grad():
        total = sum(counted(lambda: network.image_features(pixels, grids)))
    assert network.tower_flops(grids) == total


def test_a_trained_tower_costs_a_counted_backward_too(grouped):
    grids = torch.tensor(RAGGED_GRIDS)
    pixels = torch.zeros(int(grids.prod(1).sum()), 3 * 2 * 14 * 14, requires_grad=True)
    total = sum(counted(lambda: grouped.model.visual(pixels, grids).pooler_output.sum().backward()))
    assert (
        step_flops(
            partial(decoder_flops, grouped.config.text_config),
            partial(tower_forward_flops, grouped.config.vision_config),
            [],
            0,
            RAGGED_GRIDS,
            tower_trained=True,
        )
        == total
    )


def test_the_delta_rule_costs_what_is_counted_but_for_what_a_chunk_computes_within_itself():
    """As one chunk: what it multiplies within itself, and for the gradient of the systems that it solves."""
    heads, key, value, T = 4, 8, 12, CHUNK

    def drawn(*shape):
        return torch.randn(1, *shape).requires_grad_()

    queries, keys, values, state = drawn(T, heads, key), drawn(T, heads, key), drawn(T, heads, value), drawn(4, 8, 12)

    def run():
        mixed, new = run_rule(queries, keys, values, -drawn(T, heads).exp(), drawn(T, heads).sigmoid(), state)
        (mixed.sum() + new.sum()).backward()

    products, solved = 3 * (4 * key + 2 * value), 2 * (key + value)
    assert counted(run)[0] == heads * (18 * key * value * T + (products + solved) * T * T)


def test_a_step_is_decoder_plus_frozen_tower(grouped):
    parts = decoder_flops(grouped.config.text_config, [5, 9], 3) + tower_forward_flops(
        grouped.config.vision_config, RAGGED_GRIDS
    )
    assert (
        step_flops(
            partial(decoder_flops, grouped.config.text_config),
            partial(tower_forward_flops, grouped.config.vision_config),
            [5, 9],
            3,
            RAGGED_GRIDS,
        )
        == parts
    )


def test_qwen_7b_on_600_tokens_and_one_image_of_384_pixels(seven_billion):
    """The image is 28 x 28 patches: 9 whole windows of 8 x 8, 6 of 4 x 8 and one of 4 x 4 at its edges."""
    text, vision = seven_billion.text_config, seven_billion.vision_config
    assert decoder_parameters(text) == pytest.approx(6.525e9, rel=1e-3)
    layers, attention = 6 * 6.525e9 * 600, 12 * 28 * 3584 * 600**2 / 2
    assert (layers, attention) == (pytest.approx(23.5e12, rel=1e-2), pytest.approx(0.217e12, rel=1e-2))
    assert decoder_flops(text, [600], 0) == pytest.approx(layers + attention, rel=1e-3)
    assert decoder_flops(text, [600], 600) == pytest.approx(layers + attention + 6 * 0.545e9 * 600, rel=1e-3)

    blocks, embedding, merger = 32 * 19.686e6, 1.505e6, 44.565e6 / 4
    pairs = 4 * 784**2 + 28 * (9 * 64**2 + 6 * 32**2 + 16**2)
    tower = 2 * (blocks + embedding + merger) * 784 + 4 * 1280 * pairs
    assert tower_forward_flops(vision, [(1, 28, 28)]) == pytest.approx(tower, rel=1e-3)
    assert step_flops(
        partial(decoder_flops, seven_billion.text_config),
        partial(tower_forward_flops, vision),
        [600],
        600,
        [(1, 28, 28)],
    ) == pytest.approx(26.7e12, rel=1e-2)


def test_within_a_window_a_column_attends_to_that_many_and_the_diagonal_counts_half():
    for length, window in ((50, 8), (8, 8), (3, 8), (5, None)):
        pairs = sum(min(column + 1, window or length) for column in range(length))
        assert twice_pairs(length, window) == 2 * pairs - min(length, window or length)
