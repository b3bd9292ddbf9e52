"""Latents that are learnt to be read: an encoder of helper images, and what imitates it."""

from pathlib import Path

import pytest
import torch
from hydra.errors import InstantiationException

from mirage_pl.engine.training import fit
from mirage_pl.mirage.model.encoder import Encoder, place
from tests.conftest import compose
from tests.engine.training.test_train import losses_of

WIDTH = 192


def made(count=4):
    encoder = Encoder(count)
    encoder.build(WIDTH, torch.zeros(()))
    return encoder


def test_an_encoder_makes_as_many_latents_as_are_asked_for_and_knows_where_features_are():
    encoder, features = made(), torch.randn(6, WIDTH, generator=torch.Generator().manual_seed(1))
    whole = encoder(features, (2, 3), 4)
    assert whole.shape == (4, WIDTH)
    assert torch.allclose(encoder(features, (2, 3), 2), whole[:2])
    assert torch.allclose(encoder(80 * features, (2, 3), 4), whole, atol=1e-5), "features' length tells nothing"
    assert not torch.allclose(encoder(features.flip(0), (2, 3), 4), whole, atol=1e-4)
    assert not torch.allclose(encoder(features, (3, 2), 4), whole, atol=1e-4)
    assert encoder(features.bfloat16(), (2, 3), 4).dtype == torch.bfloat16
    assert 0.1 < float(whole.norm(dim=1).mean()) < 1, "as long as words"
    with pytest.raises(ValueError, match="a block has 5 latents, but compression.count=4 queries; raise it to 5"):
        encoder(features, (2, 3), 5)
    with pytest.raises(ValueError, match="4 heads, which don't divide the model's width 90"):
        Encoder(4).build(90, torch.zeros(()))


@pytest.mark.parametrize("width", [192, 194])
def test_no_two_places_are_alike(width):
    waves = place((5, 7), width)
    assert waves.shape == (35, width)
    assert float(torch.cdist(waves, waves).fill_diagonal_(9).min()) > 0.5


def test_encoders_begin_alike_and_constant():
    first, second = made(), made()
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not any(weight.requires_grad for weight in first.parameters())
    before = first.pool
    first.build(WIDTH, torch.zeros(()))
    assert first.pool is before


def test_the_encoder_alone_learns_by_the_answers_of_its_reader_and_is_imitated_as_it_is(train_config, tmp_path):
    first = train_config("stage=stage1", f"run_dir={tmp_path}/stage1")
    fit.run(first)
    words = ["stage=target", "trainer.max_steps=30", "stage.module.schedule.warmup_steps=1"]
    target = train_config(*words, f"init_from={tmp_path}/stage1", f"run_dir={tmp_path}/target")
    losses = losses_of(target)
    assert losses[30] < losses[1]
    read = [load(tmp_path / name) for name in ("stage1", "target")]
    assert all(torch.equal(read[0][name], weight) for name, weight in read[1].items() if "backbone" in name)
    begun = {f"net.compression.{name}": weight for name, weight in made().named_parameters()}
    assert begun.keys() == {name for name in read[1] if "compression" in name}
    assert not any(torch.equal(read[1][name], weight) for name, weight in begun.items())
    imitate = train_config("stage=imitate", f"init_from={tmp_path}/target", f"run_dir={tmp_path}/imitate")
    metrics = fit.run(imitate)
    assert {"train/text", "train/latent"} <= metrics.keys()
    last = load(tmp_path / "imitate")
    assert all(torch.equal(read[1][name], last[name]) for name in begun), "what is imitated doesn't move"
    assert not torch.equal(read[1]["net.backbone.lm_head.weight"], last["net.backbone.lm_head.weight"])


def load(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def test_a_target_that_nothing_would_reach_is_refused(train_config):
    for words, line in {
        ("compression=grid",): "stage=target trains compression=encoder, and Grid learns nothing",
        ("feedback=words",): "Words reads something else in place of what the encoder makes",
        ("feedback=pads",): "Pads reads something else",
        ("evidence=contrastive",): "evidence compares the latents that a model writes, and Target has none",
    }.items():
        with pytest.raises(InstantiationException, match=line):
            fit.run(train_config("stage=target", "stage.starts=null", *words))
    with pytest.raises(InstantiationException, match="compression=encoder makes other vectors"):
        fit.run(train_config("stage=imitate", "stage.starts=null", "evidence=contrastive"))


def test_each_stage_finds_the_one_before_it():
    starts = {name: compose("train", f"stage={name}").stage.starts.weights.stage for name in ("target", "imitate")}
    assert starts == {"target": "stage1", "imitate": "target"}
