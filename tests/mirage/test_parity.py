"""The reference implementation's own numbers, on its inputs: losses, gradient norms and latent norms."""

from dataclasses import replace

import pytest
import torch

from mirage_pl.mirage.batch import IGNORE, Images
from mirage_pl.mirage.losses import latent_cosine, text_ce
from mirage_pl.mirage.model.compression import Average
from mirage_pl.mirage.model.latents import LatentVLM
from mirage_pl.mirage.model.recurrence import Sequential
from mirage_pl.mirage.placing import Row, place

PRECISION = 1e-5


@pytest.fixture(scope="module")
def model(rebuild):
    return rebuild.build_model()


def prepare(rebuild, model, case):
    raw = rebuild.build_batch(case, case["k"])
    row = Row(raw["input_ids"][0].tolist(), raw["labels"][0].tolist())
    grids, helper_grids = (tuple(map(tuple, raw[name].tolist())) for name in ("image_grid_thw", "helper_grid_thw"))
    merged = [(t, h // 2, w // 2) for t, h, w in grids]
    batch = replace(
        place([row], rebuild.CONTROL["latent_pad"], 0, model.config.image_token_id, merged),
        images=Images(grids, (False,) * len(grids), raw["pixel_values"]),
        helpers=Images(helper_grids, (False,) * len(helper_grids), raw["helper_pixel_values"]),
    )
    return LatentVLM(model, Average(), Sequential()), batch


def backward(model, loss):
    model.zero_grad(set_to_none=True)
    loss.backward()
    norms = [p.grad.norm() for p in model.parameters() if p.grad is not None]
    first = model.model.language_model.layers[0].self_attn.q_proj.weight.grad.norm()
    return torch.stack(norms).norm().item(), first.item()


def ce(net, hidden, batch):
    asked = batch.targets_BT != IGNORE
    return text_ce(hidden[asked], net.backbone.lm_head, batch.targets_BT[asked])


def test_stage_1_is_the_reference(rebuild, model, case):
    net, batch = prepare(rebuild, model, case)
    hidden, predicted, target = net.teacher_forced(batch)
    text, latent = ce(net, hidden, batch), latent_cosine(predicted, target)
    norm, first = backward(model, 0.1 * text + latent)
    ours = {"ce": text.item(), "cos": latent.item(), "loss": (0.1 * text + latent).item(), "grad_norm": norm}
    assert ours | {"q0_grad": first} == pytest.approx(case["stage1"], rel=PRECISION)


def test_stage_2_is_the_reference(rebuild, model, case):
    net, batch = prepare(rebuild, model, case)
    hidden = net.recurrent(batch)
    text = ce(net, hidden, batch)
    norm, first = backward(model, text)
    expected = dict(case["stage2"])
    latents = hidden[0][batch.latent_BT[0].roll(-1)].norm(dim=-1).tolist()
    assert latents == pytest.approx(expected.pop("latent_norms"), rel=PRECISION)
    assert {"ce": text.item(), "grad_norm": norm, "q0_grad": first} == pytest.approx(expected, rel=PRECISION)
