"""The reference implementation's own numbers, on its inputs: states, losses, bins, prompts, decoded ids."""

import hashlib
from dataclasses import replace
from functools import partial

import pytest
import torch

from data_modules.demonstrations.steps import list_places
from mirage_pl.mmact.losses import SlotLoss, average, average_words
from mirage_pl.mmact.model.backbone import Ask, Backbone, Sizes
from mirage_pl.mmact.model.bins import Bins, Normalizer
from mirage_pl.mmact.model.coder import draw_to_signs, lose_entropy
from mirage_pl.mmact.model.decoding import HIDDEN, Decode
from mirage_pl.mmact.model.images import prepare_picture, read_codes, write_signs
from mirage_pl.mmact.model.masking import Masking, Schedule
from mirage_pl.mmact.model.released import resize_vocabulary
from mirage_pl.mmact.model.templates import PHRASES, Observation, Templates
from mirage_pl.mmact.model.text_decoding import Commit, share_quotas
from mirage_pl.mmact.model.vocabulary import CONTROLS, Span, Vocab, lay_out_released
from mirage_pl.mmact.schedule import find_factor

IGNORE = -100
close = partial(pytest.approx, rel=1e-4, abs=1e-4)
close_loss = partial(pytest.approx, rel=1e-5, abs=1e-6)
close_norm = partial(pytest.approx, rel=1e-4)


def vocab_of(layout):
    """A vocabulary of one of the file's layouts."""
    controls = {name: layout[name] for name in CONTROLS}
    spans = Span(layout["image"], layout["codes"]), Span(layout["bin"], layout["bins"])
    return Vocab(layout["text"], controls, *spans, layout["vocab"])


@pytest.fixture(scope="module")
def backbone(rebuild):
    """The tiny backbone with the reference's weights."""
    sizes = {name: value for name, value in rebuild.MODEL.items() if name != "vocab"}
    backbone = Backbone(Sizes(**sizes), rebuild.MODEL["vocab"], checkpointing=False)
    backbone.load_state_dict(rebuild.state_dict())
    return backbone.eval()


def test_the_released_layout_is_the_files(rebuild):
    assert vocab_of(rebuild.REAL) == lay_out_released()


@torch.no_grad()
def test_hidden_states_and_padding_that_nobody_sees(rebuild, backbone, backbone_case):
    inputs, ids, keys = rebuild.backbone(backbone_case["case"]), *two(rebuild.backbone(backbone_case["case"]))
    hidden, whole = backbone.encode(ids, keys), Span(0, len(backbone.transformer.wte.weight))
    logits = torch.nn.functional.linear(hidden, backbone.transformer.ff_out.weight)
    for row, key in enumerate(keys):
        real = hidden[row, key]
        assert real.norm().item() == pytest.approx(backbone_case["hidden_norm"][row], rel=1e-5)
        assert logits[row, key].norm().item() == pytest.approx(backbone_case["logits_norm"][row], rel=1e-5)
        assert real[0, :6].tolist() == close(backbone_case["hidden_first_real"][row])
        assert real[-1, :6].tolist() == close(backbone_case["hidden_last"][row])
        assert logits[row, key].argmax(-1).tolist() == backbone_case["argmax"][row]
        alone = backbone.encode(ids[row : row + 1, key], None)[0]
        torch.testing.assert_close(alone, real, rtol=0, atol=1e-4)
    assert torch.equal(backbone.encode(inputs["other"], keys)[keys], hidden[keys])
    masks = ids == rebuild.MINI["mask"]
    bins = Span(rebuild.MINI["bin"], rebuild.MINI["bins"])
    everything, only_bins = backbone(ids, keys, [Ask(keys, whole), Ask(masks, bins)])
    torch.testing.assert_close(everything, logits[keys], rtol=0, atol=1e-5)
    chosen = only_bins.argmax(-1).view(len(ids), -1)
    assert chosen.tolist() == backbone_case["argmax_bins_of_masks"]
    released = backbone.encode(ids, keys, added=True) @ backbone.transformer.ff_out.weight.T
    norms = [released[row, key].norm().item() for row, key in enumerate(keys)]
    assert norms == pytest.approx(backbone_case["released_float_bias"]["logits_norm"], rel=1e-5)


def two(inputs):
    return inputs["ids"], inputs["key_mask"]


def lose(backbone, part, labels, kind, added=False, **options):
    """The mean loss of what labels name, over all ids."""
    places = labels != IGNORE
    (logits,) = backbone(part["ids"], part.get("key_mask"), [Ask(places, Span(0, 336))], added)
    return average(SlotLoss(kind, **options)(logits, labels[places]))


def lose_text(backbone, vocab, part, added=False):
    places = (part["ids"] == vocab["mask"]) & (part["labels"] != IGNORE)
    keys = torch.ones_like(places) if added else None
    (logits,) = backbone(part["ids"], keys, [Ask(places, Span(0, 336))], added)
    rows = places.nonzero()[:, 0]
    return average_words(SlotLoss("single")(logits, part["labels"][places]), rows, part["p"][:, 0], part["n"][:, 0])


def compare(backbone, loss, expected):
    """A loss, and norms of its gradients."""
    assert loss.item() == close_loss(expected["loss"])
    backbone.zero_grad()
    loss.backward()
    grads = {name: weight.grad for name, weight in backbone.named_parameters() if weight.grad is not None}
    norms = {
        f"model.transformer.{name}.weight": norm for name, norm in expected.get("grad", {}).items() if name != "all"
    }
    assert {name: grads[name].norm().item() for name in norms} == close_norm(norms)
    whole = torch.stack([grad.norm() for grad in grads.values()]).norm().item()
    assert whole == close_norm(expected.get("grad", {}).get("all", expected.get("grad_all")))


def test_losses_and_gradients(rebuild, backbone, losses_case):
    case, vocab = losses_case["case"], vocab_of(rebuild.MINI)
    inputs = rebuild.losses(case)
    action, image, text = inputs["action"], inputs["image"], inputs["text"]
    compare(backbone, lose(backbone, action, action["labels_all"], "single"), losses_case["action_all"])
    compare(backbone, lose(backbone, action, action["labels_masked"], "single"), losses_case["action_masked"])
    for expected in losses_case["action_multi"]:
        compare(backbone, lose(backbone, action, action["labels_all"], "margin", within=expected["within"]), expected)
    for expected in losses_case["action_gaussian"]:
        options = {"radius": expected["radius"], "edge": expected["at_value"]}
        compare(backbone, lose(backbone, action, action["labels_all"], "gaussian", **options), expected)
    compare(backbone, lose(backbone, image, image["labels"], "single"), losses_case["image"])
    assert (image["labels"] != IGNORE).sum() == losses_case["image"]["supervised"]
    compare(backbone, lose_text(backbone, vocab, text), losses_case["text"])
    total = sum_up(
        lose(backbone, action, action["labels_all"], "single"),
        lose(backbone, image, image["labels"], "single"),
        lose_text(backbone, vocab, text),
    )
    compare(backbone, total, losses_case["total"])


def sum_up(action, image, text):
    return action + 0.05 * image + 0.05 * text


def test_the_released_mistakes_where_they_are_asked_for(rebuild, backbone, losses_case):
    expected, vocab, inputs = losses_case["released_mixed"], vocab_of(rebuild.MINI), rebuild.losses(losses_case["case"])
    action, image = inputs["action"], inputs["image"]
    visible = image["labels_released"].clone()
    visible[:, : losses_case["case"]["skip"] + 1] = IGNORE
    losses = {
        "action": lose(backbone, action, action["labels_all"], "single", added=True),
        "image": lose(backbone, image, visible, "single", added=True),
        "text": lose_text(backbone, vocab, inputs["text"], added=True),
    }
    assert {name: loss.item() for name, loss in losses.items()} == close_loss({name: expected[name] for name in losses})
    assert (visible != IGNORE).sum() == expected["image_supervised"]
    compare(backbone, sum_up(**losses), expected | {"loss": expected["total"]})


def test_numbers_become_bins(rebuild, bins_case):
    case, values = bins_case["case"], rebuild.values(bins_case["case"])
    bins, first = Bins(case["bins"]), case["vocab"] - case["bins"]
    edges = torch.tensor(case["edges"], dtype=torch.float64)
    assert bins.encode(edges).tolist() == bins_case["edges_as_state"]
    assert bins.encode(edges.float()).tolist() == bins_case["edges_as_action"]
    assert bins.decode(torch.tensor(case["ids"])).tolist() == pytest.approx(bins_case["ids_back"], abs=1e-6)
    arms = {
        "libero": (Normalizer(8, "none", scale={3: 5, 4: 5, 5: 5}), Normalizer(case["dims"], "none")),
        "mean_std": (Normalizer(8, "mean_std"), Normalizer(7, "mean_std", raw=[6])),
    }
    state, action = arms["mean_std"]
    state.set(values["state_mean"], 3 * values["state_std"])
    pad = torch.zeros(1)
    action.set(torch.cat((values["action_mean"], pad)), 3 * torch.cat((values["action_std"], pad)))
    for name, (state, action) in arms.items():
        tokens = bins.encode(state(values["state"]).double()) + first, bins.encode(action(values["action"])) + first
        assert tokens[0].tolist() == bins_case[name]["state_tokens"]
        assert tokens[1].flatten().tolist() == bins_case[name]["action_tokens"]
    joint = Normalizer(14, "min_max", raw=[6, 13])
    joint.set_range(values["joint_min"], values["joint_max"])
    tokens = bins.encode(joint(values["joint"])) + first
    expected = bins_case["joint_first"]
    assert tokens[0].tolist() == expected["state_tokens"]
    assert tokens[list_places(1, 3, 1, len(tokens))].flatten().tolist() == expected["action_tokens"]
    for future in bins_case["future"]:
        starts = range(future["stride"], future["frames"] + future["stride"])
        table = [list_places(start, future["chunk"], future["stride"], future["frames"]) for start in starts]
        assert table == future["table"]


def test_prompts_id_by_id(rebuild, templates_case):
    case, drawn = templates_case["case"], rebuild.template(templates_case["case"])
    vocab = lay_out_released()
    templates = Templates(vocab, {name: rebuild.words(text) for name, text in PHRASES.items()}, cut="tail")
    kind, _, generate = case["kind"].partition("_")
    dropped = case.get("no_state") and not generate
    seen = Observation(drawn["task"], () if dropped else drawn["state"], drawn["images"], drawn.get("previous") or ())
    reserve = case["dims"] * case.get("chunk", 0) if case["dims"] == 7 else 0

    def write():
        if kind == "action":
            return templates.write_action(seen, case["dims"], drawn["target"], case["length"], reserve)
        if kind == "image":
            return templates.write_image(seen, case["dims"], drawn["target"], case["length"])
        return templates.write_text(seen, case["dims"], drawn["description"], case["length"])

    if "raises" in templates_case or "lengths" in templates_case:
        with pytest.raises(ValueError, match=r"views, but|don't fit"):
            write()
        return
    row = write()
    labels = label(row, drawn, vocab, kind, case.get("learn_eos"))
    prompt = [place < row.slots.start for place in range(len(row.ids))]
    check(templates_case, "ids", row.ids)
    check(templates_case, "key_mask", row.keys, "".join)
    check(templates_case, "prompt_mask", prompt, "".join)
    check(templates_case, "labels", labels)
    assert row.slots.start == templates_case.get("soa", row.slots.start - 1) + 1


def label(row, drawn, vocab, kind, learn_eos):
    """Labels as released: the visible prompt is in them; of an answer in words its end, and the filler if asked for."""
    if kind == "text":
        answer = [*drawn["description"], vocab["eos"]]
        filler = [vocab["eos"] if learn_eos else IGNORE] * (len(row.slots) - len(answer))
        return [IGNORE] * row.slots.start + answer + filler
    labels = [token if key else IGNORE for token, key in zip(row.ids, row.keys, strict=True)]
    labels[row.slots.start : row.slots.stop] = drawn["target_labels"]
    return labels


def check(expected, name, values, join=None):
    if name in expected:
        assert ("".join(str(int(value)) for value in values) if join else values) == expected[name]
    if f"{name}_sha256" in expected:
        text = " ".join(str(int(value)) for value in values)
        assert hashlib.sha256(text.encode()).hexdigest()[:16] == expected[f"{name}_sha256"]


def predict_with(backbone, vocab, ids, keys, slots, span):
    """A forward pass over a row's slots, whose ids count from a span's first."""
    places = torch.zeros_like(ids, dtype=torch.bool)
    places[:, slots.start : slots.stop] = True

    def predict(filled):
        whole = ids.clone()
        whole[:, slots.start : slots.stop] = torch.where(filled == HIDDEN, vocab["mask"], filled + span.first)
        (logits,) = backbone(whole, keys, [Ask(places, span)])
        return logits.view(len(ids), len(slots), -1)

    return predict


def slots_of(ids, slots, vocab, span):
    part = ids[:, slots.start : slots.stop]
    return torch.where(part == vocab["mask"], HIDDEN, part - span.first)


def schedule_of(case):
    name, options = (case["schedule"], {}) if isinstance(case["schedule"], str) else case["schedule"]
    if name.startswith("pow"):
        return Schedule("power", exponent=float(name.removeprefix("pow")))
    return Schedule(name, **options)


def compare_decoding(decode, predict, given, expected, case):
    filled = decode(predict, given)
    assert filled.ids_BN.tolist() == expected["greedy"]["ids"]
    assert [list(counts) for counts in filled.hidden] == expected["greedy"]["masks_after_each_step"]
    if case["rows"] == 1:  # of one row the draws are as released, bit by bit
        for name, heat in (("drawn", 0.0), ("drawn_with_temperature", case.get("temperature"))):
            if name in expected:
                sample = replace(decode, choose="sample", temperature=heat)
                drawn = sample(predict, given, [torch.Generator().manual_seed(case["draw"])])
                assert drawn.ids_BN.tolist() == expected[name]["ids"]


@torch.no_grad()
def test_chunks_of_actions_are_decoded(rebuild, backbone, decode_action_case):
    case, vocab = decode_action_case["case"], vocab_of(rebuild.MINI)
    inputs = rebuild.decode_action(case)
    slots = range(inputs["soa"] + 1, inputs["soa"] + 1 + case["dims"] * case["chunk"])
    predict = predict_with(backbone, vocab, inputs["ids"], inputs["key_mask"], slots, vocab.bins)
    given = slots_of(inputs["ids"], slots, vocab, vocab.bins)
    logits, hidden = predict(given), torch.full_like(given, HIDDEN)  # the file has given slots, too, as they would be
    assert Decode()(lambda _: logits, hidden).ids_BN.tolist() == decode_action_case["one_step_argmax"]
    means = Bins(vocab.bins.size).decode(Decode(choose="expectation")(lambda _: logits, hidden).expected_BN)[:, :6]
    assert means.tolist() == [close(row) for row in decode_action_case["one_step_expected_value"]]
    compare_decoding(Decode(case["steps"], schedule=schedule_of(case)), predict, given, decode_action_case, case)


@torch.no_grad()
def test_codes_of_images_are_decoded(rebuild, backbone, decode_image_case):
    case, vocab = decode_image_case["case"], vocab_of(rebuild.MINI)
    inputs = rebuild.decode_image(case)
    slots = range(inputs["soi"] + 1, inputs["soi"] + 1 + case["codes"])
    with_prompt = predict_with(backbone, vocab, inputs["ids"], inputs["key_mask"], slots, vocab.images)
    bare = inputs["ids"].clone()
    bare[:, : len(inputs["empty"])] = inputs["empty"]
    keys = inputs["empty_key_mask"].expand_as(bare)
    without = predict_with(backbone, vocab, bare, keys, slots, vocab.images)
    given, guidance = slots_of(inputs["ids"], slots, vocab, vocab.images), case.get("guidance", 0)

    def predict(filled):
        return with_prompt(filled) if not guidance else guide(with_prompt(filled), without(filled), guidance)

    decode = Decode(case["steps"], schedule=schedule_of(case), cumulative=True)
    compare_decoding(decode, predict, given, decode_image_case, case)


def guide(given, free, guidance):
    return (1 + guidance) * given - guidance * free


@torch.no_grad()
def test_answers_in_words_are_decoded(rebuild, backbone, decode_text_case):
    case, vocab = decode_text_case["case"], vocab_of(rebuild.MINI)
    prompt, whole = rebuild.decode_text(case)["prompt"], Span(0, rebuild.MINI["vocab"])
    slots = range(prompt.shape[1], prompt.shape[1] + case["gen"])
    ids = torch.cat((prompt, torch.full((1, case["gen"]), vocab["mask"])), 1)
    bare = torch.full_like(ids, vocab["mask"])
    with_prompt, without = (predict_with(backbone, vocab, row, None, slots, whole) for row in (ids, bare))
    given = torch.full((1, case["gen"]), HIDDEN)

    def predict(filled):
        free = without(filled)
        return free + (1 + case["guidance"]) * (with_prompt(filled) - free)

    blocks = case["gen"] // case.get("block", case["gen"])
    filled = Commit(case["steps"], blocks)(predict if case.get("guidance") else with_prompt, given)
    assert filled.ids_BN[0].tolist() == decode_text_case["ids"]
    assert filled.step_BN[0].tolist() == decode_text_case["committed_in_step"]
    left = decode_text_case["masks_left"]
    assert [count for (count,) in filled.hidden] == left[: len(filled.hidden)]
    quotas = share_quotas(torch.tensor([case["gen"] // blocks]), case["steps"] // blocks)
    assert quotas[0].tolist() == decode_text_case["quotas"]


def test_schedules(rebuild, schedules_case):
    ratio = schedule_of(schedules_case["case"])(torch.tensor(schedules_case["case"]["u"]))
    assert ratio.tolist() == pytest.approx(schedules_case["ratio"], abs=1e-6)


def test_counts(rebuild, counts_case):
    case = counts_case["case"]
    masking, share = Masking(Schedule(), case["least"]), torch.tensor(case["ratios"])
    counts = torch.stack([masking.count(share, length) for length in case["lengths"]], 1)
    assert counts.tolist() == counts_case["masked"]


def test_codes_of_signs(rebuild, lfq_case):
    z = rebuild.lfq(lfq_case["case"])["z"]
    over_all = 0.1 * lose_entropy(z.movedim(1, -1).flatten(0, -2)[None])  # the release weighs both by 0.1
    assert over_all.item() == close_loss(lfq_case["entropy_loss"])
    assert 0.1 * draw_to_signs(z).mean().item() == close_loss(lfq_case["quantizer_loss"])
    assert read_codes(z).tolist() == lfq_case["ids"]
    for code, vector in lfq_case["entries"]:
        assert write_signs(torch.tensor(code), len(vector)).tolist() == vector


def test_pictures_before_they_are_coded(rebuild, picture_case):
    picture = prepare_picture(rebuild.picture(picture_case["case"])["picture"], picture_case["case"]["size"])
    assert list(picture.shape) == picture_case["shape"]
    close = partial(pytest.approx, rel=1e-5, abs=1e-5)
    assert (picture.mean().item(), picture.norm().item()) == (close(picture_case["mean"]), close(picture_case["norm"]))
    assert picture.max().item() == close(picture_case["greatest"])


def test_bins_are_added_once_and_old_rows_stay(rebuild, resize_case):
    case, stream = resize_case["case"], torch.Generator().manual_seed(0)
    old = {name: torch.randn(case["old"], 64) for name in resize_case["grown"]}
    weights, config = resize_vocabulary(old, {"llm_vocab_size": case["llm"]}, case["new"], stream)
    assert {name: list(weight.shape) for name, weight in weights.items()} == resize_case["grown"]
    assert all(torch.equal(weights[name][: case["old"]], rows) for name, rows in old.items())
    spread = {name: weight[case["old"] :].std().item() for name, weight in weights.items()}
    assert spread == pytest.approx(resize_case["new_rows_std"], rel=0.1)
    assert config == resize_case["config"]
    with pytest.raises(ValueError, match=f"has {case['new']} bins already"):
        resize_vocabulary(weights, config, case["new"], stream)


def test_the_released_learning_rate(rebuild, lr_case):
    case = lr_case["case"]
    factors = [find_factor(step, case["steps"], case["warmup"], case["least"]) for step in case["at"]]
    assert factors == pytest.approx(lr_case["scale"], abs=1e-6)
