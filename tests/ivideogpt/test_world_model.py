"""The world model: what a step loses, rollouts over one cache, and the session that shows them."""

import json

import numpy as np
import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from safetensors.torch import save_file
from torch.nn import functional as F

from mirage_pl.engine import export
from mirage_pl.engine.checkpoints.trained import load_trained
from mirage_pl.engine.sessions import infer
from mirage_pl.engine.training import fit
from mirage_pl.ivideogpt.model.rollout import Rollout, Sampling, imagine
from mirage_pl.ivideogpt.model.transformer import TransformerSizes, choose_codes, symexp, symlog
from tests.conftest import compose
from tests.ivideogpt.conftest import QUIET, compose_small

SIZES = TransformerSizes(width=32, feedforward=48, layers=2, heads=2, positions=128)


@pytest.fixture(scope="module")
def module(squares):
    """The stage's module as its config builds it, in float64, and whose actions and head aren't the initial ones."""
    cfg = compose_small("train", f"data={squares}", stage="ivideogpt/world_model")
    torch.manual_seed(0)
    module = instantiate(cfg.stage.module).double().eval()
    with torch.no_grad():
        for weight in module.net.transformer.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return module


@pytest.fixture(scope="module")
def batch(squares):
    cfg = compose_small("train", f"data={squares}", stage="ivideogpt/world_model")
    data = instantiate(cfg.task.dataset).read(cfg.task.train_file)
    return instantiate(cfg.stage.collator)([data[index] for index in (0, 5, 9)])


@pytest.fixture(scope="module")
def world(module):
    return module.net


def frames_of(batch):
    return batch.frames_BTCHW.double() / 255


def actions_of(batch, world):
    return batch.actions_BSA[:, world.context_length - 1 :].double()


def test_losses_are_those_of_codes_and_rewards_one_by_one(module, batch):
    losses, world = module.losses(batch), module.net
    context, codes = world.tokenizer.encode(frames_of(batch))
    nats, errors = [], []
    for row in range(len(batch)):
        states = world.read_codes(context[[row]], codes[[row]], actions_of(batch, world)[[row]]).states
        for frame in range(codes.shape[1]):
            for place, code in enumerate(codes[row, frame]):
                logits = world.transformer.llm.lm_head(states.before_codes_BFnD[0, frame, place])
                legal = logits[world.transformer.layout.context_codes : world.transformer.layout.slot1]
                nats.append(-legal.log_softmax(0)[code].item())
            guess = world.transformer.reward_linear(states.after_codes_BFD[0, frame]).item()
            errors.append((guess - float(symlog(batch.rewards_BS[row, frame]))) ** 2)
    assert losses["codes"].item() == pytest.approx(np.mean(nats), rel=1e-6)
    assert losses["reward"].item() == pytest.approx(np.mean(errors), rel=1e-6)
    assert losses["action_recon"].item() == 0
    assert module.terms(batch) == {"codes": len(nats), "reward": len(errors), "action_recon": len(errors)}


def test_a_step_from_remembered_codes_is_the_same(squares, batch):
    cfg = compose_small("train", f"data={squares}", stage="ivideogpt/world_model")
    module = instantiate(cfg.stage.module).eval()
    first, second = module.losses(batch), module.losses(batch)
    assert len(module.memory.rows) == len(batch)
    module.memory.most = 0
    for losses in (second, module.losses(batch)):
        assert torch.equal(losses["codes"], first["codes"])


def test_an_untrained_projection_of_actions_changes_no_logit(squares):
    cfg = compose_small("train", f"data={squares}", stage="ivideogpt/world_model")
    world = instantiate(cfg.stage.module).net.eval()
    codes = torch.zeros(2, 1, 4, dtype=torch.long), torch.ones(2, 2, 1, dtype=torch.long)
    told, untold = (world.read_codes(*codes, actions).states.all_BLD for actions in (torch.randn(2, 2, 2), None))
    assert torch.equal(told, untold)


def test_a_step_is_the_same_whatever_else_is_in_the_batch_and_whatever_was_cached(world, batch):
    frames, actions = frames_of(batch), actions_of(batch, world)
    together = imagine(world, frames[:, :1], 2, actions)
    for row in range(len(batch)):
        alone = imagine(world, frames[[row], :1], 2, actions[[row]])
        assert torch.equal(alone.ids_BFn, together.ids_BFn[[row]])
        torch.testing.assert_close(alone.frames_BFCHW, together.frames_BFCHW[[row]])
        torch.testing.assert_close(alone.rewards_BF, together.rewards_BF[[row]])
    context = world.tokenizer.encode_context(frames[:, :1])
    states = world.read_codes(context, together.ids_BFn, actions).states
    assert torch.equal(world.transformer.predict_codes(states.before_codes_BFnD).argmax(-1), together.ids_BFn)
    rewards = symexp(world.transformer.predict_rewards(states.after_codes_BFD))
    torch.testing.assert_close(together.rewards_BF, rewards, rtol=1e-9, atol=1e-9)


def test_drawn_codes_are_a_rows_own_one_by_one_repeated_or_after_others_have_left(world, batch):
    frames, actions, sampling = frames_of(batch), actions_of(batch, world), Sampling(1.0, 50)
    streams = lambda *rows: [torch.Generator().manual_seed(row) for row in rows]  # noqa: E731
    whole = imagine(world, frames[:, :1], 2, actions, sampling, streams(0, 1, 2))
    rollout = Rollout(world, frames[:, :1], 2, sampling, streams(0, 1, 2))
    first = rollout.step(actions[:, 0])
    assert torch.equal(first.ids_Bn, whole.ids_BFn[:, 0])
    torch.testing.assert_close(first.frames_BCHW, whole.frames_BFCHW[:, 0])
    twice = rollout.repeat(2)
    rollout.keep(torch.tensor([2, 0]))
    assert torch.equal(rollout.step(actions[[2, 0], 1]).ids_Bn, whole.ids_BFn[[2, 0], 1])
    ids = twice.step(actions[:, 1].repeat_interleave(2, 0)).ids_Bn
    assert torch.equal(ids, whole.ids_BFn[:, 1].repeat_interleave(2, 0))
    assert not torch.equal(whole.ids_BFn, imagine(world, frames[:, :1], 2, actions).ids_BFn)


def test_rows_that_share_their_past_go_on_as_if_each_had_one_of_its_own(world, batch):
    context, first = frames_of(batch)[:, :1], actions_of(batch, world)[:, :1]
    second, third = (torch.randn_like(first.repeat_interleave(4, 0)) for _ in range(2))
    actions = torch.cat((first.repeat_interleave(4, 0), second, third), 1)
    whole = imagine(world, context.repeat_interleave(4, 0), 3, actions)
    rollout = Rollout(world, context, 3)
    two = rollout.repeat(2)
    assert torch.equal(two.step(first[:, 0].repeat_interleave(2, 0)).ids_Bn, whole.ids_BFn[::2, 0])
    four = two.repeat(2)
    step = four.step(actions[:, 1])
    assert torch.equal(step.ids_Bn, whole.ids_BFn[:, 1])
    torch.testing.assert_close(step.frames_BCHW, whole.frames_BFCHW[:, 1])
    torch.testing.assert_close(step.rewards_B, whole.rewards_BF[:, 1])
    rows = torch.tensor([5, 0, 2])
    four.keep(rows)
    assert torch.equal(four.step(actions[rows, 2]).ids_Bn, whole.ids_BFn[rows, 2])
    for step in range(2):  # those that were copied go on, too
        assert torch.equal(rollout.step(actions[::4, step]).ids_Bn, whole.ids_BFn[::4, step])
    assert torch.equal(two.step(actions[::2, 1]).ids_Bn, whole.ids_BFn[::2, 1])


def test_codes_are_drawn_as_often_as_they_are_likely():
    logits, random = torch.tensor([[0.0, 1.0, 2.0]]), torch.rand(40000, generator=torch.Generator().manual_seed(0))
    draw = lambda *options: choose_codes(logits.expand(len(random), -1), *options, random)  # noqa: E731
    shares = torch.bincount(draw(2.0, 0), minlength=3) / len(random)
    torch.testing.assert_close(shares, (logits[0] / 2).softmax(0), rtol=0, atol=0.01)
    kept = torch.bincount(draw(1.0, 2), minlength=3) / len(random)
    torch.testing.assert_close(
        kept,
        torch.tensor([0.0, 1.0, 2.0]).masked_fill_(torch.tensor([True, False, False]), -torch.inf).softmax(0),
        rtol=0,
        atol=0.01,
    )
    assert draw(0, 0).unique().tolist() == [2]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda world, frames: Rollout(world, frames[:, :2], 2), "context has 1"),
        (lambda world, frames: Rollout(world, frames[:, :1], 900), "positions"),
        (lambda world, frames: Rollout(world, frames[:, :1], 2).step(None), "actions of 2"),
        (lambda world, frames: Rollout(world, frames[:, :1], 2).step(torch.zeros(3, 4)), "have 4 number"),
        (lambda world, frames: Rollout(world, frames[:, :1], 2, Sampling(1.0)), "a stream for each"),
        (lambda world, frames: Sampling(-1.0), "0 or more"),
    ],
)
def test_a_rollout_says_what_it_lacks(world, batch, given, words):
    with pytest.raises(ValueError, match=words):
        given(world, frames_of(batch))


def test_a_rollout_ends_where_its_room_does(world, batch):
    rollout = Rollout(world, frames_of(batch)[:, :1], 1)
    rollout.step(actions_of(batch, world)[:, 0])
    with pytest.raises(ValueError, match="room for 1"):
        rollout.step(actions_of(batch, world)[:, 0])


def test_codes_of_the_same_numbers_begin_alike_and_the_head_with_what_it_was_shown(squares):
    cfg = compose_small("train", f"data={squares}", "model.transformer.alike=1", stage="ivideogpt/world_model")
    transformer = instantiate(cfg.stage.module).net.transformer
    table = transformer.llm.model.embed_tokens.weight[1000:2000]
    near, far = (F.cosine_similarity(table[place], table[other], dim=0) for place, other in ((500, 501), (0, 999)))
    assert near > 0.8 > 0 > far  # one level of the first channel; the opposite corner
    assert torch.equal(transformer.llm.lm_head.weight[:2000], transformer.llm.model.embed_tokens.weight[:2000])
    assert table.std().item() == pytest.approx(0.02, rel=0.2)
    for given, words in (("quantizer=vq", "FSQ or LFQ"), ("model.transformer.alike=2", "0 to 1")):
        cfg = compose_small("train", f"data={squares}", given, stage="ivideogpt/world_model")
        with pytest.raises(InstantiationException, match=words):
            instantiate(cfg.stage.module)


def test_symlog_and_back():
    values = torch.tensor([-30.0, -0.5, 0.0, 2.0, 1000.0])
    torch.testing.assert_close(symexp(symlog(values)), values)
    assert symlog(torch.tensor(-1.0)).item() == pytest.approx(-np.log(2))


def test_as_released_slots_are_learnt_among_all_tokens_and_rewards_are_the_next_steps(squares, batch):
    cfg = compose_small("train", f"data={squares}", "model.compat=true", stage="ivideogpt/world_model")
    module = instantiate(cfg.stage.module).eval()
    losses, world = module.losses(batch), module.net
    predicted = world.read(batch.frames_BTCHW / 255, batch.actions_BSA)
    labels = world.transformer.layout.labels(predicted.ids_BL)[:, 1:]
    logits = world.transformer.llm.lm_head(predicted.states.all_BLD)[:, :-1]
    assert losses["codes"].item() == pytest.approx(F.cross_entropy(logits.mT, labels).item(), rel=1e-5)
    assert module.terms(batch)["codes"] == int((labels != -100).sum())
    guesses = world.transformer.predict_rewards(predicted.states.after_codes_BFD)[:, 0]
    assert losses["reward"].item() == pytest.approx(
        F.mse_loss(guesses, symlog(batch.rewards_BS[:, 1])).item(), rel=1e-5
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [(["action_dim=4"], "have 2 number.*set action_dim"), (["model.transformer.positions=4"], "4 positions")],
)
def test_actions_and_clips_that_do_not_fit_are_refused(squares, batch, options, words):
    cfg = compose_small("train", f"data={squares}", *options, stage="ivideogpt/world_model")
    with pytest.raises(ValueError, match=words):
        instantiate(cfg.stage.module).losses(batch)


def test_clips_without_actions_or_rewards_are_refused_by_name(squares, module):
    keys = "task.form.keys={frames: frames, actions: null, rewards: null}"
    cfg = compose_small("train", f"data={squares}", keys, stage="ivideogpt/world_model")
    rows = instantiate(cfg.task.dataset).read(cfg.task.train_file)
    batch = instantiate(cfg.stage.collator)([rows[0]])
    with pytest.raises(ValueError, match=r"train.jsonl:1@0: no actions, but action_dim=2"):
        module.losses(batch)
    free = compose_small(
        "train", f"data={squares}", keys, "action_dim=0", "reward=false", stage="ivideogpt/world_model"
    )
    assert instantiate(free.stage.module).losses(batch)["codes"].item() > 0


@pytest.fixture(scope="module")
def run_of_world(run, squares, tmp_path_factory):
    """The folder of a run of two steps that starts from a tokenizer's."""
    folder = tmp_path_factory.mktemp("world") / "run"
    start = f"stage.starts.tokenizer.run={run}"
    cfg = compose_small("train", *QUIET, f"data={squares}", start, f"run_dir={folder}", stage="ivideogpt/world_model")
    fit.run(cfg)
    return folder


def test_a_run_keeps_the_tokenizer_that_it_starts_from(run, run_of_world):
    tokenizer, world = load_trained(run).module.tokenizer, load_trained(run_of_world).module.net
    for name, weight in tokenizer.state_dict().items():
        assert torch.equal(weight, world.tokenizer.state_dict()[name])


def test_a_run_goes_on_from_a_world_model_or_its_export_with_the_tokenizer_that_is_there(
    run_of_world, squares, tmp_path
):
    before = load_trained(run_of_world).module.net
    export.run(compose("export", f"ckpt={run_of_world}", f"out={tmp_path / 'out'}"))
    for start in (f"stage.starts.world.run={run_of_world}", f"model.path={tmp_path / 'out'}"):
        folder = tmp_path / start.partition("=")[0]
        given = [*QUIET, f"data={squares}", start, f"run_dir={folder}", "trainer.max_steps=0", f"runs={tmp_path}"]
        fit.run(compose_small("train", *given, stage="ivideogpt/world_model"))
        after = load_trained(folder).module.net.state_dict()
        assert all(torch.equal(after[name], weight) for name, weight in before.state_dict().items()), start


def test_an_export_has_both_models_by_their_released_names(run_of_world, tmp_path):
    export.run(compose("export", f"ckpt={run_of_world}", f"out={tmp_path / 'out'}"))
    files = {str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out").rglob("*") if file.is_file()}
    assert {"tokenizer/config.json", "tokenizer/diffusion_pytorch_model.safetensors"} <= files
    config = json.loads((tmp_path / "out" / "transformer" / "config.json").read_text())
    assert (config["model_type"], config["action_dim"], config["context_length"]) == ("llama", 2, 1)


def test_an_export_is_what_another_run_begins_with(run_of_world, squares, tmp_path):
    export.run(compose("export", f"ckpt={run_of_world}", f"out={tmp_path / 'out'}"))
    ours = load_trained(run_of_world).module.net.transformer.state_dict()
    given = [f"data={squares}", f"model.path={tmp_path / 'out'}", "action_recon=true"]
    cfg = compose_small("train", *given, stage="ivideogpt/world_model")
    begun = instantiate(cfg.stage.module).net.transformer.state_dict()
    assert begun.keys() - ours.keys() == {"action_recon_linear.weight", "action_recon_linear.bias"}
    assert all(torch.equal(begun[name], weight) for name, weight in ours.items())
    plain = {name.removeprefix("llm."): weight for name, weight in ours.items() if name.startswith("llm.")}
    save_file({name: weight.clone() for name, weight in plain.items()}, tmp_path / "out/transformer/model.safetensors")
    begun = instantiate(cfg.stage.module).net.transformer
    assert torch.equal(begun.llm.model.norm.weight, plain["model.norm.weight"])
    assert begun.action_linear.weight.abs().sum() == 0
    cfg.model.transformer.width = 64
    with pytest.raises(InstantiationException, match=r"model.path=.* is of another model: llm"):
        instantiate(cfg.stage.module)


def infer_small(folder, out, *overrides):
    (use, *_) = infer.run(compose("infer", f"ckpt={folder}", f"out={out}", "session=ivideogpt/imagine", *overrides))
    return use


def test_a_clip_goes_on_beside_what_came(run_of_world, squares, tmp_path):
    use = infer_small(run_of_world, tmp_path, f"clip={squares}/episodes/episodes/test_0.npz")
    assert [line.split()[0] for line in use["text"].splitlines()] == ["rewards", "came", "PSNR", "left"]
    assert {file.rsplit(".", 1)[1] for file in use["files"]} == {"mp4", "gif"}


def test_a_clip_under_other_actions_isnt_compared_with_what_came_and_actions_dont_run_out(
    run_of_world, squares, tmp_path
):
    clip = f"clip={squares}/episodes/episodes/test_0.npz"
    use = infer_small(run_of_world, tmp_path / "a", clip, "action='1 0'", "frames=40")
    assert [line.split()[0] for line in use["text"].splitlines()] == ["rewards"]
    (film,) = [file for file in use["files"] if file.endswith(".mp4")]
    import av

    with av.open(film) as frames:
        assert sum(1 for _ in frames.decode(video=0)) == 41
    with pytest.raises(
        ValueError, match=r"frames=99, but .*test_0.npz has \d+ action\(s\) left; give action=, or fewer"
    ):
        infer_small(run_of_world, tmp_path / "b", clip, "frames=99")


def test_a_picture_goes_on_by_given_actions(run_of_world, tmp_path):
    from PIL import Image

    Image.new("RGB", (40, 30)).save(tmp_path / "x.png")
    use = infer_small(run_of_world, tmp_path, f"image={tmp_path}/x.png", "action='1 0'", "frames=3")
    assert len(use["text"].splitlines()[0].split()) == 4  # "rewards" and three of them
    with pytest.raises(ValueError, match=r"image=.*/gone.png"):
        infer_small(run_of_world, tmp_path, f"image={tmp_path}/gone.png", "action='1 0'")
    for given, words in (
        ("action='1 0 0'", "must be 2 number"),
        ("action=fast", "must be 2 number"),
        ("frames=2", "has no actions; give action="),
        ("frames=0", "frames=0 must be a whole number, 1 or more"),
        ("frames=2.5", "frames=2.5 must be a whole number"),
        ("frames=many", "frames=many must be a whole number"),
        ("first=-1", "first=-1 must be a whole number, 0 or more"),
    ):
        with pytest.raises(ValueError, match=words):
            infer_small(run_of_world, tmp_path, f"image={tmp_path}/x.png", given)


def test_after_as_many_frames_as_in_training_a_session_goes_on_from_its_own(run_of_world, tmp_path, monkeypatch):
    from mirage_pl.ivideogpt.sessions.imagine import Imagine

    session = Imagine(load_trained(run_of_world), {}, Sampling(), 0)
    monkeypatch.setattr(Imagine, "trained_frames", 2)
    from PIL import Image

    Image.new("RGB", (16, 16)).save(tmp_path / "x.png")
    list(session.begin(image=str(tmp_path / "x.png"), action="1 0"))
    for _ in range(3):
        list(session.step(action="0 1"))
    assert len(session.shown) == 5
    from mirage_pl.ivideogpt.model.rollout import Rollout

    again = Rollout(session.world, session.shown[2][None, None], 2, Sampling())
    steps = [again.step(torch.tensor([[0.0, 1.0]])).frames_BCHW for _ in range(2)]
    torch.testing.assert_close(torch.cat(steps), torch.stack(session.shown[3:]))
    with pytest.raises(ValueError, match="2 number"):
        list(session.step(action="up"))
