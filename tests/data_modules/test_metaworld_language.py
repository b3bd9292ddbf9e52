"""Meta-World told in words: scenes, phases of experts, goals that are apart, and the demonstrations that are made."""

import json
from functools import partial

import numpy as np
import pytest

from data_modules.demonstrations.steps import Demonstrations
from data_modules.worlds.metaworld_language import SCENES, MetaWorldLanguage
from data_modules.worlds.told import Told
from data_modules.worlds.told_maker import ToldDemonstrations, demonstrate
from tests.data_modules.test_metaworld import needs_drawing

ENTRIES = [0, 1, 2, 3, 4, 5, 6, 11, 12, 13, 36, 37, 38]
OPTIONS = {"side": 32, "entries": ENTRIES, "camera": "corner", "flipped": True, "repeat": 2}
TWO = ["plate-slide", "window-open"]


@needs_drawing
def test_the_expert_of_every_scene_reaches_its_goal_and_says_all_it_is_about():
    for name, scene in SCENES.items():
        world, said, told = MetaWorldLanguage(scenes=[name], **OPTIONS), set(), set()
        assert isinstance(world, Told)
        for seed in range(2):
            states, actions, plans = demonstrate(world, 0.3 * seed, 100, 0, np.random.default_rng([2, seed]))
            assert world.reached, name
            assert np.shape(states) == (len(actions) + 1, len(ENTRIES))
            assert np.abs(actions).max() <= 1
            said |= set(plans)
            told.add(world.instruction)
        assert said == {*scene.phases, "stay"}
        assert told <= set(scene.sayings)
        assert world.group == name
        assert len(world.others) == len(SCENES) - 1
        assert world.instruction not in world.others


@needs_drawing
def test_the_same_draws_play_the_same_episode_in_a_world_that_played_other_scenes():
    fresh, used = (MetaWorldLanguage(scenes=TWO, **OPTIONS) for _ in range(2))
    for seed in range(4):
        demonstrate(used, 0.3, 5, 0, np.random.default_rng([9, seed]))
    scenes = set()
    for seed in range(4):
        first, again = (demonstrate(world, 0.3, 12, 0, np.random.default_rng([1, seed])) for world in (fresh, used))
        assert np.array_equal(first[0], again[0])
        assert np.array_equal(first[1], again[1])
        assert (fresh.instruction, first[2]) == (used.instruction, again[2])
        assert fresh.others == [fresh.say(name) for name in TWO if name != fresh.group]
        scenes.add(fresh.group)
    assert scenes == set(TWO)


@needs_drawing
def test_goals_of_train_val_and_test_are_apart_and_each_has_its_share():
    world, placed = MetaWorldLanguage(scenes=["plate-slide"], **OPTIONS), {"train": [], "val": [], "test": []}
    for seed in range(120):
        world.reset(np.random.default_rng(seed))
        placed[world.split].append(world.numbers[-3:-1])  # the goal in x and y
    assert 70 < len(placed["train"]) < 100
    assert len(placed["test"]) > len(placed["val"]) > 0
    parts = {
        split: {tuple(((goal - [-0.1, 0.85]) / [0.02, 0.005]).astype(int)) for goal in goals}
        for split, goals in placed.items()
    }
    assert not parts["train"] & (parts["test"] | parts["val"])


@needs_drawing
def test_things_that_are_moved_stand_outside_of_the_scenes_space_and_the_expert_still_reaches_its_goal():
    world = MetaWorldLanguage(scenes=TWO, **OPTIONS)
    for seed in range(4):
        world.beyond = 0.0
        world.reset(np.random.default_rng(seed))
        simulator, told = world.simulator.simulator, world.instruction
        low, high, before = simulator._random_reset_space.low, simulator._random_reset_space.high, world.numbers
        world.beyond = 0.15
        demonstrate(world, 0, 100, 0, np.random.default_rng(seed))
        placed, margin = simulator._last_rand_vec, 0.15 * (high - low)
        assert world.instruction == told
        assert ((placed < low) | (placed > high)).any()
        assert ((placed >= low - margin) & (placed <= high + margin)).all()
        assert world.reached
        world.beyond = 0.0
        world.reset(np.random.default_rng(seed))
        np.testing.assert_array_equal(world.numbers, before)


@needs_drawing
def test_made_episodes_begin_again_from_their_rows_with_goals_of_their_split(tmp_path):
    world = partial(MetaWorldLanguage, scenes=TWO, **OPTIONS)
    options = {"folder": tmp_path, "seed": 0, "world": world, "limit": 60, "stay": 0, "noises": [0, 0.3], "views": 0}
    maker = ToldDemonstrations(**options, episodes={"train": 3, "val": 1, "test": 2})
    for plan in maker.plans():
        with (tmp_path / f"{plan.split}.jsonl").open("a") as file:
            file.write(json.dumps(maker.draw(plan, tmp_path)) + "\n")
    opened, scenes = world(), set()
    for split, count in (("train", 3), ("val", 1), ("test", 2)):
        index = tmp_path / f"{split}.jsonl"
        lines = [json.loads(line) for line in index.read_text().splitlines()]
        rows = Demonstrations(4, 1, {"state": 13, "action": 4}).read(str(index))
        assert len(lines) == len(rows.identities()) == count
        for number, line in enumerate(lines):
            opened.reset(np.random.default_rng(line["seed"]))
            assert opened.split == split
            assert (opened.instruction, opened.group) == (line["instruction"], line["group"])
            np.testing.assert_allclose(opened.numbers, rows.open(number).states_TS[0], atol=1e-6)
            assert line["reached"]
            scenes.add(line["group"])
        assert rows[0].plan in {words for name in TWO for words in SCENES[name].phases}
    assert scenes == set(TWO)


@needs_drawing
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scenes": ["plate-slid"]}, "has plate-slid, which nobody put in words; choose plate-slide"),
        ({"scenes": []}, r"scenes=\[\] must name one or more"),
        ({"entries": [39]}, r"entries=\[39\] numbers from 0 to 38"),
        ({"camera": "front"}, "camera=front is unknown"),
    ],
)
def test_a_scene_or_number_that_there_isnt_is_refused_in_one_line(change, words):
    with pytest.raises(ValueError, match=words) as error:
        MetaWorldLanguage(**{"scenes": TWO} | OPTIONS | change)
    assert "\n" not in str(error.value)
