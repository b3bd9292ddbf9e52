"""MAGVIT-v2's nets: names, shapes and numbers of the release, at a small size."""

import pytest
import torch
from safetensors.torch import save_file

from mirage_pl.mmact.model.coder import CoderSizes
from mirage_pl.mmact.model.magvit import Attention, Halve, Magvit

SIZES = CoderSizes(32, 1, 4, 32, 4)


def count(module):
    return round(sum(weight.numel() for weight in module.parameters()) / 1e6, 1)


def test_the_released_size_has_the_released_names_shapes_and_number_of_weights():
    with torch.device("meta"):
        coder = Magvit(CoderSizes(256, 1, 4, 128, 13), None)
    shapes = {name: tuple(weight.shape) for name, weight in coder.state_dict().items()}
    assert (count(coder), count(coder.encoder)) == (95.4, 55.4)
    for name, shape in {
        "encoder.conv_in.weight": (128, 3, 3, 3),
        "encoder.down.1.block.0.nin_shortcut.weight": (256, 128, 1, 1),
        "encoder.down.3.downsample.conv.weight": (512, 512, 3, 3),
        "encoder.mid.attn_1.proj_out.weight": (512, 512, 1, 1),
        "encoder.quant_conv.weight": (13, 13, 1, 1),
        "decoder.post_quant_conv.bias": (13,),
        "decoder.up.3.block.0.nin_shortcut.weight": (256, 512, 1, 1),
        "decoder.up.4.upsample.conv.weight": (512, 512, 3, 3),
        "decoder.up.0.block.3.conv2.weight": (128, 128, 3, 3),
        "decoder.conv_out.weight": (3, 128, 3, 3),
    }.items():
        assert shapes[name] == shape, name
    assert not [name for name in shapes if name.startswith(("encoder.down.4.down", "decoder.up.0.up", "quantize"))]
    assert coder.sizes.places == 256


def test_attention_is_the_softmax_of_all_pairs_and_halving_pads_at_the_right_and_below():
    torch.manual_seed(0)
    attention, hidden = Attention(32), torch.randn(2, 32, 3, 4)
    normed = attention.norm(hidden)
    queries, keys, values = (part(normed).flatten(2) for part in (attention.q, attention.k, attention.v))
    shares = (torch.einsum("mcq,mck->mqk", queries, keys) / 32**0.5).softmax(-1)
    seen = torch.einsum("mqk,mck->mcq", shares, values).reshape(hidden.shape)
    torch.testing.assert_close(attention(hidden), hidden + attention.proj_out(seen))
    halve = Halve(1)
    torch.nn.init.ones_(halve.conv.weight)
    torch.nn.init.zeros_(halve.conv.bias)
    assert halve(torch.ones(1, 1, 4, 4))[0, 0].tolist() == [[9, 6], [6, 4]]


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_released_weights_are_loaded_and_code_pictures_as_they_did(tmp_path, ending):
    torch.manual_seed(0)
    coder, made = Magvit(SIZES, None), {"quantize.embedding": torch.zeros(16, 4), "quantize.power_vals": torch.ones(4)}
    weights = {name: weight.clone() for name, weight in coder.state_dict().items()} | made
    file = tmp_path / f"weights.{ending}"
    save_file(weights, file) if ending == "safetensors" else torch.save(weights, file)
    other, pictures = Magvit(SIZES, str(tmp_path)), torch.rand(2, 3, 32, 32) * 2 - 1
    codes = coder.encode(pictures)
    assert codes.shape == (2, 4)
    assert torch.equal(other.encode(pictures), codes)
    assert torch.equal(other.encode(pictures[1:]), codes[1:])
    torch.testing.assert_close(other.decode(codes), coder.decode(codes))
    torch.testing.assert_close(other.decode(codes), coder(pictures).pictures_MCSS, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match=r"decoder\.conv_in\.weight is \(128, 4, 3, 3\) there and \(128, 5, 3, 3\)"):
        Magvit(CoderSizes(32, 1, 4, 32, 5), str(tmp_path))


def test_sizes_that_these_nets_cant_have_and_a_folder_without_weights_are_refused(tmp_path):
    with pytest.raises(ValueError, match="must be a folder with MAGVIT-v2's"):
        Magvit(SIZES, str(tmp_path))
    with pytest.raises(ValueError, match="halvings=2 and channels=32; take model=mmact/mmada_8b"):
        Magvit(CoderSizes(32, 1, 2, 32, 4), None)
