"""Weights of another model are refused with what to choose."""

import pytest
import torch
from torch import nn

from mirage_pl.engine.checkpoints.weights import copy_weights, name_choices
from mirage_pl.engine.runs.starts import Start


def test_the_choice_that_a_weight_belongs_to_is_named_first():
    assert name_choices("net.feedback.codes_CD") == "the feedback=, stage=, model= and the options of the model"
    assert name_choices("net.layers.0.weight") == "the stage=, model= and the options of the model"


def test_weights_that_this_model_lacks_are_refused_with_the_choice_that_brings_them(tmp_path):
    net = nn.Linear(2, 2)
    words = {"feedback.codes_CD": torch.zeros(4, 2)}
    with pytest.raises(ValueError, match=r"feedback.codes_CD is \(4, 2\) there and absent here; choose the feedback="):
        copy_weights(net.state_dict(), {**net.state_dict(), **words}, tmp_path / "last.ckpt", Start())
