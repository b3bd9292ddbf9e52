"""LoRA in every architecture: all of it is used, and merged it answers the same."""

import copy

import pytest
import torch

from mirage_pl.engine.adapters.lora import Lora
from mirage_pl.engine.checkpoints.adapted import adapt
from mirage_pl.mirage.decoding.generate import Decoder
from mirage_pl.mirage.module import SFT

ALL = ["language", "vision", "merger"]
WAYS = {
    "language": Lora(rank=2, alpha=4, parts=["language"]),
    "all": Lora(rank=2, alpha=4, parts=ALL),
    "dora": Lora(rank=2, alpha=4, parts=ALL, dora=True),
}


@pytest.fixture
def stage(net, processor):
    """A stage of the architecture, in float64."""
    options = {"loss_weights": {"text": 1.0}, "optimizer": None, "schedule": None, "weight_decay": 0.0}
    decoder = Decoder(processor, 3)
    return SFT(decoder=decoder, ce_chunk=None, ce_fused=False, net=copy.deepcopy(net), **options).eval()


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("way", WAYS)
def test_every_adapter_is_used_and_merged_it_gives_the_same_logits(stage, collator, rows, way):
    adapt(stage, WAYS[way], plain=True)
    learnt = {name: weight for name, weight in stage.named_parameters() if weight.requires_grad}
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in learnt.values():
            weight += 0.02 * torch.randn_like(weight)
    batch = collator(rows)
    hidden = stage.net.recurrent(batch)
    stage.losses(batch)["text"].backward()
    deaf = [name for name, weight in learnt.items() if weight.grad is None or not weight.grad.any()]
    assert not deaf
    assert {"vision" in name or "visual" in name for name in learnt} == (
        {False} if way == "language" else {False, True}
    )
    logits = stage.net.logits(hidden[batch.real_BT]).detach()
    WAYS[way].merge(stage)
    merged = stage.net.logits(stage.net.recurrent(batch)[batch.real_BT]).detach()
    torch.testing.assert_close(merged, logits, atol=1e-9, rtol=1e-9)
    assert stage.state_dict().keys() == {f"net.{name}" for name in stage.net.state_dict()}
