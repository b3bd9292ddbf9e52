"""The grouped attention against the stock tower's loop, on images of one window, many, and narrow ones."""

import copy
import pickle

import pytest
import torch
from torch.nn import functional
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
    Qwen2_5_VisionTransformerPretrainedModel,
    Qwen2_5_VLVisionAttention,
)

from mirage_pl.mirage.model.backbone import load_backbone
from mirage_pl.mirage.stock.tower import GroupedVisionAttention, group_chunks, streamline
from tests.conftest import REPO

# Rows and columns of patches. A window is 8 by 8 patches, so a 12x20 image has windows of 64, 32 and 16 patches.
GRIDS = {
    "one image smaller than a window": [(6, 6)],
    "one image with narrow windows": [(12, 20)],
    "one image with two windows": [(8, 16)],
    "equal images": [(6, 6)] * 5,
    "equal images with narrow windows": [(12, 20)] * 3,
    "different images": [(6, 6), (12, 20), (6, 6), (8, 16), (20, 10), (2, 4)],
    "equal areas, different shapes": [(4, 16), (8, 8), (16, 4)],
}
# By hand: distinct window lengths in the two window layers, distinct image areas in the one full layer between them.
CALLS = dict(zip(GRIDS, [(1, 1), (3, 1), (1, 1), (1, 1), (3, 1), (5, 5), (2, 1)], strict=True))


def tower(attention="sdpa"):
    """A stock tower with random weights: three layers, the middle one over whole images."""
    config = Qwen2_5_VLVisionConfig(
        depth=3,
        hidden_size=32,
        intermediate_size=48,
        num_heads=2,
        out_hidden_size=24,
        fullatt_block_indexes=[1],
        window_size=112,
    )
    torch.manual_seed(0)
    return Qwen2_5_VisionTransformerPretrainedModel._from_config(
        config, attn_implementation=attention, dtype=torch.float64
    ).eval()


def grouped_copy(stock):
    ours = copy.deepcopy(stock)
    streamline(ours)
    return ours


def batch(grids, seed=1):
    """Random patches ``[P, 1176]`` of images with these grids."""
    patches = sum(rows * columns for rows, columns in grids)
    pixels = torch.randn(patches, 3 * 2 * 14 * 14, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return pixels, torch.tensor([(1, *grid) for grid in grids])


def features(visual, inputs):
    return visual(*inputs).pooler_output


@pytest.fixture
def spied(monkeypatch):
    """The query shapes of all attention calls."""
    shapes, stock = [], functional.scaled_dot_product_attention

    def spy(query, *rest, **options):
        shapes.append(tuple(query.shape))
        return stock(query, *rest, **options)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", spy)
    return shapes


@pytest.mark.parametrize("grids", GRIDS.values(), ids=GRIDS)
def test_features_and_gradients_are_the_stock_towers(grids):
    stock = tower()
    ours, inputs = grouped_copy(stock), batch(grids)
    theirs, mine = features(stock, inputs), features(ours, inputs)
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)
    weights = torch.randn_like(theirs)
    (theirs * weights).sum().backward()
    (mine * weights).sum().backward()
    for (name, expected), actual in zip(stock.named_parameters(), ours.parameters(), strict=True):
        assert expected.grad.abs().max() > 0, name
        torch.testing.assert_close(actual.grad, expected.grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", GRIDS)
def test_a_layer_calls_the_kernel_once_for_every_distinct_length(spied, name):
    features(grouped_copy(tower()), batch(GRIDS[name]))
    window, full = CALLS[name]
    assert len(spied) == window + full + window


def test_many_equal_images_are_one_call_a_layer_and_stay_where_they_are(spied):
    features(grouped_copy(tower()), batch([(6, 6)] * 32))
    assert spied == [(32, 2, 36, 16)] * 3
    assert group_chunks(torch.arange(0, 33 * 36, 36)) == ([(32, 36)], None, None)


def test_chunks_are_grouped_once_a_pass_for_windows_and_once_for_whole_images():
    ours = grouped_copy(tower())
    for _ in range(2):
        before = group_chunks.cache_info().misses
        features(ours, batch(GRIDS["different images"]))
        assert group_chunks.cache_info().misses == before + 2


def test_batches_in_a_row_with_other_grids_of_the_same_size_are_not_confused():
    stock = tower()
    ours = grouped_copy(stock)
    for seed in range(6):
        inputs = batch([[(4, 4), (8, 16)], [(8, 16), (4, 4)], [(12, 12)]][seed % 3], seed)
        with torch.no_grad():
            torch.testing.assert_close(features(ours, inputs), features(stock, inputs), rtol=0, atol=1e-10)


def test_bfloat16_rounds_like_the_stock_tower():
    stock = tower().bfloat16()
    inputs = batch(GRIDS["different images"])
    with torch.no_grad():
        torch.testing.assert_close(features(grouped_copy(stock), inputs), features(stock, inputs), rtol=2e-2, atol=2e-2)


def test_gradient_checkpointing_recomputes_the_same_gradients():
    plain = grouped_copy(tower())
    frugal = copy.deepcopy(plain).train()
    frugal.gradient_checkpointing_enable()
    for visual in (plain, frugal):
        features(visual, batch(GRIDS["different images"])).square().sum().backward()
    for expected, actual in zip(plain.parameters(), frugal.parameters(), strict=True):
        torch.testing.assert_close(actual.grad, expected.grad, rtol=1e-10, atol=1e-10)


def test_a_used_tower_can_be_copied_and_pickled():
    ours, inputs = grouped_copy(tower()), batch(GRIDS["different images"])
    expected = features(ours, inputs)
    for again in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert torch.equal(features(again, inputs), expected)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_only_sdpa_attention_is_replaced_and_the_weights_stay_the_same_objects(attention):
    stock = tower(attention)
    before = dict(stock.named_parameters())
    streamline(stock)
    kind = GroupedVisionAttention if attention == "sdpa" else Qwen2_5_VLVisionAttention
    assert all(type(block.attn) is kind for block in stock.blocks)
    after = dict(stock.named_parameters())
    assert list(after) == list(before)
    assert all(after[name] is before[name] for name in before)


def test_a_loaded_model_is_grouped_and_saved_under_the_stock_names(tmp_path):
    torch.manual_seed(1)
    ours = load_backbone(str(REPO / "assets" / "tiny"), random_weights=True)
    assert all(isinstance(block.attn, GroupedVisionAttention) for block in ours.model.visual.blocks)
    ours.save_pretrained(tmp_path)
    stock, report = Qwen2_5_VLForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert list(stock.state_dict()) == list(ours.state_dict())
    assert all(torch.equal(tensor, ours.state_dict()[name]) for name, tensor in stock.state_dict().items())
