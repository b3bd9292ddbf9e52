"""Sizes by arithmetic against real models, and real AdamW states."""

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from callbacks.freeze import Freeze
from launch import plan
from launch.layouts import Layout, share
from mirage_pl.engine.checkpoints.adapted import adapt, read_adapter
from mirage_pl.mirage.footprint import MODULES, Architecture, read_architecture, read_footprint
from mirage_pl.mirage.model.backbone import load_backbone
from mirage_pl.mirage.model.columns import Columns, Embeds
from mirage_pl.mirage.stock.find import find_architecture
from mirage_pl.mirage.stock.places import Places
from tests.conftest import REPO, compose

PUBLISHED = {"3B": 3_754_622_976, "7B": 8_292_166_656, "32B": 33_452_718_336, "72B": 73_410_777_344}
"""Half of ``total_size`` in the hub's ``model.safetensors.index.json``: weights are bfloat16."""


class Named(torch.nn.Module):
    """Holds a backbone where a stage's module does, so that its parameters have the names that stages freeze."""

    def __init__(self, backbone):
        super().__init__()
        self.net = torch.nn.Module()
        self.net.backbone = backbone


def counted(model):
    """Parameters of a real model by part: by what their names begin with."""
    found = dict.fromkeys(MODULES, 0)
    for name, parameter in Named(model).named_parameters():
        part = next((part for part, module in MODULES.items() if name.startswith(module + ".")), "layers")
        found[part] += parameter.numel()
    return found


@pytest.mark.parametrize("size", PUBLISHED)
def test_shipped_sizes_have_the_parameters_of_the_real_model_and_of_the_published_files(size):
    numbers = OmegaConf.to_container(compose("train", f"model=qwen2_5_vl_{size.lower()}").model.sizes)
    with torch.device("meta"):
        model = Qwen2_5_VLForConditionalGeneration._from_config(Qwen2_5_VLConfig(**numbers))
    parameters = Architecture(
        numbers["text_config"], numbers["vision_config"], numbers["tie_word_embeddings"]
    ).parameters()
    assert parameters == counted(model)
    assert sum(parameters.values()) == PUBLISHED[size]


def test_every_shipped_hub_model_has_its_sizes():
    sizes = [file.stem for file in (REPO / "conf" / "model").glob("qwen2_5_vl_*.yaml")]
    assert len(sizes) == len(PUBLISHED)
    assert all(compose("train", f"model={size}").model.sizes for size in sizes)


@pytest.mark.parametrize("stage", ["guided", "curriculum", "stage2"])
def test_stages_that_recycle_call_the_decoder_once_more_for_every_latent(stage):
    given = ("model=qwen2_5_vl_7b", "latent_size=3")
    once, more = (read_footprint(compose("plan", f"stage={name}", *given), 2) for name in ("stage1", stage))
    assert more.gathered - once.gathered == 3 * once.parameters["layers"]


def test_the_tiny_model_has_the_planned_parameters_and_adamw_states():
    cfg = compose("plan")
    architecture = read_architecture(cfg.model.path, None)
    model = Named(load_backbone(cfg.model.path))
    assert architecture.parameters() == counted(model.net.backbone)
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
    decoder, rows, columns = model.model.language_model, 2, 48
    embeds = torch.randn(rows, columns, 256, dtype=dtype, requires_grad=True)
    real = torch.ones(rows, columns, dtype=torch.bool)
    order = real.cumsum(1) - 1
    places = Places(real, order, order.expand(3, -1, -1), torch.full_like(order, -1))
    weights, kept = {p.data_ptr() for p in model.parameters()}, {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor  # keeps its address its own
        return tensor

    def bytes_kept(layers):
        kept.clear()
        decoder.layers = torch.nn.ModuleList(list(model_layers)[:layers])
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            Columns(find_architecture(model), places, Embeds(embeds)).peek(embeds)
        return sum(t.untyped_storage().nbytes() for address, t in kept.items() if address not in weights)

    model_layers = decoder.layers
    planned = Architecture(text, vision, False).layer_activations(columns, dtype.itemsize)
    assert bytes_kept(2) - bytes_kept(1) == rows * columns * planned


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
