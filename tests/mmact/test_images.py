"""Pictures: their codes, a policy that reads them, images of the future, and what scores them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from PIL import Image

from data_modules.demonstrations.demonstration import read_demonstration, write_demonstration
from data_modules.worlds.discs import Discs
from data_modules.worlds.told import look
from mirage_pl.engine import evaluate
from mirage_pl.engine.sessions import infer
from mirage_pl.engine.training import fit
from mirage_pl.mmact.codes import Codes
from mirage_pl.mmact.evaluations.loop import Play
from mirage_pl.mmact.evaluations.policies import LOOKS
from mirage_pl.mmact.model.coder import Coder, CoderSizes, lose_entropy
from mirage_pl.mmact.model.decoding import HIDDEN
from mirage_pl.mmact.model.images import read_codes, write_signs
from mirage_pl.mmact.pictures import PictureCollator, prepare_views
from tests.conftest import compose
from tests.mmact.conftest import QUIET, compose_small

SMALL = [
    "task=pushing_seen",
    "task.side=32",
    "task.views=2",
    "model.coder.sizes.side=32",
    "model.coder.sizes.channels=8",
    "model.coder.sizes.bits=4",
    "model.vocabulary.codes=16",
    "loader.batch_size=4",
]
SEEING = ["sight=images", "views=2", "code_folder=null"]
SIZES = CoderSizes(16, 2, 1, 8, 4)


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """A data folder with 6 demonstrations for training, 4 for validation, 4 for tests, seen by two cameras."""
    folder = tmp_path_factory.mktemp("seen")
    cfg = compose_small("train", f"data={folder}", *SMALL, stage="mmact/vq")
    instantiate(cfg.task.data.maker, num_workers=1).make()
    return folder


@pytest.fixture(scope="module")
def coded(seen):
    """The folder of a run of image codes, two steps."""
    fit.run(compose_small("train", *QUIET, *SMALL, f"data={seen}", f"run_dir={seen}/runs/vq", stage="mmact/vq"))
    return seen / "runs/vq"


@pytest.fixture(scope="module")
def painted(seen, coded):
    """The folder of a run of all three kinds, two steps."""
    words = [f"data={seen}", f"run_dir={seen}/runs/mix", f"stage.starts.coder.run={coded}", "mix.image=0.05"]
    fit.run(compose_small("train", *QUIET, *SMALL, *SEEING, *words, stage="mmact/mix"))
    return seen / "runs/mix"


def build(seen, *overrides, stage="mmact/mix"):
    cfg = compose_small("train", f"data={seen}", *SMALL, *SEEING, *overrides, stage=stage)
    torch.manual_seed(0)
    module, collate = instantiate(cfg.stage.module).eval(), instantiate(cfg.stage.collator)
    rows = instantiate(cfg.task.dataset).read(cfg.task.train_file)
    module.scales.fit(*map(torch.from_numpy, rows.gather()))
    return module, collate, rows


def test_codes_are_those_of_the_library_that_has_them_too():
    from vector_quantize_pytorch import LFQ

    vectors_MKGG = torch.randn(3, 6, 4, 4, generator=torch.Generator().manual_seed(0))
    signs_MKGG, ids_MGG, _ = LFQ(codebook_size=2**6, dim=6).eval()(vectors_MKGG)
    assert torch.equal(read_codes(vectors_MKGG), ids_MGG.flatten(1))
    assert torch.equal(write_signs(ids_MGG, 6), signs_MKGG.movedim(1, -1))


def build_coder(seen, *overrides):
    cfg = compose_small("train", f"data={seen}", *SMALL, *overrides, stage="mmact/vq")
    torch.manual_seed(0)
    module, collate = instantiate(cfg.stage.module).eval(), instantiate(cfg.stage.collator)
    return module, collate, instantiate(cfg.task.dataset).read(cfg.task.train_file)


def test_a_picture_comes_back_from_its_codes_as_from_its_vectors_and_alone_as_among_others():
    torch.manual_seed(0)
    coder, pictures = Coder(SIZES), torch.rand(3, 3, 16, 16) * 2 - 1
    codes = coder.encode(pictures)
    assert codes.shape == (3, 16)
    assert 0 <= codes.min() < codes.max() < 16
    torch.testing.assert_close(coder.decode(codes), coder(pictures).pictures_MCSS, rtol=1e-4, atol=1e-5)
    assert torch.equal(coder.encode(pictures[1:2]), codes[1:2])
    for wrong in ({"side": 18}, {"channels": 12}, {"bits": 0}):
        with pytest.raises(ValueError, match="must be a multiple"):
            CoderSizes(**{**vars(SIZES), **wrong})


def test_what_moves_weighs_more_and_otherwise_each_pixel_the_same(seen):
    for motion in (0, 8):
        module, _, rows = build_coder(seen, f"motion={motion}")
        batch = PictureCollator(32)([rows[0], rows[7]])
        squares = (module.net(batch.pictures_MCSS).pictures_MCSS - batch.pictures_MCSS).square()
        later = torch.cat([prepare_views(rows[place].look_ahead(), 32) for place in (0, 7)])
        weights = torch.ones(4, 1, 32, 32)
        weights[(later - batch.pictures_MCSS).abs().amax(1, keepdim=True) > 0.2] += motion
        assert (motion == 0) == bool((weights == 1).all())
        torch.testing.assert_close(module.losses(batch)["pixels"], (squares * weights).mean())


def test_bits_that_are_sure_and_differ_lose_less_than_those_that_are_all_the_same():
    apart, same = torch.tensor([5.0, -5.0]).repeat(8)[None, :, None], torch.full((1, 16, 1), 5.0)
    assert lose_entropy(apart).item() == pytest.approx(-np.log(2), abs=1e-3)
    assert lose_entropy(same).item() == pytest.approx(0, abs=1e-6)
    assert lose_entropy(torch.cat((apart, same))).tolist() == pytest.approx([-np.log(2), 0], abs=1e-3)
    far = torch.tensor([[[-30.0, 30.0], [-30.0, 0.1]]], requires_grad=True)
    lose_entropy(far).sum().backward()
    assert far.grad.isfinite().all()


def test_frames_are_what_the_world_shows_at_each_state(seen):
    rows = instantiate(compose_small("train", f"data={seen}", *SMALL).task.dataset).read(
        str(seen / "pushing_seen/train.jsonl")
    )
    world, first = Discs(32), rows[0]
    world.reset(np.random.default_rng(first.meta["seed"]))
    assert np.array_equal(first.look(), look(world, 2))
    assert [frame.shape for frame in first.look()] == [(32, 32, 3)] * 2
    assert not np.array_equal(first.look()[0], first.look()[1])
    assert np.array_equal(
        first.look_ahead(), next(row for row in map(rows.__getitem__, range(9)) if row.at == 4).look()
    )
    assert rows.picture(first).size == (64, 32)
    with pytest.raises(ValueError, match="3 views, but Discs has 2"):
        look(world, 3)


def test_an_episode_is_coded_once_and_anew_by_other_weights(seen, tmp_path, monkeypatch):
    module, _, rows = build(seen)
    coder, codes, calls = module.coder, Codes(str(tmp_path)), []
    encode = coder.encode
    monkeypatch.setattr(coder, "encode", lambda pictures: calls.append(len(pictures)) or encode(pictures))
    first = codes.see(rows[0], coder)
    episodes = len(calls)
    assert torch.equal(codes.see(rows[0], coder), first)
    assert torch.equal(codes.foresee(rows[0], coder), codes.see(rows[4], coder)[0])
    assert torch.equal(Codes(str(tmp_path)).see(rows[0], coder), first)
    assert len(calls) == episodes
    assert torch.equal(codes.see(replace(rows[0], seen=rows[0].look()), coder), first)
    (file,) = tmp_path.rglob("*.npy")
    file.write_bytes(b"damaged")
    assert torch.equal(Codes(str(tmp_path)).see(rows[0], coder), first)
    with torch.no_grad():
        coder.encoder[-1].bias += 100
    assert (codes.see(rows[0], coder) == 15).all()


def test_codes_stand_where_prompts_have_views_and_targets_are_what_is_seen_next(seen):
    module, collate, rows = build(seen, "mix.image=1")
    vocab, batch = module.net.vocab, module.see(collate([rows[0], rows[3]]))
    for prompts in batch.prompts:
        ids = module.fill(batch, prompts, torch.full((2, int(prompts.slots_BL[0].sum())), HIDDEN), vocab.images)
        for row, step in zip(ids.tolist(), (rows[0], rows[3]), strict=True):
            begins = [place for place, token in enumerate(row) if token == vocab["soi"]][:2]
            shown = [[token - vocab.images.first for token in row[begin + 1 : begin + 17]] for begin in begins]
            assert shown == module.coder.encode(prepare_views(step.look(), 32)).tolist()
            assert [row[begin + 17] for begin in begins] == [vocab["eoi"]] * 2
    assert torch.equal(module.foresee(batch)[0], module.coder.encode(prepare_views(rows[0].look_ahead()[:1], 32))[0])
    module.train()
    hidden, targets = module.hide_codes(batch), module.foresee(batch)
    slots = torch.where(hidden, HIDDEN, targets)
    logits = module.predict(batch, batch.image, slots, vocab.images)
    by_hand = torch.nn.functional.cross_entropy(logits[hidden], targets[hidden])
    torch.testing.assert_close(module.losses(batch)["image"], by_hand)
    assert module.terms(batch)["image"] == hidden.sum() < hidden.numel()


def test_a_policy_may_read_pictures_and_no_state(seen):
    module, collate, rows = build(seen, "reads_state=false")
    batch, other = collate([rows[0]]), collate([replace(rows[0], state_S=rows[9].state_S)])
    assert not batch.action.state_BL.any()
    assert torch.equal(module.losses(batch)["action"], module.losses(other)["action"])
    black = collate([replace(rows[0], seen=[np.zeros_like(frame) for frame in rows[0].look()])])
    assert not torch.equal(module.losses(batch)["action"], module.losses(black)["action"])


def test_any_kinds_are_mixed_by_their_weights(seen):
    for weights, kinds in (({"action": 1, "image": 2}, {"action", "image"}), ({"image": 1}, {"image"})):
        words = [f"mix.{name}={weights.get(name, 'null')}" for name in ("action", "text", "image")]
        module, collate, rows = build(seen, *words)
        samples = [rows[0], rows[5]]
        losses = module.losses(collate(samples))
        assert losses.keys() == module.loss_weights.keys() == kinds
        alone = [module.losses(collate([sample]))["image"] for sample in samples]
        torch.testing.assert_close(losses["image"], torch.stack(alone).mean())
        module.weigh(losses).backward()
        unused = [name for name, weight in module.named_parameters() if weight.requires_grad and weight.grad is None]
        assert not unused
    for words, message in (
        (["mix.action=null", "mix.text=null"], "one or more of action, text, image"),
        (["mix.image=1", "sight=none"], "add sight=images"),
        (["model.vocabulary.codes=32"], "model.coder has 16 codes, and the vocabulary 32"),
    ):
        with pytest.raises(Exception, match=message):
            build(seen, *words)


def test_a_policy_that_reads_pictures_is_shown_others(painted):
    names = ["blank_image", "swapped_views", "frozen_image"]
    given = [f"ckpt={painted}", "evaluation=mmact/policy", "limit=4", "num_shown=0"]
    metrics = evaluate.run(compose("evaluate", *given, f"conditions=[{','.join(names)}]"))
    assert set(metrics["conditions"]) == set(names)
    each = Play(first_step(painted), Discs(32), 2)
    assert not np.any(LOOKS["blank_image"](each))
    assert np.array_equal(LOOKS["swapped_views"](each)[0], each.look()[1])
    each.act(np.ones(2))
    assert np.array_equal(LOOKS["frozen_image"](each), each.first)
    assert not np.array_equal(each.look(), each.first)


def first_step(run):
    cfg = compose_small("train", f"data={run.parent.parent}", *SMALL)
    return instantiate(cfg.task.dataset).read(cfg.task.test_file)[0]


def test_images_of_the_future_are_scored_against_what_stands_there_most_often_and_what_is_seen_now(painted):
    given = [f"ckpt={painted}", "evaluation=mmact/images", "label=images", "per_episode=2", "num_shown=1"]
    metrics = evaluate.run(compose("evaluate", *given, "decode_image.steps=2", "decode_image.stale=true"))
    assert 0 <= metrics["foreseeing"]["departs"] <= 1
    rows = [json.loads(line) for line in (painted / "evaluation/images/predictions.jsonl").read_text().splitlines()]
    assert metrics["accuracy"]["all"]["n"] == len(rows) == 8
    assert set(metrics["conditions"]) == {"unigram", "copy", "wrong_instruction", "blank_image"}
    own = metrics["accuracy"]["all"]["mean"]
    assert 0 <= own <= 1
    assert metrics["conditions"]["copy"]["measures"]["accuracy"]["mean"] > 0.3


def test_codes_are_scored_and_a_picture_goes_through_them(coded, tmp_path):
    metrics = evaluate.run(compose("evaluate", f"ckpt={coded}", "evaluation=mmact/pictures", "num_shown=1"))
    assert set(metrics["conditions"]) == {"mean_picture"}
    assert 1 <= metrics["codes"]["perplexity"] <= metrics["codes"]["used"] <= 16
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    given = [f"ckpt={coded}", "session=mmact/recode", f"image={tmp_path}/red.png", f"out={tmp_path}/out"]
    (use,) = infer.run(compose("infer", *given))
    assert use["files"] == [f"{tmp_path}/out/recoded.png"]
    assert "dB" in use["text"]


def test_a_session_tells_what_comes_next_in_words_and_as_a_picture(painted, run, tmp_path):
    given = ["session=mmact/tell", f"out={tmp_path}", "decode_image.steps=2"]
    (use,) = infer.run(compose("infer", *given, f"ckpt={painted}", "episode=3"))
    assert use["files"] == [f"{tmp_path}/next.png"]
    assert Image.open(tmp_path / "next.png").size == (96, 32)
    assert len(use["text"].splitlines()) == 3
    with pytest.raises(ValueError, match=r"reads image=… \(2 picture"):
        infer.run(compose("infer", *given, f"ckpt={painted}", f'state="{" ".join(["0.1"] * 10)}"'))
    with pytest.raises(Exception, match="this run tells nothing"):
        infer.run(compose("infer", *given, f"ckpt={run}"))


def test_pictures_of_ones_own_are_acted_on_and_what_comes_next_is_told(painted, run, tmp_path):
    for name, color in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (40, 30), color).save(tmp_path / f"{name}.png")
    state, both = f'state="{" ".join(["0.1"] * 10)}"', f"image=[{tmp_path}/a.png,{tmp_path}/b.png]"
    given = [f"ckpt={painted}", f"out={tmp_path}", "instruction=go"]
    (use,) = infer.run(compose("infer", "session=mmact/act", *given, state, both))
    assert [len(line.split()) for line in use["text"].splitlines()] == [2] * 4
    (use,) = infer.run(compose("infer", "session=mmact/tell", "decode_image.steps=2", *given, state, both))
    assert use["files"] == [f"{tmp_path}/next.png"]
    assert Image.open(tmp_path / "next.png").size == (64, 32)
    for words, line in (
        ([state, f"image={tmp_path}/a.png"], r"image has 1 picture\(s\), and this run reads 2"),
        ([both], r"this run reads state=.* \(10 numbers\): give that"),
        ([state, f"image=[{tmp_path}/a.png,{tmp_path}/none.png]"], "none.png"),
    ):
        with pytest.raises(ValueError, match=line):
            infer.run(compose("infer", "session=mmact/act", *given, *words))
    with pytest.raises(ValueError, match="this run reads no pictures; leave image out"):
        infer.run(compose("infer", "session=mmact/act", f"ckpt={run}", "instruction=go", state, both))


def test_what_isnt_there_to_be_seen_is_said_with_its_row(seen, told, painted, run, tmp_path):
    module, collate, _ = build(seen)
    blind = instantiate(compose_small("train", f"data={told}").task.dataset).read(
        str(told / "pushing_language/train.jsonl")
    )
    with pytest.raises(ValueError, match=r"train\.jsonl:1@0: 0 views, but this policy takes 2"):
        collate([blind[0]])
    with pytest.raises(ValueError, match=r"train\.jsonl:1@0: no frames"):
        PictureCollator(32)([blind[0]])
    step = first_step(painted)
    old = read_demonstration(step.file)
    write_demonstration(
        tmp_path / "x.npz", old.states_TS, old.actions_PA, frames=np.zeros((len(old.states_TS), 1, 8, 8, 3))
    )
    with pytest.raises(ValueError, match="has 1 views, not 2 as its row says"):
        replace(step, file=tmp_path / "x.npz").look()
    given = ["evaluation=mmact/policy", "conditions=[blank_image]", "limit=2", "label=blank"]
    with pytest.raises(ValueError, match="this policy reads 0"):
        evaluate.run(compose("evaluate", f"ckpt={run}", *given))
    with pytest.raises(ValueError, match="paints nothing"):
        evaluate.run(compose("evaluate", f"ckpt={run}", "evaluation=mmact/images", "label=images"))
    assert module.coder
