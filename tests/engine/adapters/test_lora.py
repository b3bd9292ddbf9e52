"""Which layers get an adapter, what is trained, and that merging gives the model that was trained."""

import pytest
import torch
from torch import nn

from mirage_pl.engine.adapters.lora import Lora
from mirage_pl.engine.adapters.parts import locate_parts, part_of
from mirage_pl.engine.adapters.rows import copy_rows
from mirage_pl.engine.training.optim import parameter_groups

IDS = [5, 1]


class Model(nn.Module):
    """An embedding, two blocks, an eye within which lies a merger, and a head; and a critic that is no part of it."""

    def __init__(self, tied):
        super().__init__()
        self.words, self.head = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
        self.blocks = nn.ModuleList(nn.ModuleDict({"up": nn.Linear(4, 6), "down": nn.Linear(6, 4)}) for _ in range(2))
        self.eye = nn.ModuleDict({"patch": nn.Linear(3, 4), "merger": nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))})
        self.critic = nn.Linear(4, 1)
        if tied:
            self.head.weight = self.words.weight

    def forward(self, tokens, pixels):
        hidden = self.words(tokens) + self.eye["merger"](self.eye["patch"](pixels))
        for block in self.blocks:
            hidden = hidden + block["down"](torch.tanh(block["up"](hidden)))
        return self.head(hidden)


class Stage(nn.Module):
    def __init__(self, tied=False):
        super().__init__()
        torch.manual_seed(0)
        self.net = Model(tied)

    def parts(self):
        net = self.net
        return {"vision": [net.eye], "merger": [net.eye["merger"]], "language": [net.words, net.blocks, net.head]}

    def vocabulary(self):
        return self.net.words, self.net.head, IDS


def given(**options):
    return Lora(**({"rank": 2, "alpha": 4, "parts": ["language"]} | options))


def trained(stage):
    return {name for name, weight in stage.named_parameters() if weight.requires_grad}


def shaken(stage):
    """Move everything that is trained, as training would."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in stage.parameters():
            if weight.requires_grad:
                weight += 0.3 * torch.randn_like(weight)
    return stage


INPUTS = torch.tensor([[5, 1, 0, 6]]), torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(2))
WAYS = [
    {},
    {"parts": ["language", "vision", "merger"]},
    {"layers": ["up"]},
    {"layers": ["blocks.1.*"], "rows": False},
    {"parts": ["merger"], "whole": ["vision"]},
    {"dora": True, "parts": ["language", "vision"]},
    {"bits": 4},
    {"bits": 4, "dora": True},
    {"layers": []},
]


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_what_is_merged_answers_as_what_was_trained(way, tied):
    stage, plain = Stage(tied), Stage(tied)
    names = list(plain.state_dict())
    lora = given(**way)
    lora.inject(stage, plain=True)
    wanted = shaken(stage).net(*INPUTS)
    lora.merge(stage)
    torch.testing.assert_close(stage.net(*INPUTS), wanted, atol=1e-6, rtol=1e-6)
    assert list(stage.state_dict()) == names
    assert not torch.allclose(plain.net(*INPUTS), wanted)
    assert (stage.net.head.weight is stage.net.words.weight) == tied


@pytest.mark.parametrize("back", [False, True])
def test_four_bits_are_the_same_four_bits_where_they_can_be_merged(back):
    stage = Stage()
    given(bits=4).inject(stage, plain=back)
    own = stage.net.blocks[0]["up"].base_layer.weight
    assert (own.dtype == torch.uint8) != back
    other = Stage()
    given(bits=4).inject(other, plain=not back)
    torch.testing.assert_close(stage.eval().net(*INPUTS), other.eval().net(*INPUTS), atol=1e-6, rtol=1e-6)
    assert not torch.allclose(stage.net(*INPUTS), Stage().net(*INPUTS), atol=1e-6)


def test_a_new_adapter_changes_nothing_and_its_seed_decides_its_weights():
    stage, plain = Stage(), Stage()
    torch.rand(3)  # what was drawn before doesn't
    given(parts=["language", "vision"], dora=True).inject(stage, seed=3)
    torch.testing.assert_close(stage.net(*INPUTS), plain.net(*INPUTS))
    other, another = Stage(), Stage()
    given(parts=["language", "vision"], dora=True).inject(other, seed=3)
    given(parts=["language", "vision"], dora=True).inject(another, seed=4)
    first = stage.net.blocks[0]["up"].lora_A["default"].weight
    assert torch.equal(first, other.net.blocks[0]["up"].lora_A["default"].weight)
    assert not torch.equal(first, another.net.blocks[0]["up"].lora_A["default"].weight)


def test_adapters_and_rows_are_trained_and_what_is_no_part_and_nothing_else():
    stage = Stage()
    given(layers=["up"], whole=["merger"]).inject(stage)
    ends = {name.removeprefix("net.") for name in trained(stage)}
    adapters = {f"blocks.{block}.up.lora_{side}.default.weight" for block in (0, 1) for side in "AB"}
    merger = {f"eye.merger.{name}" for name in ("0.weight", "0.bias", "1.weight", "1.bias")}
    assert ends == adapters | merger | {"words.rows.weight", "head.rows.weight", "critic.weight", "critic.bias"}


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_rows_get_the_gradient_that_the_whole_weights_would_and_no_other_row_moves(tied):
    stage, plain = Stage(tied), Stage(tied)
    given(layers=[]).inject(stage)
    stage.net(*INPUTS).square().sum().backward()
    plain.net(*INPUTS).square().sum().backward()
    words, head = stage.net.words, stage.net.head
    assert (words.rows is head.rows) == tied
    torch.testing.assert_close(words.rows.weight.grad, plain.net.words.weight.grad[IDS])
    torch.testing.assert_close(head.rows.weight.grad, plain.net.head.weight.grad[IDS])
    assert words.weight.grad is None
    shaken(stage)
    others = [row for row in range(7) if row not in IDS]
    torch.testing.assert_close(copy_rows(words)[others], plain.net.words.weight[others])
    assert torch.equal(copy_rows(words)[IDS], words.rows.weight)


def test_rows_of_a_scaled_embedding_are_scaled():
    stage = Stage()
    stage.net.words.embed_scale = torch.tensor(3.0)
    stage.net.words.forward = lambda tokens: 3 * nn.functional.embedding(tokens, stage.net.words.weight)
    wanted = stage.net(*INPUTS)
    given(layers=[]).inject(stage)
    torch.testing.assert_close(stage.net(*INPUTS), wanted)


REFUSED = [
    ({"layers": ["upp"]}, "lora.layers: upp matches no linear layer of language; their names end in down, up$"),
    ({"layers": ["up", "head"]}, "lora.layers: head matches no linear layer of language; their names end in down, up$"),
    ({"parts": ["ear"]}, r"lora.parts=\['ear'\]: the model has no part ear; its parts are language, merger, vision$"),
    ({"whole": ["ear"]}, r"lora.whole=\['ear'\]: the model has no part ear; its parts are"),
    ({"parts": []}, "lora.layers=all-linear: no part has no linear layer; see lora.parts|no linear layer"),
    ({"rank": 0}, "lora.rank=0 must be 1 or more"),
    ({"bits": 8}, "lora.bits=8 must be 4, or null"),
    ({"dropout": 1.0}, "lora.dropout=1.0 must be from 0 to below 1"),
    ({"layers": "q_proj"}, r"lora.layers=q_proj must be all-linear, or a list: lora.layers=\[q_proj\]"),
]


@pytest.mark.parametrize(("way", "said"), REFUSED, ids=[said[:40] for _, said in REFUSED])
def test_what_matches_nothing_is_refused_with_what_could_be_matched(way, said):
    with pytest.raises(ValueError, match=said):
        given(**way).inject(Stage())


def test_an_adapter_that_trains_nothing_is_refused():
    stage = Stage()
    stage.net.critic.requires_grad_(False)
    with pytest.raises(ValueError, match="trains nothing"):
        given(layers=[], rows=False).inject(stage)


def test_a_model_whose_family_names_no_parts_says_so():
    stage = Stage()
    stage.parts = dict
    with pytest.raises(ValueError, match="the model has no part language; its parts are none, so lora can't be used"):
        given().inject(stage)


def test_a_weight_belongs_to_the_innermost_part():
    stage = Stage()
    given().inject(stage)
    places = locate_parts(stage)
    names = {
        "net.eye.patch.weight": "vision",
        "net.eye.merger.0.weight": "merger",
        "net.blocks.0.up.lora_A.default.weight": "language",
        "net.words.rows.weight": "rows",
        "net.head.rows.weight": "rows",
        "net.critic.weight": None,
    }
    assert {name: part_of(name, places) for name in names} == names


def rates(stage, parts, **rates):
    names = {id(weight): name for name, weight in stage.named_parameters()}
    groups = parameter_groups(stage, 0.1, parts, rates=rates)
    return {names[id(weight)].removeprefix("net."): group.get("lr") for group in groups for weight in group["params"]}


def test_parts_have_learning_rates_by_their_names_and_nulls_are_none():
    stage = Stage()
    parts = {"language": {"lr": 2}, "rows": {"lr": None}, "net.blocks.1.down": {"lr": 3}}
    found = rates(stage, parts, vision=1, merger=None)
    assert found["eye.patch.weight"] == 1
    assert found["eye.merger.0.weight"] is None
    assert (found["words.weight"], found["blocks.1.up.weight"], found["blocks.1.down.bias"]) == (2, 2, 3)
    assert found["critic.weight"] is None
    given().inject(stage)
    found = rates(stage, {}, rows=4)
    assert (found["words.rows.weight"], found["head.rows.weight"]) == (4, 4)
    assert found["blocks.0.up.lora_A.default.weight"] is None


@pytest.mark.parametrize(("part", "lora"), [("rows", False), ("ear", False), ("vision", True)])
def test_a_part_without_anything_that_is_trained_is_refused(part, lora):
    stage = Stage()
    if lora:
        given().inject(stage)
    for key, given_rates in (("parts", ({part: {"lr": 1}},)), ("lr_by_part", (None, ("",), {part: 1}))):
        with pytest.raises(
            ValueError, match=f"stage.module.{key}.{part} names nothing that is trained; .* to .*language"
        ):
            parameter_groups(stage, 0.1, *given_rates)


def test_options_of_a_part_that_are_none_are_refused():
    with pytest.raises(ValueError, match="stage.module.parts.vision=0.1 must be options, such as {lr: 1.0e-5}"):
        parameter_groups(Stage(), 0.1, {"vision": 0.1})
