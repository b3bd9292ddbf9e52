import numpy as np
import pytest
import torch
from hydra.utils import instantiate

from data_modules.episodes.episode import Episode
from mirage_pl.ivideogpt.control.playing import Policy, play
from mirage_pl.ivideogpt.control.replay import IMAGINED, REAL, Replay
from mirage_pl.ivideogpt.control.transitions import StepCollator
from tests.conftest import compose
from tests.ivideogpt.playing import SIDE, Line, small_agent

STACK, AHEAD = 3, 2


def episode(number, length=6):
    """Frames, actions and rewards that say where they are from."""
    places = np.arange(length, dtype=np.uint8) + 10 * number
    frames = np.broadcast_to(places[:, None, None, None], (length, SIDE, SIDE, 3)).astype(np.uint8)
    return Episode(frames, places[:-1, None].astype(np.float32), 100 + places[1:].astype(np.float32))


@pytest.fixture
def replay(tmp_path):
    replay = Replay(str(tmp_path / "replay"), real=3, imagined=3)
    for number in range(2):
        replay.add(REAL, episode(number), {"group": "agent"})
    return replay


def draw_many(replay, kind, count=200):
    return [replay.draw_moment(kind, STACK, AHEAD, np.random.default_rng(step)) for step in range(count)]


def collate(moments):
    return StepCollator(SIDE, STACK, AHEAD)(moments).agent


def test_a_moment_is_an_observation_the_action_after_it_what_that_brought_and_the_observation_then(replay):
    moments = draw_many(replay, REAL)
    batch = collate(moments)
    now = batch.now_BTCHW(STACK)[:, -1, 0, 0, 0].float()
    assert (batch.actions_BA[:, 0] == now).all()
    assert (batch.rewards_BN[:, 0] == 101 + now).all()
    assert (batch.rewards_BN[:, 1] == 102 + now).all()
    assert (batch.next_BTCHW(STACK)[:, -1, 0, 0, 0] == now + AHEAD).all()
    assert {moment.where for moment in moments} == {f"real/{n}@{t}" for n in range(2) for t in range(4)}


def test_before_an_episode_its_first_frame_stands(replay):
    (first,) = {m.where: m for m in draw_many(replay, REAL) if m.where == "real/1@0"}.values()
    seen = first.read()
    assert seen.frames_THWC[:, 0, 0, 0].tolist() == [10, 10, 10, 11, 12]
    assert seen.actions_SA[:, 0].tolist() == [0, 0, 10, 11]
    assert seen.rewards_S.tolist() == [0, 0, 111, 112]


def test_an_imagined_episode_is_learnt_from_where_imagining_began(replay):
    replay.add(IMAGINED, episode(5, length=STACK + 3), {"group": "agent"})
    assert {moment.where for moment in draw_many(replay, IMAGINED)} == {"imagined/0@2", "imagined/0@3"}


def test_only_the_right_alignment_explains_every_reward():
    """In this world a reward is what the next frame shows: no other pairing of rewards with frames leaves no error."""
    draws = np.random.default_rng(0)
    policy = Policy(small_agent(), lambda *_: torch.from_numpy(draws.uniform(-1, 1, (1, 1))))
    played, _ = play(Line(), policy, 30, np.random.default_rng(1))
    shown, rewards = played.frames_THWC[:, 0, 0, 0].astype(np.float32), played.rewards_S
    pairs = {"arrival": (rewards, shown[1:]), "early": (rewards, shown[:-1]), "legacy": (rewards[1:], shown[1:-1])}
    errors = {name: float(np.abs(one - other).mean()) for name, (one, other) in pairs.items()}
    assert errors == {"arrival": 0, "early": 1, "legacy": 1}
    assert (np.diff(shown) == np.where(played.actions_SA[:, 0] > 0, 1, -1)).all()


def test_what_is_older_than_the_newest_isnt_drawn_and_leaves_memory(replay):
    for number in range(2, 6):
        replay.add(REAL, episode(number), {})
    assert {moment.where.partition("@")[0] for moment in draw_many(replay, REAL)} == {"real/3", "real/4", "real/5"}
    assert sorted(replay.memory[REAL]) == [3, 4, 5]


def test_a_replay_that_is_rewound_draws_what_it_drew_and_is_written_anew(replay):
    before = [(moment.where, moment.read().rewards_S.tolist()) for moment in draw_many(replay, REAL, 5)]
    replay.add(REAL, episode(7), {})
    again = Replay(str(replay.folder), 3, 3)
    again.rewind({"real": 2})
    assert [(moment.where, moment.read().rewards_S.tolist()) for moment in draw_many(again, REAL, 5)] == before
    again.add(REAL, episode(8), {})
    assert again.open(REAL, 2).rewards_S[0] == 181
    assert len(again.index(REAL).read_text().splitlines()) == 3
    with pytest.raises(ValueError, match=r"3 episodes, and the run had 4"):
        again.rewind({"real": 4})


def test_what_was_played_is_a_task_like_any_other(replay, tmp_path):
    cfg = compose(
        "train",
        "stage=ivideogpt/tokenizer",
        "task=episodes",
        f"task.train_file={replay.index(REAL)}",
        "task.val_file=null",
        "task.window={length: 6}",
        f"data={tmp_path}",
    )
    rows = instantiate(cfg.task.dataset).read(cfg.task.train_file)
    assert [row.read().rewards_S[0] for row in rows] == [101, 111]


def test_episodes_that_are_too_short_are_named(replay):
    with pytest.raises(ValueError, match=r"000001.npz has 6 frames, too few for .*ahead=6|000000.npz has 6"):
        replay.draw_moment(REAL, STACK, 6, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"has 6 frames, and a clip of the world model 7"):
        replay.draw_clip(7, np.random.default_rng(0))
    clip = replay.draw_clip(6, np.random.default_rng(0))
    assert (clip.acts, clip.length) == (False, 6)


def test_a_policy_sees_the_newest_frames_and_at_first_the_first_one_again():
    seen = []
    policy = Policy(
        small_agent(), lambda frames, number: seen.append((frames[0, :, 0, 0, 0].tolist(), number)) or torch.ones(1, 1)
    )
    played, facts = play(Line(), policy, 3, np.random.default_rng(0))
    start = int(played.frames_THWC[0, 0, 0, 0])
    assert seen == [([start] * 3, 0), ([start, start, start + 1], 1), ([start, start + 1, start + 2], 2)]
    assert facts == {"return": 3 * start + 6, "reached": start + 3 >= 30}
    play(Line(), policy, 1, np.random.default_rng(0))
    assert seen[-1] == ([start] * 3, 0)
