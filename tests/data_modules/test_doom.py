"""ViZDoom: what is seen against what the map says, actions, walks, and a simulator that isn't there or dies."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate

from data_modules.episodes.agreement import measure_error
from data_modules.worlds.doom import METRE, STRETCH, Doom, find_factor, join_depth
from data_modules.worlds.walks import WalkEpisodes, walk
from data_modules.worlds.world import WorldFailure
from tests.conftest import REPO, compose
from tests.lanes import build_once

OPTIONS = {"height": 24, "width": 32, "wad": None, "tics": 3, "speed": 5.0, "turn": 4.5, "brightness": 0.4, "idle": 12}
MAPS = ["map01", "map07", "map03"]


@pytest.fixture(scope="module")
def world():
    return Doom(maps=MAPS, **OPTIONS)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Walks that the task made."""

    def draw(folder):
        given = ["task.episodes={train: 2, val: 1, test: 4}", "task.maps=2", "task.new_maps=1", "task.length=17"]
        sizes = ["task.width=32", "task.height=24", f"task.world.maps={MAPS}", "task.num_workers=1"]
        cfg = compose("data", "task=doom", *given, *sizes, "task.window={length: 9, hop: 8}", f"data={folder}")
        instantiate(cfg.task.data.maker).make()
        (folder / "problems.json").write_text(
            json.dumps([*instantiate(cfg.task.dataset).problems(str(folder / "doom-32x24" / "test.jsonl"))])
        )

    return build_once(tmp_path_factory, "doom", draw)


def test_depth_normals_and_poses_agree_and_nothing_is_left_where_one_works(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    world.reset(0, np.random.default_rng(1))
    episode = walk(world, "wander", 33, 4, np.random.default_rng(2))
    assert measure_error(episode.geometry) < 0.05
    space = episode.geometry
    known = (space.normals_THW3 != 0).any(-1)
    assert known.mean() > 0.8
    there = np.einsum("tij,thwj->thwi", space.poses_T44[:, :3, :3], space.normals_THW3)[known]
    assert np.minimum(np.abs(there[:, 1]), np.abs(np.abs(there[:, 1]) - 1)).max() < 1e-5  # upright or flat
    assert not list(tmp_path.iterdir())
    Doom(maps=["map01"], **OPTIONS)
    assert not list(tmp_path.iterdir())


def test_the_depth_buffer_shows_the_same_as_the_map_but_for_things(world):
    from data_modules.worlds.doom_space import cast_rays

    shares = []
    for seed in range(6):
        world.reset(seed % 3, np.random.default_rng(seed))
        buffer = world.game.see()[1][2::5, 2::5]
        depth, _ = cast_rays(world.plan, world.game.find_eye(), world.intrinsics_33, (24, 32))
        sure = (depth > 0) & (buffer < 255)
        coarse = buffer * 7.14 + 9.1
        shares.append((np.abs(coarse - depth)[sure] < 12 + 0.05 * depth[sure]).mean())
    assert np.mean(shares) > 0.9


def test_an_action_turns_clockwise_and_goes_where_it_says_with_inertia(world):
    world.reset(0, np.random.default_rng(3))
    for action in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, -1)):
        while world.foresee((*action[:2], 0), 4) < 1:
            world.reset(0, np.random.default_rng(int(world.game.find_eye().x) % 1000 + 7))
        while np.hypot(*walked(world, (0, 0, 0))[:2]) > 1e-3:
            pass
        ahead, aside, turned = walked(world, action)
        assert turned == pytest.approx(world.turn * action[2], abs=0.03)
        if action[2]:
            continue
        more, along = walked(world, action), action[1]  # where in these what it says is
        assert more[1 - along] == pytest.approx(0, abs=1e-3)
        assert more[along] > (ahead, aside)[along] > 0.01  # it gets faster


def walked(world, action):
    """Metres ahead and to the right, and degrees clockwise."""
    before = world.look().pose_44
    world.step(action)
    relative = np.linalg.inv(before) @ world.look().pose_44
    return relative[2, 3], relative[0, 3], np.degrees(np.arctan2(relative[0, 2], relative[2, 2]))


def test_a_full_circle_ends_where_it_began_and_the_eye_stays_level(world):
    world.reset(1, np.random.default_rng(0))
    space = walk(world, "circle", 81, 4, np.random.default_rng(0)).geometry
    np.testing.assert_allclose(space.poses_T44[0], space.poses_T44[-1], atol=3e-3)
    np.testing.assert_allclose(space.poses_T44[:, 1, 3], space.poses_T44[0, 1, 3], atol=1e-4)
    assert np.median(np.abs(space.depth_THW[0] - space.depth_THW[-1])) < 1e-2


def test_the_same_draws_walk_the_same_way_in_a_world_that_was_used(world):
    first, again = [], []
    for episodes in (first, again):
        world.reset(2, np.random.default_rng(5))
        episodes.append(walk(world, "wander", 13, 4, np.random.default_rng(6)))
        world.reset(0, np.random.default_rng(9))
    assert np.array_equal(first[0].geometry.poses_T44, again[0].geometry.poses_T44)
    assert np.array_equal(first[0].actions_SA, again[0].actions_SA)
    assert (first[0].frames_THWC != again[0].frames_THWC).mean() < 0.05


def test_walkers_keep_away_from_walls_and_maps_are_about_as_bright(world):
    light, rooms = [], []
    for number in range(3):
        for seed in range(2):
            world.reset(number, np.random.default_rng([number, seed]))
            episode = walk(world, "wander", 25, 4, np.random.default_rng(seed))
            light.append(episode.frames_THWC.mean() / 255)
            rooms += [
                world.plan.measure_room(x * METRE, y * METRE) for x, y in episode.geometry.poses_T44[:, [0, 2], 3]
            ]
    assert 0.25 < min(light) <= max(light) < 0.55
    assert np.percentile(rooms, 5) > 16
    assert np.median(rooms) > 40


def test_made_walks_are_divided_by_map_checked_and_read_as_clips(made):
    rows = [json.loads(line) for line in (made / "doom-32x24" / "test.jsonl").open()]
    assert [(row["map"], row["group"]) for row in rows] == [
        *[(0, "known map"), (2, "new map"), (1, "known map"), (2, "new map")]
    ]
    assert json.loads((made / "problems.json").read_text()) == []
    with np.load(made / "doom-32x24" / rows[0]["episode"]) as file:
        assert {"frames", "actions", "depth", "poses", "intrinsics", "normals"} == set(file)
        assert file["intrinsics"][0, 1, 1] == pytest.approx(STRETCH * 16)


def test_a_simulator_that_dies_is_begun_anew_and_one_that_always_does_is_said(world, tmp_path, monkeypatch):
    maker = WalkEpisodes(
        folder=tmp_path, seed=0, world=partial(Doom, maps=MAPS, **OPTIONS), episodes={"train": 1}, maps=1, new_maps=1,
        length=5, hold=4, walks=["wander"],
    )  # fmt: skip
    object.__setattr__(maker, "open", lambda: world)
    (plan,) = maker.plans()
    begin, deaths = world.game.begin, []

    def die(name, seed):
        begin(name, seed)
        if len(deaths) < 1:
            deaths.append(kill_simulator(world))

    monkeypatch.setattr(world.game, "begin", die)
    assert maker.draw(plan, tmp_path)["length"] == 5
    assert len(deaths) == 1
    monkeypatch.setattr(world.game, "begin", lambda name, seed: (begin(name, seed), kill_simulator(world)))
    with pytest.raises(ValueError, match="failed 3 times; the last time ViZDoom broke down"):
        maker.draw(plan, tmp_path)
    monkeypatch.setattr(world.game, "begin", begin)
    world.reset(0, np.random.default_rng(0))
    assert world.look().depth_HW.any()


def list_simulators(parent):
    """Processes of ViZDoom that a process has started."""
    found = []
    for place in Path("/proc").iterdir():
        try:
            if place.name.isdigit() and int((place / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                found += [int(place.name)] if b"vizdoom" in (place / "cmdline").read_bytes() else []
        except OSError:  # it has ended meanwhile
            continue
    return found


def kill_simulator(world):
    """Kill the process of the world that was opened last."""
    number = max(list_simulators(os.getpid()))
    os.kill(number, signal.SIGKILL)
    return number


CODE = """
import os, sys
from data_modules.worlds.doom import Doom
from tests.data_modules.test_doom import MAPS, OPTIONS, list_simulators
world = Doom(maps=MAPS, **OPTIONS)
print(*list_simulators(os.getpid()), flush=True)
os._exit(0)
"""


def test_a_simulator_ends_with_its_process_however_that_ends(tmp_path):
    output = subprocess.run([sys.executable, "-c", CODE], cwd=REPO, capture_output=True, check=True, timeout=120)
    (number,) = map(int, output.stdout.split())
    for _ in range(100):
        if not Path(f"/proc/{number}").exists():
            return
        time.sleep(0.05)
    os.kill(number, signal.SIGKILL)
    raise AssertionError("it is still there")


def test_what_cant_be_is_refused_in_one_line(world, tmp_path, monkeypatch):
    (tmp_path / "plain.wad").write_text("text")
    for words, change in {
        "width=36, height=24.*give a width of 16, 32": {"width": 36},
        "4 to 3 of height": {"height": 32},
        "task.world.maps has map40, but freedoom2.wad has MAP01, MAP02": {"maps": ["map01", "map40"]},
        r"^task.world.speed=-5 must be above 0": {"speed": -5},
        r"turn=0 above 0 to 180 degrees": {"turn": 0},
        r"^task.world.brightness=40 must be a share above 0 and below 1, or null": {"brightness": 40},
        r"plain.wad can't be read as a WAD file \(it has other bytes\); correct task.world.wad": {
            "wad": str(tmp_path / "plain.wad")
        },
        "gone.wad can't be read as a WAD file .*task.world.wad": {"wad": str(tmp_path / "gone.wad")},
    }.items():
        with pytest.raises(ValueError, match=words) as error:
            Doom(**{"maps": MAPS} | OPTIONS | change)
        assert "\n" not in str(error.value)
    maker = {
        "folder": tmp_path / "it",
        "seed": 0,
        "world": partial(Doom, maps=MAPS, **OPTIONS),
        "episodes": {"train": 1},
    }
    with pytest.raises(ValueError, match="task.maps=3 and new_maps=1 are more than the 3 that task.world.maps lists"):
        WalkEpisodes(**maker, maps=3, new_maps=1, length=5, hold=4, walks=["wander"]).make()
    monkeypatch.setitem(sys.modules, "vizdoom", None)
    with pytest.raises(ValueError, match=r"ViZDoom isn't installed .*pip install 'mirage_pl\[doom\]'"):
        Doom(maps=MAPS, **OPTIONS)


def test_depth_of_a_thing_before_a_wall_is_the_buffers_and_its_normal_isnt_known():
    depth, known = join_depth(np.array([[300.0, 300, 0, 0]], np.float32), np.array([[41, 10, 30, 255]], np.uint8))
    assert known.tolist() == [[True, False, False, False]]
    assert depth[0].tolist() == pytest.approx([300, 80.5, 223.3, 0])
    assert [find_factor(width) for width in (64, 32, 16, 160, 60, 0)] == [5, 5, 25, 1, 0, 0]


def test_a_world_that_ended_or_was_teleported_fails_and_can_be_begun_again(world, monkeypatch):
    world.reset(0, np.random.default_rng(0))
    eye = world.game.find_eye()
    monkeypatch.setattr(world.game, "act", lambda *given: world.game.move(eye.x + 500, eye.y))
    monkeypatch.setattr(world.game, "find_eye", iter([eye, type(eye)(eye.x + 500, eye.y, 0, 0)]).__next__)
    with pytest.raises(WorldFailure, match="a teleporter of MAP01"):
        world.step((1, 0, 0))
