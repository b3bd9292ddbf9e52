"""An agent in a world model: what it sees there, what is kept of it, and when the model learns."""

from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hydra.utils import instantiate

from data_modules.episodes.episode import Episode
from mirage_pl.engine.training.draws import row_stream
from mirage_pl.engine.training.evaluating import evaluating
from mirage_pl.ivideogpt.control import imagination
from mirage_pl.ivideogpt.control.imagination import imagine
from mirage_pl.ivideogpt.control.replay import IMAGINED, REAL, Replay
from mirage_pl.ivideogpt.control.transitions import StepCollator
from mirage_pl.ivideogpt.model.rollout import Imagined, Sampling
from tests.contract.stages import Stage
from tests.ivideogpt.playing import SIDE

STACK, HORIZON = 3, 4


def build(tmp_path, *more):
    """The stage's module as its config builds it, small, with some real episodes; its actor isn't the initial one."""
    cfg = Stage("ivideogpt/mbpo").compose(tmp_path, f"run_dir={tmp_path}/run", *more)
    torch.manual_seed(0)
    module = instantiate(cfg.stage.module)
    for weight in module.net.parameters():
        weight.data.add_(0.05 * torch.randn_like(weight))
    for number in range(2):
        draws = np.random.default_rng(number)
        frames = draws.integers(0, 256, (8, SIDE, SIDE, 3), np.uint8)
        actions = draws.uniform(-1, 1, (7, 2)).astype(np.float32)
        module.replay.add(REAL, Episode(frames, actions, np.arange(7, dtype=np.float32)), {})
    return module


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    return build(tmp_path_factory.mktemp("mbpo"))


def starts_of(module, count=3):
    return [module.replay.draw_moment(REAL, STACK, 0, np.random.default_rng(row)) for row in range(count)]


def imagine_rows(module, starts, rows, act=None):
    sampling, names = Sampling(1.0, 5), [f"row {row}" for row in rows]
    streams = [row_stream(0, name, -1) for name in names]
    act = act or (lambda frames, step: module.act_by_name(names, 0.5, frames, step))
    with evaluating(module.net):
        return imagine(module.world, [starts[row] for row in rows], HORIZON, act, sampling, streams)


def test_in_imagination_the_agent_sees_the_very_pixels_that_it_learns_from_later(module):
    seen, starts = [], starts_of(module)

    def act(frames, step):
        seen.append((frames, module.agent.encoder(frames)))
        return torch.zeros(len(frames), 2)

    episodes = imagine_rows(module, starts, range(3), act)
    given = torch.from_numpy(np.stack([start.read().frames_THWC for start in starts])).movedim(-1, 2)
    assert torch.equal(seen[0][0], given)
    replay = Replay("unused", 9, 9)
    replay.writes = False
    for episode in episodes:
        replay.add(IMAGINED, episode, {})
    moments = [replay.draw_moment(IMAGINED, STACK, 1, np.random.default_rng(step)) for step in range(60)]
    later = StepCollator(SIDE, STACK, 1)(moments).agent.now_BTCHW(STACK)
    for moment, frames in zip(moments, later, strict=True):
        row, newest = (int(part) for part in moment.where.removeprefix("imagined/").split("@"))
        before, features = seen[newest - STACK + 1]
        assert torch.equal(frames, before[row])
        torch.testing.assert_close(module.agent.encoder(frames[None])[0], features[row])
    assert {moment.first for moment in moments} == set(range(HORIZON))


def test_an_imagined_row_depends_on_its_start_and_its_stream_alone(module):
    starts, module = starts_of(module), deepcopy(module).double()  # so that no pixel is rounded to another byte
    together = imagine_rows(module, starts, range(3))
    for row in range(3):
        (alone,) = imagine_rows(module, starts, [row])
        assert np.array_equal(alone.frames_THWC, together[row].frames_THWC)
        np.testing.assert_allclose(alone.rewards_S, together[row].rewards_S, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(alone.actions_SA, together[row].actions_SA, rtol=1e-4, atol=1e-5)
        assert len(alone.frames_THWC) == STACK + HORIZON


def test_nothing_is_dropped_out_in_imagination_and_training_goes_on_as_it_was(tmp_path):
    module = build(tmp_path, "model.transformer.dropout=0.5").train()
    modes = {name: each.training for name, each in module.named_modules()}
    made = []
    for number in (0, 0):
        module.imagine(number, 0.5)
        made.append([module.replay.open(IMAGINED, row).rewards_S for row in range(2)])
        module.replay.rewind({REAL: 2})
    assert np.array_equal(made[0], made[1])
    with evaluating(module.net):
        assert not any(each.training for each in module.net.modules())
        assert not torch.is_grad_enabled()
    assert modes == {name: each.training for name, each in module.named_modules()}
    assert modes["net.world.transformer"]
    assert not modes["net.world.tokenizer"]


class LineInMind:
    """Stands in for a rollout in a world where a reward is what the next frame shows; an action of 1 adds a tenth."""

    def __init__(self, world, context_BTCHW, horizon, sampling, streams):
        self.shown = context_BTCHW[:, -1].clone()

    def step(self, actions_BA):
        self.shown = self.shown + 0.1 * actions_BA[:, 0, None, None, None]
        return Imagined(self.shown, (self.shown[:, 0, 0, 0] * 255).round(), None)


def test_the_reward_of_an_imagined_step_is_that_of_arriving_at_its_frame(monkeypatch, module):
    monkeypatch.setattr(imagination, "Rollout", LineInMind)
    world = SimpleNamespace(
        context_length=1,
        tokenizer=SimpleNamespace(sizes=SimpleNamespace(resolution=SIDE)),
        parameters=module.agent.parameters,
    )
    dark = Episode(np.full((8, SIDE, SIDE, 3), 20, np.uint8), np.zeros((7, 2), np.float32), np.full(7, 20, np.float32))
    replay = Replay("unused", 9, 9)
    replay.writes = False
    replay.add(REAL, dark, {})
    start = replay.draw_moment(REAL, STACK, 0, np.random.default_rng(0))
    act = lambda frames, step: torch.tensor([[1.0, 0.0]])  # noqa: E731
    (episode,) = imagine(world, [start], HORIZON, act, Sampling(), [None])
    shown = episode.frames_THWC[:, 0, 0, 0].astype(np.float32)
    assert shown.tolist() == [20, 20, 20, 46, 71, 96, 122]
    rewards = episode.rewards_S[STACK - 1 :]
    errors = {"arrival": np.abs(rewards - shown[STACK:]), "legacy": np.abs(rewards[1:] - shown[STACK:-1])}
    assert errors["arrival"].max() <= 1  # a frame is rounded to bytes, its reward isn't
    assert errors["legacy"].min() > 20


def test_what_is_updated_follows_the_schedule_and_held_out_clips_have_the_losses_of_all(module):
    module.train()
    begun = {}
    for module.step in range(4):
        begun[module.step] = module.begun()
    both = ["critic", "actor", "transformer"]
    assert begun == {0: ["transformer", "tokenizer"], 1: [*both, "tokenizer"], 2: both, 3: [*both, "tokenizer"]}
    assert module.eval().begun() == list(module.turns)


def test_a_step_draws_real_and_imagined_moments_and_the_same_ones_again(module, monkeypatch):
    collate = StepCollator(SIDE, STACK, 3)
    monkeypatch.setattr(type(module), "trainer", SimpleNamespace(datamodule=SimpleNamespace(collate=collate)))
    module.imagine(0, 0.5)
    kinds = [moment.where.partition("/")[0] for moment in module.pick(1, 0, 8)]
    assert kinds == ["real"] * 4 + ["imagined"] * 4 + ["clip of real"] * 2
    assert [moment.where for moment in module.pick(1, 0, 8)] == [moment.where for moment in module.pick(1, 0, 8)]
    assert [moment.where for moment in module.pick(1, 1, 8)] != [moment.where for moment in module.pick(1, 0, 8)]
    assert [moment.where.partition("/")[0] for moment in module.pick(0, 0, 8)] == ["clip of real"] * 2


def test_a_tokenizer_that_isnt_to_learn_has_no_turn_and_stays(tmp_path):
    module = build(tmp_path, "imagining.tokenizer_every=null")
    assert list(module.turns) == ["critic", "actor", "transformer"]
    assert not any(weight.requires_grad for weight in module.world.tokenizer.parameters())


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["action_dim=0"], "action_dim=0 of the world model"),
        (["stage.module.net.world.reward=false"], "reward=false"),
        (["agent.sizes.stack=1", "context_length=2"], "context_length=2 frames"),
    ],
)
def test_a_world_model_that_an_agent_cant_imagine_with_is_refused(tmp_path, words, named):
    with pytest.raises(Exception, match=named):
        build(tmp_path, *words)
