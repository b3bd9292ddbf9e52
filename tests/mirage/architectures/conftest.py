"""Every architecture at a tiny size: its folder, its net in float64, and rows for it."""

from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from data_modules.samples import Latent, Picture, Text
from mirage_pl.mirage.collator import Collator
from mirage_pl.mirage.model.backbone import load_backbone, load_processor
from mirage_pl.mirage.model.compression import Average
from mirage_pl.mirage.model.latents import LatentVLM
from mirage_pl.mirage.model.recurrence import Sequential
from mirage_pl.mirage.stock.find import list_architectures


@pytest.fixture
def exact(monkeypatch):
    """Float64 stays float64 where stock code works in float32, so that equality can be exact."""
    stock_float, stock_to, stock_softmax = torch.Tensor.float, torch.Tensor.to, functional.softmax

    def to(tensor, *args, **kwargs):
        narrows = torch.float32 in args or kwargs.get("dtype") == torch.float32
        return tensor if tensor.dtype == torch.float64 and narrows else stock_to(tensor, *args, **kwargs)

    def softmax(tensor, *args, dtype=None, **kwargs):
        return stock_softmax(tensor, *args, dtype=None if tensor.dtype == torch.float64 else dtype, **kwargs)

    monkeypatch.setattr(torch.Tensor, "float", lambda t: t if t.dtype == torch.float64 else stock_float(t))
    monkeypatch.setattr(torch.Tensor, "to", to)
    monkeypatch.setattr(functional, "softmax", softmax)


@pytest.fixture(scope="session", params=list_architectures())
def architecture(request):
    return request.param


@pytest.fixture(scope="session")
def folder(architecture, tmp_path_factory):
    """A Hugging Face folder of the architecture, with random weights."""
    folder = tmp_path_factory.mktemp(architecture)
    import_module(f"tests.mirage.architectures.{architecture}").write_folder(folder)
    torch.manual_seed(0)
    load_backbone(str(folder), random_weights=True).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def processor(folder):
    return load_processor(str(folder))


@pytest.fixture(scope="session")
def net(folder):
    """The net with weights large enough that latents matter."""
    net = LatentVLM(load_backbone(str(folder)), Average(), Sequential()).double().eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(torch.randn_like(weight) * 0.05)
    net.tower.requires_grad_(False)
    return net


@pytest.fixture
def collator(processor):
    return Collator(processor, latent_size=3, latents=True, helpers=True)


@pytest.fixture(scope="session")
def rows(samples, tmp_path_factory):
    """Ragged rows: with one block, two, and none; with images of several sizes, two of them, and none."""
    helper = next(part for part in samples[0].answer if isinstance(part, Latent))
    image = next(part for part in samples[1].question if isinstance(part, Picture))
    wide = tmp_path_factory.mktemp("images") / "wide.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 120, 3), dtype=np.uint8)).save(wide)
    twice = replace(samples[2], answer=(replace(helper, size=1), Text("a "), replace(helper, size=4), Text("b")))
    both = replace(samples[4], question=(Picture(wide), Text("and "), image, Text(" differ how?")))
    return [
        samples[0],
        both,
        twice,
        replace(samples[3], answer=(Text("no latents here"),)),
        replace(samples[5], question=(Text("Write a path."),)),
    ]
