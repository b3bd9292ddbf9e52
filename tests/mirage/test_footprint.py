"""Sizes by arithmetic against real models, and real AdamW states."""

import pytest
import torch
from hydra.utils import instantiate
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from callbacks.freeze import Freeze
from launch import plan
from launch.layouts import Layout, share
from mirage_pl.engine.checkpoints.adapted import adapt, read_adapter
from mirage_pl.mirage.footprint import Skeleton, build_skeleton, read_footprint
from mirage_pl.mirage.model.backbone import load_backbone
from mirage_pl.mirage.model.columns import Columns, Embeds
from mirage_pl.mirage.stock.find import find_architecture
from mirage_pl.mirage.stock.places import Places
from tests.conftest import REPO, compose

PUBLISHED = {
    "qwen2_5_vl_3b": 3_754_622_976,
    "qwen2_5_vl_7b": 8_292_166_656,
    "qwen2_5_vl_32b": 33_452_718_336,
    "qwen2_5_vl_72b": 73_410_777_344,
    "qwen3_vl_2b": 2_127_532_032,
    "qwen3_vl_4b": 4_437_815_808,
    "qwen3_vl_8b": 8_767_123_696,
    "gemma3_4b": 4_300_079_472,
    "gemma3_12b": 12_187_325_040,
    "gemma3_27b": 27_432_406_640,
    "smolvlm2_256m": 256_484_928,
    "smolvlm2_500m": 507_482_304,
    "smolvlm2_2_2b": 2_246_784_880,
}
"""Half of ``total_size`` in the hub's ``model.safetensors.index.json``: weights are bfloat16."""


class Named(torch.nn.Module):
    """Holds a backbone where a stage's module does, so that its parameters have the names that stages freeze."""

    def __init__(self, backbone):
        super().__init__()
        self.net = torch.nn.Module()
        self.net.backbone = backbone


@pytest.mark.parametrize("model", PUBLISHED)
def test_shipped_sizes_have_the_parameters_of_the_published_files(model):
    skeleton = build_skeleton("", compose("train", f"model={model}").model.sizes)
    assert sum(skeleton.parameters_by_part().values()) == PUBLISHED[model]


def test_a_hub_model_has_its_sizes_or_a_plan_asks_for_its_folder():
    for file in (REPO / "conf" / "model").glob("*_[0-9]*.yaml"):
        model = compose("train", f"model={file.stem}", "model.path=org/name").model
        if model.sizes is None:
            with pytest.raises(ValueError, match=r"model\.path=org/name is no folder with a config.json"):
                build_skeleton(model.path, model.sizes)
        else:
            assert {"model_type", "text_config", "vision_config"} <= set(model.sizes)


@pytest.mark.parametrize("stage", ["guided", "curriculum", "stage2"])
def test_stages_that_recycle_call_the_decoder_once_more_for_every_latent(stage):
    given = ("model=qwen2_5_vl_7b", "latent_size=3")
    once, more = (read_footprint(compose("plan", f"stage={name}", *given), 2) for name in ("stage1", stage))
    assert more.gathered - once.gathered == 3 * once.parameters["layers"]


@pytest.mark.parametrize(("recurrence", "calls"), [("jacobi", 2), ("queries", 2), ("jacobi recurrence.sweeps=9", 5)])
def test_other_recurrences_call_it_less_often(recurrence, calls):
    more = read_footprint(compose("plan", *f"recurrence={recurrence}".split(), "latent_size=5", "stage=stage2"), 2)
    once = read_footprint(compose("plan", "latent_size=5", "stage=stage1"), 2)
    assert more.gathered - once.gathered == calls * once.parameters["layers"]


def test_the_tiny_model_has_the_planned_parameters_and_adamw_states():
    cfg = compose("plan")
    model = Named(load_backbone(cfg.model.path))
    Freeze(cfg.stage.freeze).setup(None, model, "fit")
    trained = [p for p in model.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    optimizer = torch.optim.AdamW(trained)
    optimizer.step()
    states = [s for state in optimizer.state.values() for name, s in state.items() if name != "step"]
    one = share(Layout("ddp", 0, deepspeed=False), plan.read_load(read_footprint(cfg, 4), 4, 1), 1)
    assert one.states == sum(s.nbytes for s in states)
    assert one.weights == sum(p.nbytes for p in model.parameters())
    assert one.gradients == sum(p.grad.nbytes for p in trained)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_activations_are_what_the_real_layers_keep_for_the_gradient(dtype):
    text = {"hidden_size": 256, "intermediate_size": 640, "num_hidden_layers": 2, "num_attention_heads": 8}
    text |= {"num_key_value_heads": 2, "vocab_size": 384, "bos_token_id": None, "eos_token_id": None}
    rope = {"mrope_section": [4, 6, 6], "rope_theta": 20.0, "rope_type": "default"}
    vision = {"depth": 1, "hidden_size": 32, "num_heads": 2, "intermediate_size": 64, "out_hidden_size": 256}
    config = Qwen2_5_VLConfig(text_config=text | {"rope_parameters": rope}, vision_config=vision)
    model = Qwen2_5_VLForConditionalGeneration._from_config(config, dtype=dtype, attn_implementation="sdpa")
    planned = Skeleton(config).layer_activations(48, dtype.itemsize)
    assert bytes_of_a_layer(model, rows=2, columns=48) == 2 * 48 * planned


def bytes_of_a_layer(model, rows, columns):
    """What the last decoder layer keeps for the gradient of a batch without padding."""
    architecture = find_architecture(model)
    decoder, layers = architecture.decoder, list(architecture.decoder.layers)
    kinds = architecture.kinds
    embeds = torch.randn(rows, columns, model.config.get_text_config().hidden_size, dtype=model.dtype)
    embeds.requires_grad_(True)
    real = torch.ones(rows, columns, dtype=torch.bool)
    order = real.cumsum(1) - 1
    places = Places(real, order, order.expand(3, -1, -1), torch.full_like(order, -1), torch.zeros_like(real))
    weights, kept = {p.data_ptr() for p in model.parameters()}, {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor  # keeps its address its own
        return tensor

    def bytes_kept(first):
        kept.clear()
        decoder.layers, architecture.kinds = torch.nn.ModuleList(layers[first:]), kinds[first:]
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            Columns(architecture, places, Embeds(embeds)).peek(embeds)
        return sum(t.untyped_storage().nbytes() for address, t in kept.items() if address not in weights)

    one, two = bytes_kept(len(layers) - 1), bytes_kept(len(layers) - 2)
    decoder.layers, architecture.kinds = torch.nn.ModuleList(layers), kinds
    return two - one


LORA = [
    ["lora=lora"],
    ["lora=dora", "lora.parts=[language,vision,merger]", "lora.rank=4"],
    ["lora=lora", "lora.layers=[q_proj,layers.1.mlp.*]", "lora.rows=false"],
    ["lora=lora", "lora.whole=[language]", "lora.parts=[vision]"],
]


@pytest.mark.parametrize("words", LORA, ids=str)
def test_adapters_are_counted_as_they_are_put_in(words):
    cfg = compose("plan", *words)
    module = instantiate(cfg.stage.module)
    adapt(module, read_adapter(cfg))
    footprint = read_footprint(cfg, 4)
    learnt = sum(weight.numel() for weight in module.parameters() if weight.requires_grad)
    assert sum(footprint.parameters[part] for part in footprint.trained) == learnt
