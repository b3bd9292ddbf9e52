"""Rooms drawn by rays: depth against a slow march, poses against what is seen, walks, and how they are divided."""

import json
import math

import numpy as np
import pytest
from hydra.utils import instantiate

from data_modules.episodes.agreement import measure_error
from data_modules.episodes.form import Form
from data_modules.episodes.recording import read_episode
from data_modules.worlds.raycast import EYE, RADIUS, Raycast
from data_modules.worlds.rooms import draw_rooms
from data_modules.worlds.walking import ACTIONS, name_action
from data_modules.worlds.walks import KNOWN, NEW, walk
from tests.conftest import compose


@pytest.fixture
def world():
    world = Raycast(12, 16)
    world.reset(2, np.random.default_rng(0))
    return world


def march(world, row, column, step=1e-3):
    """Depth of a pixel's middle, by small steps along its ray until it is in something."""
    lens = world.intrinsics_33.astype(float)
    way = np.array([(column + 0.5 - lens[0, 2]) / lens[0, 0], (row + 0.5 - lens[1, 2]) / lens[1, 1], 1.0])
    eye, way = world.pose[:3, 3].astype(float), world.pose[:3, :3].astype(float) @ way
    depth = 0.0
    while True:
        depth += step
        x, y, z = eye + depth * way
        if abs(y) >= EYE or world.rooms.walls_KK[int(x), int(z)]:
            return depth


def test_depth_is_what_a_slow_march_along_each_ray_finds(world):
    for seed in (0, 1):
        world.reset(seed, np.random.default_rng(seed))
        depth = world.look().depth_HW
        for row in range(0, 12, 3):
            for column in range(0, 16, 5):
                assert depth[row, column] == pytest.approx(march(world, row, column), abs=4e-3)


def test_depth_and_poses_agree_and_the_eye_turns_clockwise_and_goes_ahead(world):
    episode = walk(world, "wander", 33, 4, np.random.default_rng(5))
    assert measure_error(episode.geometry) < 0.04
    before = world.pose
    world.step((0, 0, 1))
    relative = np.linalg.inv(before) @ world.pose
    assert np.degrees(np.arctan2(relative[0, 2], relative[2, 2])) == pytest.approx(world.turn, abs=1e-3)
    while world.step((1, 0, 0)) > 0.99:
        before = world.pose
        if world.step((1, 0, 0)) > 0.99:
            relative = np.linalg.inv(before) @ world.pose
            np.testing.assert_allclose(relative[:3, 3], [0, 0, world.speed], atol=1e-5)
            break


def test_a_full_circle_ends_where_it_began(world):
    episode = walk(world, "circle", 81, 4, np.random.default_rng(0))
    assert np.abs(episode.frames_THWC[0].astype(int) - episode.frames_THWC[-1]).max() <= 1
    np.testing.assert_allclose(episode.geometry.depth_THW[0], episode.geometry.depth_THW[-1], atol=1e-4)
    assert len({tuple(action) for action in episode.actions_SA}) == 1


def test_nobody_gets_into_a_wall_or_is_shut_in(world):
    for number in range(6):
        rooms = draw_rooms(number, 12)
        free = {tuple(cell) for cell in np.argwhere(~rooms.walls_KK).tolist()}
        reached, edge = set(), {next(iter(free))}
        while edge:
            reached |= edge
            edge = {(x + a, z + b) for x, z in edge for a, b in ((1, 0), (-1, 0), (0, 1), (0, -1))} & free - reached
        assert reached == free
    draws = np.random.default_rng(1)
    for _ in range(500):
        world.step(tuple(draws.integers(-1, 2, 3)))
        assert world.rooms.is_free(world.x, world.z, RADIUS - 1e-9)


def test_actions_have_codes_and_other_numbers_have_none():
    assert [name_action(np.array(numbers, np.float32)) for numbers in ACTIONS.values()] == list(ACTIONS)
    with pytest.raises(ValueError, match=r"\[2, 0, 0\] is no action"):
        name_action([2, 0, 0])


def small(folder, *more):
    given = ["task.episodes={train: 6, val: 2, test: 8}", "task.maps=3", "task.new_maps=2", "task.length=9"]
    sizes = ["task.width=16", "task.height=12", "task.window={length: 5, hop: 4}", "task.num_workers=1"]
    return compose("data", "task=raycast", *given, *sizes, f"data={folder}", *more)


def test_half_of_the_test_walks_are_in_maps_that_training_never_saw(tmp_path):
    cfg = small(tmp_path)
    instantiate(cfg.task.data.maker).make()
    folder = tmp_path / "raycast-16x12"
    rows = {
        split: [json.loads(line) for line in (folder / f"{split}.jsonl").open()] for split in ("train", "val", "test")
    }
    seen = {row["map"] for row in rows["train"]}
    for row in rows["test"]:
        assert (row["map"] in seen) == (row["group"] == KNOWN)
    groups = [row["group"] for row in rows["test"]]
    assert (groups.count(KNOWN), groups.count(NEW)) == (4, 4)
    assert {row["map"] for row in rows["val"]} <= seen
    episode = read_episode(folder / rows["test"][0]["episode"], Form(cfg.task.form["keys"]))
    assert episode.actions_SA.shape == (8, 3)
    assert (episode.actions_SA[0] == episode.actions_SA[3]).all()
    data = instantiate(cfg.task.dataset)
    assert not list(data.problems(str(folder / "test.jsonl")))
    assert len(data.read(str(folder / "test.jsonl"))) == 16


def test_worlds_and_walks_that_cant_be_are_refused(tmp_path):
    with pytest.raises(ValueError, match="height=4"):
        Raycast(4, 16)
    for speed in (-0.1, 0, 5, math.nan):
        with pytest.raises(ValueError, match="^task.world.speed=.* must be above 0 and below 1"):
            Raycast(16, 16, speed=speed)
    for change, words in (
        ("task.walks=[fly]", "unknown \\['fly'\\]"),
        ("task.walks=[]", "task.walks=\\[\\] names no kind of walk"),
        ("task.hold=0", "task.hold=0 must be 1 or more"),
        ("task.length=1", "task.length=1 must be 2 or more"),
        ("task.new_maps=0", "task.new_maps=0 must be 1 or more"),
    ):
        with pytest.raises(Exception, match=words):
            instantiate(small(tmp_path, change).task.data.maker)
