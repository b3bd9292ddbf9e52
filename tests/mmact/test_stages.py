"""What a step of a policy sees and loses, and how it chooses actions."""

import pytest
import torch
from hydra.utils import instantiate

from mirage_pl.mmact.evaluations.policies import make_step
from mirage_pl.mmact.losses import SlotLoss
from mirage_pl.mmact.model.decoding import HIDDEN, Decode
from tests.mmact.conftest import compose_small


def build(told, *overrides, stage="mmact/action"):
    cfg = compose_small("train", f"data={told}", *overrides, stage=stage)
    torch.manual_seed(0)
    module, collate = instantiate(cfg.stage.module).eval(), instantiate(cfg.stage.collator)
    return module, collate, instantiate(cfg.task.dataset).read(cfg.task.train_file)


def fit_scales(module, rows):
    module.scales.fit(*map(torch.from_numpy, rows.gather()))


def test_numbers_of_states_and_actions_become_their_bins_and_come_back(told):
    module, collate, rows = build(told)
    fit_scales(module, rows)
    batch = collate([rows[0], rows[5]])
    bins = module.net.code_actions(module.shape_actions(batch)).flatten(1)
    ids = module.fill(batch, bins)
    vocab = module.net.vocab
    states = ids[batch.state_BL].view(2, -1) - vocab.bins.first
    back = module.scales.state.invert(module.net.bins.decode(states))
    torch.testing.assert_close(back, batch.states_MS, rtol=0, atol=0.36 / 255 + 1e-5)
    assert not (ids == vocab["mask"]).any()
    hidden = module.fill(batch, torch.full_like(bins, HIDDEN))
    assert (hidden == vocab["mask"]).sum() == bins.numel()
    chosen = module.net.read_actions(bins.unflatten(1, (4, 2))).flatten(1)
    torch.testing.assert_close(chosen, batch.actions_BN.clamp(-1, 1), rtol=0, atol=1 / 255 + 1e-6)


def test_what_lies_behind_an_episode_is_neither_shown_nor_learnt(told):
    module, collate, rows = build(told, "masking=cosine", "supervise=all")
    last = next(rows[index] for index in range(len(rows)) if rows[index].real == 1)
    batch = collate([rows[0], last])
    assert batch.real_BN.sum(1).tolist() == [8, 2]
    assert module.train().hide(batch)[1, 2:].all()
    assert module.terms(batch)["action"] == 10
    changed = batch.to("cpu")
    changed.actions_BN[1, 2:] += 0.5
    assert torch.equal(module.losses(changed)["action"], module.losses(batch)["action"])


def test_only_what_is_hidden_is_learnt_unless_all_is_asked_for(told):
    module, collate, rows = build(told, "masking=cosine")
    batch = collate([rows[0], rows[1]])
    module.train()
    hidden = module.hide(batch)
    assert module.terms(batch)["action"] == (hidden & batch.real_BN).sum() < batch.real_BN.sum()
    targets = module.net.code_actions(module.shape_actions(batch)).flatten(1)
    logits = module.read(batch, module.fill(batch, torch.where(hidden, HIDDEN, targets)), hidden)
    each = SlotLoss("gaussian", radius=6, edge=0.011)(logits, targets[hidden])
    torch.testing.assert_close(module.losses(batch)["action"], each.mean())
    module.step = 1
    assert not torch.equal(module.hide(batch), hidden)
    assert torch.equal(module.hide(batch)[1], module.hide(collate([rows[1]]))[0])
    assert module.eval().hide(batch).all()


@pytest.mark.parametrize("stage", ["mmact/action", "mmact/regression"])
def test_actions_of_a_batch_are_those_of_its_rows_alone_with_a_state_or_without(told, stage):
    module, collate, rows = build(told, stage=stage)
    fit_scales(module, rows)
    steps = [
        make_step(f"row {number}", words, state, 4, 2)
        for number, (words, state) in enumerate((("push", rows[0].state_S), ("go to it", None), ("", rows[9].state_S)))
    ]
    for decode in (Decode(), Decode(choose="expectation"), Decode(3, "sample")):
        streams = [[torch.Generator().manual_seed(number) for number in range(3)] for _ in range(2)]
        together = module.choose_actions(collate(steps), decode, streams[0])
        pairs = zip(steps, streams[1], strict=True)
        alone = torch.cat([module.choose_actions(collate([step]), decode, [stream]) for step, stream in pairs])
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
        assert (together.abs() <= 1).all() or stage == "mmact/regression"


def test_checkpointing_changes_no_gradient(told):
    grads = []
    for more in ([], ["memory.checkpointing=true"]):
        module, collate, rows = build(told, *more)
        module.train().losses(collate([rows[0], rows[3]]))["action"].backward()
        grads.append([weight.grad.clone() for weight in module.parameters() if weight.grad is not None])
    assert all(torch.equal(*pair) for pair in zip(*grads, strict=True))


def test_an_instruction_that_doesnt_fit_is_cut_and_said_once(told, caplog):
    _, collate, rows = build(told, "prompt_length=20")
    long = make_step("mine:1@0", "please " * 9 + "go", rows[0].state_S, 4, 2)
    assert collate([long, long]).ids_BL.shape[1] == 20 + 8 + 2
    assert [record.message.split(":")[0] for record in caplog.records if "left out" in record.message] == ["mine"]
    _, collate, rows = build(told, "prompt_length=12")
    with pytest.raises(ValueError, match=r"mine:1@0: a prompt of \d+ ids without its instruction"):
        collate([long])
