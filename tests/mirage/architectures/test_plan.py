"""What is planned of every architecture is what it has: parameters, activations, operations."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from callbacks.freeze import Freeze
from mirage_pl.mirage.footprint import Skeleton, build_skeleton
from mirage_pl.mirage.model.backbone import load_backbone
from mirage_pl.mirage.stock.find import find_architecture
from tests.conftest import compose
from tests.mirage.test_footprint import Named, bytes_of_a_layer


def test_a_plan_has_the_parameters_of_the_real_model_and_of_what_a_stage_trains(architecture, folder):
    real = Named(load_backbone(str(folder)))
    skeleton = build_skeleton(str(folder), None)
    parts = skeleton.parameters_by_part()
    assert sum(parts.values()) == sum(weight.numel() for weight in real.parameters())
    assert all(parts[part] for part in ("merger", "tower", "embedding", "layers"))
    tower = compose("train", f"model={architecture}", f"model.path={folder}").model.tower
    Freeze(list(tower)).setup(None, real, "fit")
    learnt = sum(weight.numel() for weight in real.parameters() if weight.requires_grad)
    assert sum(parts[part] for part in skeleton.trained_parts(list(tower))) == learnt


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_activations_are_about_what_a_real_layer_that_attends_keeps(folder, dtype):
    model = load_backbone(str(folder), str(dtype).removeprefix("torch."))
    if len(find_architecture(model).attending) < len(find_architecture(model).kinds):
        pytest.skip("its layer before the last keeps a state")
    planned = Skeleton(model.config).layer_activations(48, dtype.itemsize)
    assert bytes_of_a_layer(model, rows=2, columns=48) == pytest.approx(2 * 48 * planned, rel=0.25)


@torch.no_grad()
def test_the_tower_has_as_many_operations_as_are_counted(folder, collator, rows):
    model = load_backbone(str(folder), attention="eager")
    images = collator(rows).images
    with FlopCounterMode(display=False) as counter:
        find_architecture(model).image_features(images.pixels_PF, images.grids)
    assert counter.get_total_flops() == pytest.approx(find_architecture(model).tower_flops(images.grids), rel=0.01)


def test_the_decoder_has_as_many_operations_as_are_counted(folder):
    model = load_backbone(str(folder), attention="eager")
    architecture, length = find_architecture(model), 40
    if len(architecture.attending) < len(architecture.kinds):
        pytest.skip("a state in chunks takes other operations than one column after another")
    architecture.text_config.sliding_window = length  # eager attention computes what is beyond a window, too
    embeds = model.get_input_embeddings()(torch.arange(length)[None])
    with FlopCounterMode(display=False) as counter:
        hidden = architecture.stock_hidden(embeds, torch.arange(length)[None], (), [])
        architecture.head(hidden[:, :7]).sum().backward()
    by_kind = counter.get_flop_counts()["Global"]
    attention = by_kind.pop(torch.ops.aten.bmm)
    assert architecture.decoder_flops([length], 7) == pytest.approx(sum(by_kind.values()) + attention / 2, rel=0.02)
