"""Muon and AdamW as one optimizer: each weight moves as by the optimizer that is its own."""

import pytest
import torch
from torch import nn

from mirage_pl.engine.strategies.ready import check_machine
from mirage_pl.engine.training.muon import Muon
from tests.conftest import compose

OPTIONS = {"lr": 1e-2, "betas": (0.9, 0.95), "momentum": 0.9}


def new_net():
    torch.manual_seed(0)
    return nn.ModuleDict({"inner": nn.Linear(4, 3), "head": nn.Linear(3, 2)})


def new_groups(net):
    inner = {"params": [*net["inner"].parameters()], "weight_decay": 0.1, "muon": 3.0}
    return [inner, {"params": [*net["head"].parameters()], "weight_decay": 0.0, "lr": 5e-3}]


def take_steps(net, optimizers, count, first=0):
    for step in range(first, first + count):
        torch.manual_seed(step)
        net["head"](net["inner"](torch.randn(5, 4)).tanh()).square().mean().backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()


def weights(net):
    return {name: weight.detach().clone() for name, weight in net.named_parameters()}


def test_matrices_of_marked_groups_move_as_by_muon_and_all_else_as_by_adamw():
    net, apart = new_net(), new_net()
    inner, head = apart["inner"], apart["head"]
    options = {"momentum": 0.9, "weight_decay": 0.1, "adjust_lr_fn": "match_rms_adamw"}
    parts = [
        torch.optim.Muon([inner.weight], lr=3e-2, **options),
        torch.optim.AdamW([inner.bias], lr=1e-2, betas=(0.9, 0.95), weight_decay=0.1),
        torch.optim.AdamW(head.parameters(), lr=5e-3, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    take_steps(net, [Muon(new_groups(net), **OPTIONS)], 3)
    take_steps(apart, parts, 3)
    for name, weight in weights(apart).items():
        assert torch.equal(weights(net)[name], weight), name
        assert not torch.equal(weight, weights(new_net())[name]), name


def test_a_schedule_scales_the_rates_of_both():
    optimizer = Muon(new_groups(new_net()), **OPTIONS)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5)
    assert sorted(group["lr"] for group in optimizer.param_groups) == pytest.approx([2.5e-3, 5e-3, 1.5e-2])
    assert schedule.get_last_lr() == [group["lr"] for group in optimizer.param_groups]


def test_it_goes_on_bit_by_bit_from_its_states():
    straight, cut = new_net(), new_net()
    take_steps(straight, [Muon(new_groups(straight), **OPTIONS)], 5)
    first = Muon(new_groups(cut), **OPTIONS)
    take_steps(cut, [first], 2)
    second = Muon(new_groups(cut), **OPTIONS)
    second.load_state_dict(first.state_dict())
    take_steps(cut, [second], 3, first=2)
    assert all(torch.equal(weight, weights(straight)[name]) for name, weight in weights(cut).items())


def test_where_nothing_would_be_its_own_it_says_what_to_write():
    net = new_net()
    for groups in (new_groups(net)[1:], [{"params": [net["inner"].bias], "muon": 1.0}]):
        with pytest.raises(ValueError, match=r"optimizer=muon updates the matrices of parts with the option muon, and"):
            Muon(groups, **OPTIONS)


def test_deepspeed_flattens_weights_so_it_is_refused_there():
    with pytest.raises(ValueError, match="strategy=deepspeed_zero2 flattens weights, .* choose optimizer=adamw"):
        check_machine(compose("train", "stage=ivideogpt/world_model", "strategy=deepspeed_zero2"))
