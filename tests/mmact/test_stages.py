"""What a step of a policy sees and loses, and how it chooses actions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hydra.utils import instantiate

from mirage_pl.mmact.evaluations.policies import make_step
from mirage_pl.mmact.losses import SlotLoss
from mirage_pl.mmact.model.backbone import Kept
from mirage_pl.mmact.model.decoding import HIDDEN, Decode
from mirage_pl.mmact.model.text_decoding import Commit
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
    bins = module.net.code_actions(batch.actions_BHA).flatten(1)
    ids = module.fill(batch, batch.action, bins, module.net.vocab.bins)
    vocab = module.net.vocab
    states = ids[batch.action.state_BL].view(2, -1) - vocab.bins.first
    back = module.scales.state.invert(module.net.bins.decode(states))
    torch.testing.assert_close(back, batch.states_MS, rtol=0, atol=0.36 / 255 + 1e-5)
    assert not (ids == vocab["mask"]).any()
    hidden = module.fill(batch, batch.action, torch.full_like(bins, HIDDEN), vocab.bins)
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
    targets = module.net.code_actions(batch.actions_BHA).flatten(1)
    bins = module.net.vocab.bins
    ids = module.fill(batch, batch.action, torch.where(hidden, HIDDEN, targets), bins)
    logits = module.read(batch.action, ids, hidden, bins)
    each = SlotLoss("gaussian", radius=6, edge=0.011)(logits, targets[hidden])
    torch.testing.assert_close(module.losses(batch)["action"], each.mean())
    module.step = 1
    assert not torch.equal(module.hide(batch), hidden)
    assert torch.equal(module.hide(batch)[1], module.hide(collate([rows[1]]))[0])
    assert module.eval().hide(batch).all()


@pytest.mark.parametrize("decode", [Decode(4), Decode(4, "sample", temperature=1.0), Commit(4), Commit(8, 2)])
def test_keys_that_are_kept_change_nothing_where_prompts_see_themselves_alone(told, monkeypatch, decode):
    module, collate, rows = build(told, "prompt_sees=prompt")
    fit_scales(module, rows)
    batch, passes = collate([rows[0], make_step("short", "go", rows[9].state_S, 4, 2)]), []
    run = module.net.backbone.run_blocks
    monkeypatch.setattr(module.net.backbone, "run_blocks", lambda *a: passes.append(a[0].shape[1]) or run(*a))

    def choose():
        streams = [torch.Generator().manual_seed(row) for row in range(2)]
        return module.choose_actions(batch, decode, streams), passes.copy()

    kept, lengths = choose()
    forwards = decode.steps
    assert lengths == [batch.action.begin, *[batch.action.ids_BL.shape[1] - batch.action.begin] * forwards]
    monkeypatch.setattr(module, "keep", lambda prompts, stale=False: Kept(prompts.begin))
    predict = module.predict
    monkeypatch.setattr(module, "predict", lambda *given: predict(*given[:4]))
    anew, lengths = choose()
    assert len(lengths) == 1 + forwards + 2 * forwards
    assert torch.equal(kept, anew)


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
    assert collate([long, long]).action.ids_BL.shape[1] == 20 + 8 + 2
    assert [record.message.split(":")[0] for record in caplog.records if "left out" in record.message] == ["mine"]
    _, collate, rows = build(told, "prompt_length=12")
    with pytest.raises(ValueError, match=r"mine:1@0: a prompt of \d+ ids without its instruction"):
        collate([long])


def test_words_that_are_hidden_lose_by_the_chance_to_hide_them_and_the_room_of_the_answer(told):
    module, collate, rows = build(told, stage="mmact/text")
    batch = collate([rows[0], rows[7]])
    said = [collate.words.encode(rows[place].plan) for place in (0, 7)]
    for row, ids in enumerate(said):
        assert batch.words_BW[row].tolist() == ids + [module.net.vocab["eos"]] * (16 - len(ids))
        assert batch.said_BW[row].sum() == len(ids) + 1
    module.train()
    hidden, chances = module.hide_words(batch)
    ids = module.fill(batch, batch.text, torch.where(hidden, HIDDEN, batch.words_BW), module.net.vocab.words)
    logits = module.predict(batch, batch.text, torch.where(hidden, HIDDEN, batch.words_BW), module.net.vocab.words)
    assert (ids[batch.text.slots_BL].view(2, -1) == module.net.vocab["mask"]).equal(hidden)
    each = torch.nn.functional.cross_entropy(logits.transpose(1, 2), batch.words_BW, reduction="none")
    by_hand = sum((each[row] * (hidden & batch.said_BW)[row]).sum() / chances[row] / 16 for row in range(2)) / 2
    torch.testing.assert_close(module.losses(batch)["text"], by_hand)
    assert torch.equal(module.hide_words(batch)[0][1], module.hide_words(collate([rows[7]]))[0][0])
    _, collate, _ = build(told, "text_slots=3", stage="mmact/text")
    with pytest.raises(ValueError, match="don't fit into text_slots=3"):
        collate([rows[0]])


def test_a_mix_loses_what_its_parts_lose(told):
    mix, collate, rows = build(told, stage="mmact/mix")
    batch = collate([rows[0], rows[7]])
    losses = mix.train().losses(batch)
    for stage in ("mmact/action", "mmact/text"):
        module, _, _ = build(told, stage=stage)
        module.load_state_dict(mix.state_dict())
        (name,) = module.loss_weights
        torch.testing.assert_close(module.train().losses(batch)[name], losses[name])
    assert mix.terms(batch) == {"action": batch.real_BN.sum(), "text": 2}
    with pytest.raises(ValueError, match="row 3: no plan"):
        mix.losses(collate([rows[0], make_step("row 3", "go", rows[0].state_S, 4, 2)]))


def test_padding_is_seen_where_the_released_mistake_is_asked_for(told):
    with pytest.raises(Exception, match="compat=true is for prompt_sees=all"):
        build(told, "compat=true", "prompt_sees=prompt")
    module, collate, rows = build(told, "compat=true")
    short, long = (make_step(words, words, rows[0].state_S, 4, 2) for words in ("go", "go to the red disc now"))
    alone, together = collate([short]), collate([short, long])
    module.train()
    once = module.predict(alone, alone.action, torch.full((1, 8), HIDDEN), module.net.vocab.bins)
    padded = module.predict(together, together.action, torch.full((2, 8), HIDDEN), module.net.vocab.bins)[:1]
    assert (once - padded).abs().max() > 1e-3
    module.eval()
    once = module.predict(alone, alone.action, torch.full((1, 8), HIDDEN), module.net.vocab.bins)
    padded = module.predict(together, together.action, torch.full((2, 8), HIDDEN), module.net.vocab.bins)[:1]
    torch.testing.assert_close(once, padded, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stage", ["mmact/action", "mmact/regression"])
def test_data_of_other_numbers_than_a_policy_was_trained_on_are_refused(told, stage):
    module, collate, rows = build(told, stage=stage)
    fit_scales(module, rows)
    wide = [replace(rows[0], actions_HA=np.zeros(shape, np.float32)) for shape in ((4, 7), (7, 4), (4, 1), (8, 1))]
    for batch in map(collate, ([step] for step in wide)):
        for use in (module.losses, lambda batch: module.choose_actions(batch, Decode(), None)):
            with pytest.raises(
                ValueError, match="normalizer has 2; give data of the kind|predicts chunks of 8 numbers"
            ):
                use(batch)
    longer = collate([replace(rows[0], state_S=np.zeros(12, np.float32))])
    with pytest.raises(ValueError, match="got 12 numbers where this model's normalizer has 10"):
        module.choose_actions(longer, Decode(), None)


@pytest.mark.parametrize("stage", ["mmact/action", "mmact/regression"])
def test_a_policy_that_reads_no_instruction_does_the_same_whatever_it_is_told(told, stage):
    for reads in (False, True):
        module, collate, rows = build(told, f"reads_instruction={reads}", stage=stage)
        fit_scales(module, rows)
        steps = [make_step(words, words, rows[0].state_S, 4, 2) for words in ("push the box", "go to the red disc", "")]
        actions = [module.choose_actions(collate([step]), Decode(choose="expectation"), None) for step in steps]
        assert all(torch.equal(actions[0], other) for other in actions[1:]) != reads
