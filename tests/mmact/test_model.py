"""Vocabulary, bins, scales, templates, ordinal bins, masks and losses, each by hand."""

import math
from dataclasses import replace

import pytest
import torch
from hydra.utils import instantiate

from mirage_pl.mmact.losses import SlotLoss, average_words
from mirage_pl.mmact.model.backbone import Ask, Backbone, Kept, Sizes
from mirage_pl.mmact.model.bins import Bins, Normalizer
from mirage_pl.mmact.model.decoding import HIDDEN, Decode
from mirage_pl.mmact.model.masking import Masking, Schedule, draw_words
from mirage_pl.mmact.model.network import Scales
from mirage_pl.mmact.model.ordinal import OrdinalBackbone
from mirage_pl.mmact.model.places import Places
from mirage_pl.mmact.model.released import load_released
from mirage_pl.mmact.model.templates import PHRASES, Observation, Templates
from mirage_pl.mmact.model.text_decoding import Commit
from mirage_pl.mmact.model.vocabulary import Span, lay_out, lay_out_released
from mirage_pl.mmact.words import Words
from tests.conftest import REPO, compose
from tests.mmact.conftest import compose_small

VOCAB = lay_out(640, 64, 32)
SIZES = Sizes(layers=2, width=32, heads=2, mlp=48, rope_theta=1e4, rms_norm_eps=1e-5)


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_layout_that_shares_an_id_or_ends_too_early_is_refused():
    released = lay_out_released()
    assert (released.images.first, released.bins.first, released.bins.stop, released.size) == (
        126349,
        134656,
        136704,
        136704,
    )
    assert VOCAB["mask"] in Span(640, 15)
    assert VOCAB["mask"] not in VOCAB.words
    for change, words in (
        ({"images": Span(126330, 8192)}, "share an id"),
        ({"bins": Span(134656, 3000)}, "doesn't hold"),
        ({"text": 126079}, "bos and eos"),
        ({"controls": {"bos": 1}}, "needs the control tokens"),
    ):
        with pytest.raises(ValueError, match=words):
            type(released)(**{**vars(released), **change})


@pytest.mark.parametrize("kind", ["none", "mean_std", "min_max"])
def test_numbers_come_back_out_of_bins_and_scales_to_half_a_bin(kind):
    values = torch.randn(200, 3, generator=stream()) * torch.tensor([0.2, 0.5, 0.0]) + torch.tensor([0.0, 0.1, 0.3])
    values = values.clamp(-0.9, 0.9)
    scale, bins = Normalizer(3, kind), Bins(256)
    scale.fit(values)
    back = scale.invert(bins.decode(bins.encode(scale(values))))
    width = scale.scale_D / 255
    assert ((back - values).abs() <= width + 1e-6).all() or kind == "mean_std"
    inside = (scale(values).abs() <= 1).all(1)
    assert ((back - values).abs()[inside] <= width + 1e-6).all()
    other = Normalizer(3, kind)
    other.load_state_dict(scale.state_dict())
    assert torch.equal(other(values), scale(values))
    with pytest.raises(ValueError, match="got 2 numbers where this model's normalizer has 3"):
        scale(values[:, :2])


def test_an_instruction_is_cut_by_rule_and_images_never_are():
    words = Words(str(REPO / "assets/mmact/tokenizer.json"), VOCAB)
    templates = Templates(VOCAB, {name: words.encode(text) for name, text in PHRASES.items()})
    codes = [*range(VOCAB.images.first, VOCAB.images.first + 4)]
    seen = Observation(words.encode("push the box to the red disc"), [VOCAB.bins.first] * 2, [codes])
    whole = templates.write_action(seen, 2, [VOCAB["mask"]] * 4, None)
    limit = len(whole.ids) - 6
    cut = templates.write_action(seen, 2, [VOCAB["mask"]] * 4, limit - 3)
    assert cut.left_out == 3
    assert words.decode([token for token in cut.ids if token < VOCAB.text]).startswith("push the box to The")
    start = cut.ids.index(codes[0])
    assert cut.ids[start - 1 : start + 5] == [VOCAB["soi"], *codes, VOCAB["eoi"]]
    with pytest.raises(ValueError, match="without its instruction"):
        templates.write_action(seen, 2, [VOCAB["mask"]] * 4, limit - 8)
    assert templates.write_prompt("action", Observation([], (), [codes] * 3), 14).count(VOCAB["soi"]) == 3
    for views, dims, names in ((3, 7, "head, wrist"), (4, 14, "head, left, right")):
        has = f"{views - 1}: {names}; set views={views - 1}"
        with pytest.raises(ValueError, match=f"^{views} views, but a prompt for actions of {dims} numbers has {has}$"):
            templates.write_prompt("action", Observation([], (), [codes] * views), dims)
    with pytest.raises(ValueError, match="don't fit into 20"):
        templates.write_text(seen, 2, [1] * 19, 20)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "minmax"}, "^scales.action.kind=minmax must be one of none, mean_std, min_max$"),
        ({"kind": "none", "raw": [99]}, "^scales.action.raw has 99; dimensions must be 0 to 1$"),
        ({"kind": "none", "raw": [-1]}, "^scales.action.raw has -1; dimensions must be 0 to 1$"),
    ],
)
def test_scales_that_cant_be_are_refused_by_the_key_that_names_them(options, words):
    with pytest.raises(ValueError, match=words):
        Scales({"state": 0, "action": 2}, {"kind": "none"}, options)


def test_any_text_is_words_and_comes_back():
    words = Words(str(REPO / "assets/mmact/tokenizer.json"), VOCAB)
    for text in ("push the box to the red disc", "Öffne Schublade 7!", "<|mask|> 盒子"):
        ids = words.encode(text)
        assert all(token < VOCAB.text for token in ids)
        assert words.decode([*ids, VOCAB["eos"], 5]) == text
    assert len(words.encode("go to the green disc")) == 5
    with pytest.raises(ValueError, match="538 ids of text, but the vocabulary has 300"):
        Words(str(REPO / "assets/mmact/tokenizer.json"), lay_out(300, 64, 32))


@torch.no_grad()
@pytest.mark.parametrize("kind", ["plain", "ordinal"])
def test_a_part_of_the_head_gives_what_the_whole_gives_there_and_padding_is_seen_by_nobody(kind):
    torch.manual_seed(0)
    net = Backbone(SIZES, VOCAB.size, False) if kind == "plain" else OrdinalBackbone(SIZES, VOCAB, False)
    ids = torch.randint(0, VOCAB.size, (3, 9), generator=stream())
    keys = torch.arange(9) >= torch.tensor([[0], [3], [5]])
    asked = keys & (torch.arange(9) % 2 == 0)
    some = Span(VOCAB.bins.first - 5, 20)
    whole, bins, part = net(ids, keys, [Ask(asked, Span(0, VOCAB.size)), Ask(asked, VOCAB.bins), Ask(asked, some)])
    torch.testing.assert_close(whole[:, VOCAB.bins.rows], bins)
    torch.testing.assert_close(whole[:, some.rows], part)
    (other,) = net(torch.where(keys, ids, (ids + 7) % VOCAB.size), keys, [Ask(asked, VOCAB.bins)])
    assert torch.equal(other, bins)
    alone = net(ids[2:, 5:], None, [Ask(asked[2:, 5:], VOCAB.bins)])[0]
    torch.testing.assert_close(alone, bins[-len(alone) :], rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["plain", "ordinal"])
def test_a_prompt_that_sees_itself_alone_is_run_once_and_nothing_changes(kind):
    torch.manual_seed(0)
    net = Backbone(SIZES, VOCAB.size, False) if kind == "plain" else OrdinalBackbone(SIZES, VOCAB, False)
    net.places = None if kind == "plain" else Places(VOCAB, 4, SIZES.width)
    ids, begin = torch.randint(0, VOCAB.size, (3, 11), generator=stream()), 6
    keys, places = torch.arange(11) >= torch.tensor([[0], [3], [5]]), torch.arange(11).expand(3, -1) >= begin
    asks, kept = [Ask(places, VOCAB.bins)], Kept(begin)
    (first,) = net(ids, keys, asks, kept=kept)
    other = torch.where(places, (ids + 7) % VOCAB.size, ids)
    assert torch.equal(net(ids, keys, asks, kept=kept)[0], first)
    assert torch.equal(net(other, keys, asks, kept=kept)[0], net(other, keys, asks, kept=Kept(begin))[0])
    seen = keys[:, None, None, :] & ((torch.arange(11) < begin) | places[:, :, None])[:, None]
    slow, _ = net.run_blocks(net.embed(ids), seen, 0, [])
    torch.testing.assert_close(net.project(slow, places, VOCAB.bins), first, rtol=1e-5, atol=1e-5)
    stale = Kept(begin, stale=True)
    assert torch.equal(net(ids, keys, asks, kept=stale)[0], net(ids, keys, asks)[0])
    assert not torch.equal(net(other, keys, asks, kept=stale)[0], net(other, keys, asks)[0])


def test_ordinal_bins_that_stand_for_near_numbers_have_near_vectors():
    torch.manual_seed(0)
    vocab = lay_out(640, 64, 256)
    net = OrdinalBackbone(SIZES, vocab, False)
    vectors = net.embed(torch.arange(vocab.bins.first, vocab.bins.stop))
    distances = torch.cdist(vectors, vectors)
    assert distances.diagonal(1).mean() < 0.7 * distances.diagonal(16).mean()
    words = torch.arange(5)
    assert torch.equal(net.embed(words), net.transformer.wte(words))


def test_codes_that_share_more_bits_have_nearer_vectors_and_likelier_logits_together():
    torch.manual_seed(0)
    net = OrdinalBackbone(SIZES, VOCAB, False)
    vectors = net.embed(torch.arange(VOCAB.images.first, VOCAB.images.stop))
    distances = torch.cdist(vectors[:1], vectors)[0]
    shared = torch.tensor([6 - code.bit_count() for code in range(64)])
    means = [distances[shared == bits].mean() for bits in range(7)]
    assert all(near < far for far, near in zip(means, means[1:], strict=False))
    logits = net.project(torch.randn(1, 200, 32), torch.ones(1, 200, dtype=torch.bool), VOCAB.images)
    alike = torch.corrcoef(logits.T.detach())
    assert alike[0, 1] > 0.3 > 0 > alike[0, 63]


def test_masks_are_drawn_as_often_as_the_schedule_says():
    for kind, share in (("full", 1.0), ("cosine", 2 / math.pi), ("linear", 0.5)):
        masking = Masking(Schedule(kind))
        counts = [masking.draw(40, stream(seed)).sum().item() for seed in range(400)]
        assert sum(counts) / 400 / 40 == pytest.approx(share, abs=0.05)
        assert min(counts) >= 1
    hidden, chance = draw_words(30, 1.0, stream())
    assert (hidden.all(), chance) == (True, 1.0)
    for refused in (lambda: Schedule("stairs"), lambda: Masking(Schedule(), 1.5), lambda: SlotLoss("double")):
        with pytest.raises(ValueError, match=r"choose|from 0 to 1"):
            refused()


def test_losses_are_those_computed_by_hand():
    logits = torch.log(torch.tensor([[0.1, 0.2, 0.6, 0.1]]))
    target = torch.tensor([1])
    assert SlotLoss("single")(logits, target).item() == pytest.approx(-math.log(0.2))
    assert SlotLoss("margin", within=1)(logits, target).item() == pytest.approx(-math.log(0.6))
    assert SlotLoss("margin", within=0)(logits, target).item() == pytest.approx(-math.log(0.2))
    weights = [0.5 / 2, 1 / 2, 0.5 / 2]
    by_hand = -sum(weight * math.log(chance) for weight, chance in zip(weights, (0.1, 0.2, 0.6), strict=True))
    assert SlotLoss("gaussian", radius=1, edge=0.5)(logits, target).item() == pytest.approx(by_hand)
    each, rows = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0, 0, 1])
    loss = average_words(each, rows, torch.tensor([0.5, 0.8]), torch.tensor([4, 10]))
    assert loss.item() == pytest.approx((3 / 0.5 / 4 + 4 / 0.8 / 10) / 2)


def test_each_row_is_decoded_as_it_is_alone_whatever_is_drawn():
    table = torch.randn(3, 6, 8, generator=stream(3))

    def predict_rows(rows):
        return lambda slots: table[rows] + 0.3 * (slots != HIDDEN).sum(1)[:, None, None] * table[rows].roll(1, 2)

    given = torch.full((3, 6), HIDDEN)
    for decode in (Decode(4, "sample", temperature=1.0), Decode(3, "expectation"), Decode(3, threshold=0.3, drop=0.1)):
        together = decode(predict_rows([0, 1, 2]), given, [stream(row) for row in range(3)])
        alone = [decode(predict_rows([row]), given[:1], [stream(row)]) for row in range(3)]
        assert together.ids_BN.tolist() == [each.ids_BN[0].tolist() for each in alone]
        assert together.forwards == decode.steps
    for wrong, words in (({"steps": 5, "blocks": 2}, "multiple of blocks"), ({"steps": 1, "confidence": 2}, "above 0")):
        with pytest.raises(ValueError, match=words):
            Commit(**wrong)


def test_confident_words_are_kept_beyond_the_quota_and_only_that_takes_fewer_passes():
    table = torch.randn(3, 8, 5, generator=stream(5)) * 4

    def predict(slots):
        return table + 0.2 * (slots != HIDDEN).sum(1)[:, None, None] * table.roll(1, 2)

    given, quota = torch.full((3, 8), HIDDEN), Commit(8, 2)
    exact, quick = quota(predict, given), replace(quota, confidence=0.8)(predict, given)
    assert exact.forwards == 8 > quick.forwards
    certain = predict(given)[:, :4].softmax(-1).amax(-1) > 0.8
    assert certain.sum() > 3
    assert (quick.step_BN[:, :4][certain] == 1).all()
    never = replace(quota, confidence=1.0)
    assert torch.equal(never(predict, given).ids_BN, exact.ids_BN)
    assert (never.exact, quota.exact, Decode(3, stale=True).exact) == (quota, quota, Decode(3))


def test_what_has_become_uncertain_is_hidden_again():
    first, then = torch.tensor([[[4.0, 0.0], [2.0, 0.0], [1.0, 0.0]]]), torch.tensor([[[0.0, 0.1], [2.0, 0], [3.0, 0]]])
    passes = iter([first, then, then])
    decode = Decode(3, schedule=Schedule("linear"), drop=0.3)
    assert decode(lambda _: next(passes), torch.full((1, 3), HIDDEN)).ids_BN.tolist() == [[1, 0, 0]]
    passes = iter([first, then, then])
    kept = Decode(3, schedule=Schedule("linear"))(lambda _: next(passes), torch.full((1, 3), HIDDEN))
    assert kept.ids_BN.tolist() == [[0, 0, 0]]


def test_the_published_size_has_the_published_names_and_shapes():
    cfg = compose("train", "stage=mmact/action", "model=mmact/mmada_8b")
    with torch.device("meta"):
        backbone = Backbone(instantiate(cfg.model.sizes), instantiate(cfg.model.vocabulary).size, False)
    shapes = {name: tuple(weight.shape) for name, weight in backbone.state_dict().items()}
    assert len(shapes) == 3 + 32 * 9
    assert shapes["model.transformer.wte.weight"] == shapes["model.transformer.ff_out.weight"] == (136704, 4096)
    assert shapes["model.transformer.blocks.31.up_proj.weight"] == (12288, 4096)
    assert shapes["model.transformer.blocks.0.ff_out.weight"] == (4096, 12288)
    assert sum(weight.numel() for weight in backbone.parameters()) == 8_099_467_264


def test_a_released_folder_is_loaded_and_bins_are_added_to_one_without(tmp_path):
    from safetensors.torch import save_file

    net = Backbone(SIZES, VOCAB.size, False)
    without = {name: weight.clone() for name, weight in net.state_dict().items()}
    for name in ("model.transformer.wte.weight", "model.transformer.ff_out.weight"):
        without[name] = without[name][: VOCAB.bins.first].clone()
    save_file(without, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    other = Backbone(SIZES, VOCAB.size, False)
    load_released(other, tmp_path, VOCAB)
    old = slice(0, VOCAB.bins.first)
    assert torch.equal(other.transformer.wte.weight[old], net.transformer.wte.weight[old])
    assert other.transformer.wte.weight[VOCAB.bins.rows].std().item() == pytest.approx(0.02, rel=0.2)
    larger = Backbone(Sizes(**{**vars(SIZES), "mlp": 64}), VOCAB.size, False)
    with pytest.raises(ValueError, match=r"ff_out\.weight is .*48.* there and .*64.* in this model"):
        load_released(larger, tmp_path, VOCAB)
    with pytest.raises(ValueError, match=r"must be a folder with config\.json"):
        load_released(other, tmp_path / "none", VOCAB)


def test_options_that_there_arent_are_refused_before_anything_is_trained(told):
    for words, message in (
        ("supervise=some", "supervise=some is unknown"),
        ("bins=sorted", "bins=sorted is unknown"),
        ("masking=stairs", "kind=stairs is unknown"),
    ):
        with pytest.raises(Exception, match=message):
            instantiate(compose_small("train", f"data={told}", words).stage.module)


@torch.no_grad()
def test_a_place_is_counted_behind_the_control_token_that_begins_its_list():
    places, (soa, sostate, mask) = Places(VOCAB, 2, 4), (VOCAB[name] for name in ("soa", "sostate", "mask"))
    number = VOCAB.bins.first
    vectors = places(torch.tensor([[7, VOCAB["pad"], sostate, number, number + 9, soa, mask, mask, mask]]))[0]
    assert [bool(vector.any()) for vector in vectors] == [0, 0, 0, 1, 1, 0, 1, 1, 0]
    assert len({tuple(vectors[at].tolist()) for at in (3, 4, 6, 7)}) == 4
    shifted = places(torch.tensor([[*[VOCAB["pad"]] * 5, sostate, number + 3, number]]))[0]
    assert torch.equal(shifted[6:], vectors[3:5])
    known = places(torch.tensor([[soa, number, number + 1]]))[0]
    assert torch.equal(known[1:], vectors[6:8])
    with pytest.raises(ValueError, match="model.places=0"):
        Places(VOCAB, 0, 4)
