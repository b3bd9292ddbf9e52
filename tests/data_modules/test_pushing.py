"""The world of primitives, its policies, and the episodes that are made of them."""

import json
import os
import subprocess
import sys
from ctypes.util import find_library
from functools import partial
from itertools import groupby, pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from data_modules.episodes.clips import Episodes
from data_modules.worlds import rendering
from data_modules.worlds.maker import WorldEpisodes
from data_modules.worlds.play import HELD, Player, play
from data_modules.worlds.pushing import Pushing, distance
from tests.conftest import REPO

needs_drawing = pytest.mark.skipif(
    not any(map(find_library, rendering.LIBRARIES.values())), reason="neither EGL nor OSMesa is here"
)
OPTIONS = {
    "world": partial(Pushing, side=16),
    "seed": 0,
    "num_workers": 1,
    "length": 4,
    "policies": [0, "random"],
}


def play_one(policy, seed=0, length=30):
    world = Pushing(16)
    return *play(world, policy, length, np.random.default_rng(seed)), world


@needs_drawing
def test_an_expert_pushes_the_box_to_the_disc_and_random_actions_dont():
    reached = {policy: [play_one(policy, seed, 50)[1] for seed in range(6)] for policy in (0, "random")}
    assert sum(reached[0]) >= 5
    assert sum(reached["random"]) <= 1


@needs_drawing
def test_the_same_seed_plays_the_same_episode_and_rewards_are_of_where_a_step_ends():
    (episode, _, world), (again, *_), (other, *_) = play_one(0.6), play_one(0.6), play_one(0.6, seed=1)
    assert np.array_equal(episode.frames_THWC, again.frames_THWC)
    assert np.array_equal(episode.actions_SA, again.actions_SA)
    assert not np.array_equal(episode.actions_SA, other.actions_SA)
    assert episode.rewards_S[-1] == pytest.approx(max(0, 1 - distance(world.box, world.disc) / 0.5))
    assert np.abs(episode.actions_SA).max() <= 1


@needs_drawing
def test_an_action_moves_the_hand_its_way_and_nothing_is_drawn_black():
    world = Pushing(16)
    world.reset(np.random.default_rng(0))
    before, frame = world.hand, world.draw()
    for _ in range(3):
        world.step(np.array([1.0, 0.0]) if before[0] < 0 else np.array([-1.0, 0.0]))
    moved = world.hand - before
    assert abs(moved[0]) > 0.08
    assert abs(moved[1]) < 0.02
    assert frame.mean() > 80
    assert (frame != world.draw()).any()


@needs_drawing
def test_episodes_are_made_for_all_splits_by_policies_in_turn(tmp_path):
    folder = tmp_path / "pushing"
    WorldEpisodes(folder=folder, episodes={"train": 3, "test": 1}, **OPTIONS).make()
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    assert [row["group"] for row in rows] == ["noise 0", "random", "noise 0"]
    assert not list(Episodes({"length": 3}, {}).problems(str(folder / "train.jsonl")))
    clips = Episodes({"length": 3}, {}).read(str(folder / "train.jsonl"))
    assert len(clips) == 6
    assert clips[0].read().frames_THWC.shape == (3, 16, 16, 3)
    assert len(clips.identities()) == 3


def test_a_mixed_policy_acts_by_chance_for_a_while_and_then_as_the_expert_does():
    world = SimpleNamespace(width=2, reached=False, choose_expert_action=lambda: np.ones(2))
    player = Player("mixed", np.random.default_rng(0), wander=True)
    actions = [player.choose_action(world) for _ in range(400)]
    stretches = [(action == (1, 1), len(list(same))) for action, same in groupby(map(tuple, actions))]
    assert 0.3 < sum(count for expert, count in stretches if expert) / len(actions) < 0.7
    assert max(count for _, count in stretches) == HELD
    assert all(one != other for (one, _), (other, _) in pairwise(stretches))


def test_policies_that_there_arent_are_refused(tmp_path):
    for change, words in (({"policies": [-1]}, "noises"), ({"policies": []}, "noises"), ({"length": 1}, "length=1")):
        with pytest.raises(ValueError, match=words):
            WorldEpisodes(folder=tmp_path, episodes={"train": 1}, **OPTIONS | change)


def test_a_machine_that_cant_draw_is_told_what_to_install_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setitem(os.environ, "MUJOCO_GL", "")
    monkeypatch.setattr(rendering, "find_library", lambda name: None)
    with pytest.raises(ValueError, match="neither EGL with a device nor OSMesa is installed; apt-get install") as error:
        WorldEpisodes(folder=tmp_path / "pushing", episodes={"train": 1}, **OPTIONS).make()
    assert "\n" not in str(error.value)
    assert not (tmp_path / "pushing").exists()


def test_egl_without_a_device_gives_way_to_osmesa(monkeypatch):
    monkeypatch.setattr(rendering, "find_library", lambda name: f"lib{name}.so")
    devices = []
    monkeypatch.setattr(rendering, "has_device", lambda file: bool(devices))
    assert rendering.find_way() == "osmesa"
    devices.append("a card")
    assert rendering.find_way() == "egl"


@pytest.mark.skipif(not find_library("EGL"), reason="EGL isn't here")
def test_a_device_of_egl_is_looked_for_without_one_there_is_none():
    code = "from data_modules.worlds.rendering import *; print(has_device(find_library('EGL')))"
    environment = os.environ | {"__EGL_VENDOR_LIBRARY_DIRS": "/nonexistent"}
    output = subprocess.run([sys.executable, "-c", code], cwd=REPO, env=environment, capture_output=True, check=True)
    assert output.stdout.split() == [b"False"]
