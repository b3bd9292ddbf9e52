"""BabyAI: its levels, its bot, what the state tells, and the demonstrations that are made of them."""

import json
import sys
from functools import partial

import numpy as np
import pytest

from data_modules.demonstrations.steps import Demonstrations
from data_modules.worlds.babyai import ACTIONS, CARRIED, COLOURS, KINDS, BabyAI
from data_modules.worlds.told import Told
from data_modules.worlds.told_maker import ToldDemonstrations, demonstrate
from data_modules.worlds.world import WorldFailure

LEVELS = ["GoToLocalS6N4", "PickupDist", "PutNextLocalS6N4"]
OPTIONS = {"side": 48, "things": 5, "depth": 2, "new_missions": False}


def do(world, *names):
    return [world.step(np.array([ACTIONS.index(name) / 3 - 1])) for name in names]


def test_the_bot_is_rewarded_in_every_level_and_says_its_sub_goals():
    world, told, plans = BabyAI(levels=[*LEVELS, "OpenDoor", "UnlockLocal"], **OPTIONS), {}, set()
    assert isinstance(world, Told)
    for seed in range(20):
        states, actions, said = demonstrate(world, 0.15 * (seed % 2), 64, 0, np.random.default_rng([1, seed]))
        assert world.reached, world.instruction
        assert np.shape(states) == (len(actions) + 1, 4 + 5 * 5)
        assert np.abs(actions).max() <= 1
        assert said[-1] == "stay"
        assert world.others
        assert world.instruction not in world.others
        told[world.group] = world.instruction
        plans |= set(said)
    assert len(told) == 5
    assert {words.split(",")[0].split()[0] for words in plans} >= {"go", "pick", "drop", "stay"}
    assert any("go next to the" in words and "drop it" in words for words in plans)


def test_the_same_draws_play_the_same_episode_in_a_world_that_was_used():
    fresh, used = (BabyAI(levels=LEVELS, **OPTIONS) for _ in range(2))
    demonstrate(used, 0.3, 9, 0, np.random.default_rng(5))
    for seed in range(4):
        first, again = (demonstrate(world, 0.15, 30, 0, np.random.default_rng([2, seed])) for world in (fresh, used))
        assert np.array_equal(first[0], again[0])
        assert (first[2], fresh.instruction) == (again[2], used.instruction)
    frame = fresh.draw()
    assert (frame.shape, frame.dtype) == ((48, 48, 3), np.uint8)
    assert len(np.unique(frame.reshape(-1, 3), axis=0)) > 4


def test_an_action_is_the_nearest_of_seven_and_nothing_happens_after_the_end():
    world = BabyAI(levels=["GoToLocalS6N4"], **OPTIONS)
    for number, name in enumerate(ACTIONS):
        world.reset(np.random.default_rng(3))
        exact, nearby = number / 3 - 1, np.clip(number / 3 - 1 + 0.12, -1, 1)
        world.step(np.array([exact]))
        first = world.numbers
        world.reset(np.random.default_rng(3))
        world.step(np.array([nearby]))
        assert np.array_equal(first, world.numbers), name
    world.reset(np.random.default_rng(3))
    before = world.numbers
    do(world, "done")
    assert np.array_equal(before, world.numbers)
    do(world, "left")
    assert not np.array_equal(before, world.numbers)
    demonstrate(world, 0, 64, 0, np.random.default_rng(3))
    after = world.numbers
    assert do(world, "left", "forward") == [0, 0]
    assert np.array_equal(after, world.numbers)
    assert world.reached


def test_the_state_tells_what_is_where_as_the_agent_sees_it():
    world = BabyAI(levels=["PickupDist"], **OPTIONS)
    world.reset(np.random.default_rng(1))
    things = world.numbers[4:].reshape(5, 5)
    assert {(KINDS[int(kind)], COLOURS[int(colour)]) for kind, colour, *_ in things} == {
        (thing.type, thing.color) for thing in world.placed
    }
    do(world, "left")
    turned = world.numbers[4:].reshape(5, 5)
    assert np.array_equal(turned[:, 3], things[:, 2])  # what was ahead is at the right now
    assert np.array_equal(turned[:, 2], -things[:, 3])
    states, *_ = demonstrate(world, 0, 64, 0, np.random.default_rng(1))
    assert (states[-1][4:].reshape(5, 5)[:, 4] == CARRIED).sum() == 1
    few = BabyAI(levels=["GoToObjS6"], **OPTIONS)
    assert few.numbers[9:].reshape(4, 5)[:, :2].max() == -1


def test_new_missions_are_about_things_that_training_never_asks_for():
    world, about = BabyAI(levels=["GoToLocalS6N4"], **OPTIONS | {"new_missions": True}), {}
    for seed in range(150):
        world.reset(np.random.default_rng(seed))
        about.setdefault(world.split, set()).add(" ".join(world.instruction.split()[-2:]))
    assert set(about) == {"train", "val", "test"}
    assert not about["train"] & (about["val"] | about["test"])
    assert len(about["train"]) > len(about["test"]) == len(about["val"]) == 3


def test_a_bot_that_is_lost_fails_as_a_world_does_and_another_episode_goes_on():
    world = BabyAI(levels=["PickupDist"], **OPTIONS)
    world.lost = "DisappearedBoxError"
    with pytest.raises(WorldFailure, match=r"the bot is lost \(DisappearedBoxError\)"):
        world.choose_expert_action()
    assert (world.plan, isinstance(world, Told)) == ("", True)
    world.reset(np.random.default_rng(0))
    assert world.choose_expert_action().shape == (1,)


def test_an_episode_in_which_the_bot_is_lost_is_made_anew_with_other_draws(tmp_path):
    class Losing(BabyAI):
        def step(self, action):
            reward = super().step(action)
            if self.lose:
                self.lost = "it"
            return reward

    world = Losing(levels=LEVELS, **OPTIONS)
    options = {"folder": tmp_path, "seed": 0, "limit": 64, "stay": 0, "noises": [0], "views": 0}
    maker = ToldDemonstrations(**options, world=partial(BabyAI, levels=LEVELS, **OPTIONS), episodes={"train": 1})
    (plan,) = maker.plans()
    seeds = []

    def reset(draws, begin=world.reset):
        begin(draws)
        seeds.append(draws)
        world.lose = len(seeds) < 3

    world.reset = reset
    object.__setattr__(maker, "open", lambda: world)
    row = maker.draw(plan, tmp_path)
    assert (row["reached"], len(row["seed"])) == (True, 4)
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n")
    rows = Demonstrations(4, 1, {"state": 29, "action": 1}).read(str(tmp_path / "train.jsonl"))
    assert rows[0].plan in row["plans"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"levels": ["GoToLocl"]}, "has GoToLocl, which is no level of BabyAI; choose GoToLocal"),
        ({"levels": []}, r"levels=\[\].*give 1 or more of each"),
        ({"things": 2}, "has [345] things, but task.things=2; raise it"),
        ({"side": 4}, "side=4 must be 8 or more"),
    ],
)
def test_a_level_that_there_isnt_or_too_many_things_are_refused_in_one_line(change, words):
    with pytest.raises(ValueError, match=words) as error:
        BabyAI(**{"levels": LEVELS} | OPTIONS | change)
    assert "\n" not in str(error.value)


def test_without_minigrid_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "minigrid", None)
    with pytest.raises(ValueError, match=r"pip install 'mirage_pl\[babyai\]'"):
        BabyAI(levels=LEVELS, **OPTIONS)
