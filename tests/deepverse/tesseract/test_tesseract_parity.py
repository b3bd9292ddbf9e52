"""TesserAct's network: the release's names and sizes, and the public reference's own numbers on its inputs."""

import pytest
import torch

from mirage_pl.deepverse.model.tesseract import Tesseract, TesseractSizes
from mirage_pl.deepverse.model.tesseract_head import find_angles, gather, place_in_base, scatter
from tests.deepverse.test_parity import cases, close, compare


def build(rebuild, expected, name):
    config = rebuild.CONFIGS[name]
    sizes = TesseractSizes(
        config["layers"],
        config["heads"],
        config["head_dim"],
        config["latent"],
        config["patch"],
        config["text_dim"],
        config["time_dim"],
        tuple(config["base_tokens"]),
    )
    net = Tesseract(sizes).eval()
    net.load_state_dict(rebuild.state_dict(expected["shapes"][name]))
    return net, config


def test_the_release_has_our_names_and_shapes_and_as_many_parameters(expected):
    with torch.device("meta"):
        net = Tesseract(TesseractSizes())
    wanted, shapes = expected["published"], {name: list(weight.shape) for name, weight in net.state_dict().items()}
    assert (len(shapes), sum(weight.numel() for weight in net.parameters())) == (
        wanted["tensors"],
        wanted["parameters"],
    )
    rest = {f"transformer_blocks.{number}." for number in range(1, 42)}
    outside = {name: shape for name, shape in shapes.items() if not any(name.startswith(block) for block in rest)}
    assert outside == wanted["shapes_without_blocks_1_to_41"]
    for part, count in (("dn_out_proj", wanted["dn_out_proj"]), ("dn_out", wanted["dn_out"])):
        assert sum(weight.numel() for weight in getattr(net, part).parameters()) == count
    assert not Tesseract(TesseractSizes(0, 2, 8)).patch_embed.normal_proj.weight.any()


@torch.no_grad()
def test_the_network_is_the_references_inside_and_out(rebuild, expected):
    for case, wanted in cases(expected, "transformer"):
        net, config = build(rebuild, expected, case["config"])
        inputs, kept = rebuild.model_inputs(case, config), []
        for block in net.transformer_blocks:
            block.register_forward_hook(lambda *given, into=kept: into.append(given[-1]))
        output = net(inputs["input"], inputs["text"], inputs["timestep"])
        compare(rebuild, output, wanted["output"])
        for name, third in zip(("rgb", "depth", "normal"), output.chunk(3, 2), strict=True):
            compare(rebuild, third, wanted[name])
        inside = wanted.get("inside", {})
        for number, (text, video) in enumerate(kept):
            if f"block_{number}_text" in inside:
                compare(rebuild, text, inside[f"block_{number}_text"])
                compare(rebuild, video, inside[f"block_{number}_video"])
        if "time_embedding" in inside:
            compare(rebuild, net.embed_time(inputs["timestep"]), inside["time_embedding"])


@torch.no_grad()
def test_with_the_new_projections_at_zero_colours_are_those_of_the_base_model(rebuild, expected):
    wanted = expected["transformer"]["zero_start"]
    (case,) = [case for case in expected["transformer"]["cases"] if case["name"] == wanted["case"]]
    net, config = build(rebuild, expected, case["config"])
    for layer in (net.patch_embed.depth_proj, net.patch_embed.normal_proj):
        layer.weight.zero_()
    inputs = rebuild.model_inputs(case, config)
    output = net(inputs["input"], inputs["text"], inputs["timestep"])
    compare(rebuild, output.chunk(3, 2)[0], wanted["rgb"])


@torch.no_grad()
def test_patches_and_the_head_are_the_references(rebuild, expected):
    for case, wanted in cases(expected, "patch_embed"):
        net, config = build(rebuild, expected, case["config"])
        inputs = rebuild.model_inputs(case, config)
        text, video = net.patch_embed(inputs["text"], inputs["input"])
        compare(rebuild, text, wanted["text"], 1e-5)
        compare(rebuild, video, wanted["video"], 1e-5)
        for place, name in enumerate(("rgb_only", "depth_only", "normal_only")):
            alone = [part if number == place else part * 0 for number, part in enumerate(inputs["input"].chunk(3, 2))]
            compare(rebuild, net.patch_embed(inputs["text"], torch.cat(alone, 2))[1], wanted[name], 1e-5)
    for case, wanted in cases(expected, "head"):
        net, config = build(rebuild, expected, case["config"])
        inputs = rebuild.head_inputs(case, config)
        output = net.read(inputs["hidden"], inputs["input"])
        for name, third in zip(("rgb", "depth", "normal"), output.chunk(3, 2), strict=True):
            compare(rebuild, third, wanted[name], 1e-5)


def test_places_are_turned_as_the_references_are(rebuild, expected):
    for case in expected["rotary"]["cases"]:
        wanted = case.get("expect", case)
        rows, columns = place_in_base(tuple(case["tokens"]), tuple(case["base"]))
        close(rows[:6], wanted["rows"], 1e-4)
        close(columns[:6], wanted["columns"], 1e-4)
        close(columns[-1], wanted["last_column"], 1e-4)
        angles = find_angles(case["frames"], tuple(case["tokens"]), tuple(case["base"]), case["head_dim"])
        pairs = angles.repeat_interleave(2, 1)
        compare(rebuild, pairs.cos(), wanted["cos"], 1e-5)
        compare(rebuild, pairs.sin(), wanted["sin"], 1e-5)


@pytest.mark.parametrize("patch", [1, 2])
def test_maps_come_back_from_their_tokens(patch):
    maps = torch.arange(2 * 3 * 4 * 4 * 6.0).view(2, 3, 4, 4, 6)
    tokens = gather(maps, patch)
    assert tokens.shape == (2, 3 * 24 // patch**2, 4 * patch**2)
    assert torch.equal(scatter(tokens, (3, 4, 6), patch), maps)
