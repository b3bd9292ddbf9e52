"""Walks that come back: where they end, what they do, and what they do where nothing is free."""

import numpy as np
import pytest

from data_modules.worlds.loops import circle, out_and_back, square
from data_modules.worlds.raycast import Raycast
from data_modules.worlds.walks import walk

HOLD, COUNT = 4, 30


@pytest.fixture(params=range(4))
def start(request):
    """A world in which one is somewhere, and what is drawn there."""
    draws = np.random.default_rng([7, request.param])
    world = Raycast(12, 16)
    world.reset(request.param, draws)
    return world, draws


def go(start, kind, count=COUNT):
    world, draws = start
    return walk(world, kind, count * HOLD + 1, HOLD, draws)


def test_the_way_back_shows_what_the_way_out_did_in_reverse(start):
    episode = go(start, "out_and_back")
    poses, frames = episode.geometry.poses_T44, episode.frames_THWC.astype(int)
    np.testing.assert_allclose(poses, poses[::-1], atol=1e-5)
    assert np.abs(frames - frames[::-1]).max() <= 1
    actions = episode.actions_SA[::HOLD]
    np.testing.assert_array_equal(actions[: COUNT // 2], -actions[COUNT // 2 :][::-1])
    assert not (actions[:, :2].any(1) & actions[:, 2].astype(bool)).any(), "who turns while moving can't undo it"
    assert actions[:, :2].any()
    assert actions[:, 2].any()


def test_an_odd_way_out_and_back_rests_in_the_middle(start):
    episode = go(start, "out_and_back", 7)
    np.testing.assert_allclose(episode.geometry.poses_T44[0], episode.geometry.poses_T44[-1], atol=1e-5)
    assert not episode.actions_SA[3 * HOLD].any()


def test_a_square_looks_one_way_and_comes_back_to_its_corner(start):
    episode = go(start, "square")
    poses = episode.geometry.poses_T44
    np.testing.assert_allclose(poses[:, :3, :3], np.broadcast_to(poses[0, :3, :3], (len(poses), 3, 3)), atol=1e-6)
    away = np.abs(poses[:, :3, 3] - poses[0, :3, 3]).max(1)
    left = np.flatnonzero(away > 0.4)
    assert len(left)
    assert away[left[0] :].min() < 1e-5
    actions = [tuple(action) for action in episode.actions_SA[::HOLD].astype(int).tolist()]
    first = actions[: next(number for number in range(1, COUNT) if away[(number + 1) * HOLD] < 1e-5) + 1]
    assert np.sum(first, 0).tolist() == [0, 0, 0]


class Shut:
    """A world in which some moves are never free."""

    def __init__(self, *free):
        self.free = free

    def foresee(self, action, hold):
        return 1.0 if action in self.free else 0.5


def test_where_nothing_is_free_one_turns_and_every_walk_has_as_many_actions_as_are_asked_for():
    draws = np.random.default_rng(0)
    assert {action[:2] for action in square(Shut(), HOLD, 9, draws)} == {(0, 0)}
    assert {action[:2] for action in out_and_back(Shut(), HOLD, 9, draws)} == {(0, 0)}
    for world in (Shut(), Shut((1, 0, 0)), Shut((0, 1, 0), (-1, 0, 0)), Shut((1, 0, 0), (0, 1, 0))):
        for kind in (circle, square, out_and_back):
            assert [len(list(kind(world, HOLD, count, draws))) for count in (1, 2, 9)] == [1, 2, 9]


def test_a_square_whose_third_side_is_not_free_goes_back_as_it_came():
    actions = list(square(Shut((1, 0, 0), (0, 1, 0), (0, -1, 0)), HOLD, 8, np.random.default_rng(3)))
    assert {tuple(np.abs(action)) for action in actions} == {(1, 0, 0), (0, 1, 0)}
    ways = [[action for action in actions if action[0]], [action for action in actions if action[1]]]
    assert len(ways[0]) == len(ways[1]) == 4
    places = np.cumsum(actions, 0)
    assert (places == 0).all(1).any()
