"""Streams of random numbers by name."""

import random
import traceback

import numpy as np
import torch

from data_modules.loading.draws import reseed, stream_seed


def draw():
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_the_same_names_bring_the_same_draws_and_others_do_not():
    draws = []
    for names in ((1, "a"), (1, "b"), (1, "a")):
        reseed(*names)
        draws.append(draw())
    assert draws[0] == draws[2] != draws[1]
    torch.manual_seed(stream_seed(1, "a"))
    assert float(torch.rand(())) == draws[0][2]


def test_seeding_costs_no_stack_trace_where_there_is_no_accelerator(monkeypatch):
    monkeypatch.setattr("data_modules.loading.draws.has_accelerator", lambda: False)
    monkeypatch.setattr(traceback, "format_stack", lambda: 1 / 0)
    reseed("row")
