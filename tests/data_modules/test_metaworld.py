"""Meta-World: its real simulator, drawn small, with its scripted experts."""

import sys
from ctypes.util import find_library

import numpy as np
import pytest

from data_modules.worlds import rendering
from data_modules.worlds.metaworld import MetaWorld
from data_modules.worlds.play import play

needs_drawing = pytest.mark.skipif(
    not any(map(find_library, rendering.LIBRARIES.values())), reason="neither EGL nor OSMesa is here"
)
OPTIONS = {"side": 32, "scene": "plate-slide", "camera": "corner", "flipped": True, "repeat": 2, "bonus": 10}


@needs_drawing
def test_an_expert_succeeds_and_is_paid_for_it_and_random_actions_dont():
    world = MetaWorld(**OPTIONS)
    expert, reached = play(world, 0, 40, np.random.default_rng(0))
    chance, missed = play(world, "random", 40, np.random.default_rng(0))
    assert (reached, missed) == (True, False)
    assert expert.rewards_S.max() > 20  # twice a reward of up to 10, and the bonus
    assert chance.rewards_S.max() < 10
    assert expert.actions_SA.shape == (39, 4)
    assert np.abs(expert.actions_SA).max() <= 1
    assert np.array_equal(expert.frames_THWC[0], chance.frames_THWC[0])
    assert (expert.frames_THWC[-1] != chance.frames_THWC[-1]).any()


@needs_drawing
def test_the_same_draws_play_the_same_episode_in_a_world_that_was_used():
    world = MetaWorld(**OPTIONS)
    first, _ = play(world, 0.3, 6, np.random.default_rng(1))
    other, _ = play(world, 0.3, 6, np.random.default_rng(2))
    again, _ = play(world, 0.3, 6, np.random.default_rng(1))
    assert np.array_equal(first.frames_THWC, again.frames_THWC)
    assert np.array_equal(first.rewards_S, again.rewards_S)
    assert not np.array_equal(first.frames_THWC[0], other.frames_THWC[0])


@needs_drawing
def test_the_table_is_below_the_arm_and_the_picture_isnt_black():
    world = MetaWorld(**OPTIONS)
    world.reset(np.random.default_rng(0))
    frame = world.draw().astype(int)
    assert frame.shape == (32, 32, 3)
    brown = (frame[..., 0] > frame[..., 2] + 15) & (frame[..., 1] > 60)
    assert brown[16:].sum() > 5 * max(1, brown[:16].sum())


@needs_drawing
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scene": "plate-slid"}, r"task.scene=plate-slid is no task of Meta-World; choose plate-slide"),
        ({"camera": "front"}, "camera=front is unknown; choose from .*corner"),
        ({"repeat": 0}, "repeat=0 must be 1 or more"),
        ({"side": 4}, "side=4 must be 8 or more"),
    ],
)
def test_a_scene_or_camera_that_there_isnt_is_refused_in_one_line(change, words):
    with pytest.raises(ValueError, match=words) as error:
        MetaWorld(**OPTIONS | change)
    assert "\n" not in str(error.value)


@needs_drawing
def test_without_metaworld_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "metaworld.env_dict", None)
    with pytest.raises(ValueError, match=r"pip install 'mirage_pl\[metaworld\]'"):
        MetaWorld(**OPTIONS)
