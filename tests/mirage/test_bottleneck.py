"""A bottleneck: images reach text through latents alone, for a while."""

from dataclasses import replace

import pytest
import torch
from hydra.utils import instantiate

from mirage_pl.mirage.bottleneck import Bottleneck, find_text
from mirage_pl.mirage.collator import Collator
from mirage_pl.mirage.model.latents import LatentVLM
from mirage_pl.mirage.model.recurrence import OnePass, Sequential
from mirage_pl.mirage.placing import widen
from tests.conftest import compose


@pytest.fixture
def batch(processor, samples):
    return Collator(processor, latent_size=3, latents=True, helpers=True)(samples[:3])


def other_image(net, batch):
    """The same batch with other features of its images."""
    features = torch.cat(net.image_features(batch.images))
    images = replace(batch.images, known=(True,) * 3, pixels_PF=None, features_MD=features.roll(1, -1))
    return replace(batch, images=images)


def blind(net, batch):
    return Bottleneck(1.0, 1.0, False).narrow(batch, net.architecture.image_id, 0.5, torch.rand(3))


@pytest.mark.parametrize("recurrence", [Sequential(), OnePass(3)])
def test_images_reach_text_through_latents_alone(random_net, batch, recurrence):
    net = LatentVLM(random_net.backbone, random_net.compression, recurrence).double()
    text_BT = find_text(batch, net.architecture.image_id)
    before_BT = text_BT & (torch.arange(text_BT.shape[1]) < batch.blocks[0].start)
    narrow = blind(net, batch)
    one, other = net.recurrent(narrow), net.recurrent(other_image(net, narrow))
    assert torch.equal(one[before_BT], other[before_BT])
    assert not torch.allclose(one[text_BT & ~before_BT], other[text_BT & ~before_BT]), "the latents tell of them"
    taught, others = (net.teacher_forced(each)[1].view(3, 3, -1) for each in (narrow, other_image(net, narrow)))
    first = taught[:, 0], others[:, 0]
    assert torch.allclose(*first) == isinstance(recurrence, Sequential), (
        "the first one's column is text, a query's isn't"
    )
    assert not torch.allclose(net.recurrent(batch)[before_BT], one[before_BT])


def test_rows_without_a_bottleneck_are_as_ever_and_padding_is_invisible(random_net, batch):
    blind_BT = blind(random_net, batch).blind_BT
    half = replace(batch, blind_BT=blind_BT & torch.tensor([[True], [False], [True]]))
    outputs = random_net.recurrent(half)
    assert torch.allclose(outputs[1], random_net.recurrent(batch)[1])
    assert torch.allclose(outputs[0], random_net.recurrent(replace(batch, blind_BT=blind_BT))[0])
    wide = widen(half, [7])
    assert torch.allclose(random_net.recurrent(wide)[wide.real_BT], outputs[batch.real_BT], atol=1e-12)


@pytest.mark.parametrize(
    ("options", "shares"),
    [
        ((0.8, 0.5, False), (0.8, 0.8, 0.0, 0.0)),
        ((0.8, 0.5, True), (0.8, 0.4, 0.0, 0.0)),
        ((1.0, 1.0, False), (1.0, 1.0, 1.0, 1.0)),
    ],
)
def test_it_is_released_at_once_or_bit_by_bit(options, shares):
    assert [Bottleneck(*options).now(progress) for progress in (0, 0.25, 0.5, 1)] == pytest.approx(shares)


def test_rows_below_the_share_have_one(random_net, batch):
    random_B = torch.tensor([0.1, 0.6, 0.4])
    narrow = Bottleneck(0.5, 1.0, False).narrow(batch, random_net.architecture.image_id, 0, random_B)
    assert narrow.blind_BT.any(1).tolist() == [True, False, True]


def test_a_stage_trains_through_it_but_is_validated_and_answers_without(data, batch, monkeypatch):
    module = instantiate(compose("train", f"data={data}", "stage=guided", "bottleneck=sudden").stage.module)
    seen = []
    monkeypatch.setattr(type(module), "losses", lambda self, batch: seen.append(batch.blind_BT) or {})
    monkeypatch.setattr(type(module).__mro__[3], "training_step", lambda self, batch, _: self.losses(batch))
    module.training_step(batch, 0)
    module.losses(batch)
    assert seen[0].any()
    assert seen[1] is None


def test_answers_that_are_sampled_have_none(data):
    with pytest.raises(Exception, match="answers are sampled with them; drop bottleneck="):
        instantiate(compose("train", f"data={data}", "stage=grpo", "bottleneck=sudden").stage.module)
