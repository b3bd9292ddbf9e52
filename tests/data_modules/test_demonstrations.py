"""Demonstrations: steps, what is wrong with files, and the world of discs in which they are made."""

import json

import numpy as np
import pytest

from data_modules.demonstrations.demonstration import write_demonstration
from data_modules.demonstrations.steps import Demonstrations
from data_modules.worlds.discs import VERBS, Discs
from data_modules.worlds.told import Told
from data_modules.worlds.told_maker import ToldDemonstrations, demonstrate

NUMBERS = {"state": 2, "action": 1}


def write(folder, name="a", steps=5, row=None, **arrays):
    states = np.arange(2 * steps, dtype=np.float32).reshape(steps, 2)
    actions = np.arange(steps - 1, dtype=np.float32)[:, None] / 10
    np.savez(folder / f"{name}.npz", **{"states": states, "actions": actions} | arrays)
    return {"episode": f"{name}.npz", "length": steps, "instruction": "go on"} | (row or {})


def write_index(folder, *rows):
    (folder / "index.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / "index.jsonl")


def test_a_chunk_behind_the_end_repeats_the_last_action_and_says_how_much_is_real(tmp_path):
    rows = Demonstrations(3, 1, NUMBERS).read(write_index(tmp_path, write(tmp_path), write(tmp_path, "b", 3)))
    assert len(rows) == 4 + 2
    assert [step.real for step in map(rows.__getitem__, range(6))] == [3, 3, 2, 1, 2, 1]
    assert rows[3].actions_HA.tolist() == pytest.approx(np.full((3, 1), 0.3))
    assert rows[2].state_S.tolist() == [4, 5]
    assert (rows[2].where.rpartition("/")[2], rows[2].instruction) == ("index.jsonl:1@2", "go on")
    assert len(rows.identities()) == 2
    assert rows.identity(rows[0]) == rows.identity(rows[3]) != rows.identity(rows[4])
    states, actions = rows.gather()
    assert (states.shape, actions.shape) == ((8, 2), (6, 1))
    assert len(Demonstrations(3, 2, NUMBERS).read(str(tmp_path / "index.jsonl"))) == 3
    assert "go on" in rows.caption(rows[0])
    assert rows.picture(rows[0]).size[0] > 100


def test_shuffled_plans_are_those_of_other_steps_and_nothing_else_is_changed(tmp_path):
    plans = {"plans": [f"plan {number}" for number in range(4)]}
    says = np.arange(4)
    index = write_index(tmp_path, write(tmp_path, row=plans, plans=says), write(tmp_path, "b", row=plans, plans=says))
    own, shuffled = (Demonstrations(3, 1, NUMBERS, how).read(index) for how in ("own", "shuffled"))
    assert [step.plan for step in map(own.__getitem__, range(8))] == [f"plan {at}" for at in (0, 1, 2, 3) * 2]
    said = [step.plan for step in map(shuffled.__getitem__, range(8))]
    assert said == [step.plan for step in map(shuffled.__getitem__, range(8))]
    assert set(said) <= set(plans["plans"])
    assert len(set(said)) > 1
    assert said != [f"plan {at}" for at in (0, 1, 2, 3) * 2]
    assert all(
        (one.where, one.instruction, one.real) == (other.where, other.instruction, other.real)
        for one, other in zip(map(own.__getitem__, range(8)), map(shuffled.__getitem__, range(8)), strict=True)
    )
    with pytest.raises(ValueError, match=r"task\.plans=mixed is unknown"):
        Demonstrations(3, 1, NUMBERS, "mixed")


def test_demonstrations_without_a_state_are_read_where_none_is_asked_for(tmp_path):
    row = write(tmp_path, "blind")
    with np.load(tmp_path / "blind.npz") as whole:
        np.savez(tmp_path / "blind.npz", actions=whole["actions"])
    index = write_index(tmp_path, row)
    rows = Demonstrations(3, 1, NUMBERS | {"state": 0}).read(index)
    assert [step.state_S for step in map(rows.__getitem__, range(4))] == [None] * 4
    assert [part.shape for part in rows.gather()] == [(5, 0), (4, 1)]
    assert rows.picture(rows[0]).size[0] > 100
    assert "state none" in rows.caption(rows[0])
    (problem,) = Demonstrations(3, 1, NUMBERS).problems(index)
    assert "index.jsonl:1" in problem
    assert "has no states; for a policy that reads none set task.numbers.state=0" in problem
    (problem,) = Demonstrations(3, 1, NUMBERS | {"state": 0}).problems(write_index(tmp_path, write(tmp_path)))
    assert "states of 2 numbers, not of 0" in problem


def test_each_bad_row_is_named_with_what_is_wrong(tmp_path):
    nan = np.full((4, 1), np.nan, np.float32)
    index = write_index(
        tmp_path,
        write(tmp_path),
        write(tmp_path, "nan", actions=nan),
        write(tmp_path, "short", row={"length": 9}),
        write(tmp_path, "wide", states=np.zeros((5, 3), np.float32)),
        write(tmp_path, "thick", actions=np.zeros((4, 2), np.float32)),
        write(tmp_path, "rows", actions=np.zeros((2, 1), np.float32)),
        {"episode": "gone.npz", "length": 5, "instruction": "go"},
        {"episode": "a.npz", "length": 5},
    )
    np.savez(tmp_path / "other.npz", x=1)
    problems = [*Demonstrations(3, 1, NUMBERS).problems(index)]
    expected = (
        "actions of step 0 aren't finite",
        "has 5 states, not 9",
        "states of 3 numbers, not of 2",
        "actions of 2 numbers, not of 1",
        "a row for each of 4 steps",
        "gone.npz does not exist",
        "no instruction",
    )
    assert len(problems) == len(expected)
    for number, (problem, words) in enumerate(zip(problems, expected, strict=True), start=2):
        assert f"index.jsonl:{number}" in problem
        assert words in problem
    with pytest.raises(ValueError, match="chunk=0"):
        Demonstrations(0, 1, NUMBERS)


def test_the_same_draws_begin_the_same_episode_and_each_goal_can_be_reached():
    world, ways = Discs(64), set()
    assert isinstance(world, Told)
    for number in range(24):
        states, actions, said = demonstrate(world, (0, 0.5)[number % 2], 60, 3, np.random.default_rng([7, number]))
        assert world.reached
        assert len(states) == len(actions) + 1
        assert np.abs(actions).max() <= 1
        assert np.array(states).shape[1] == 10
        assert len(said) == len(actions)
        assert {words.split()[0] for words in said} <= {"go", "push", "stay"}
        assert said[-1] == "stay"
        ways.add((world.verb, world.colour))
        assert world.instruction not in world.others
        assert len(world.others) == 2
    assert len(ways) == 6
    again = demonstrate(Discs(32), 0.5, 60, 3, np.random.default_rng([7, 23]))
    assert np.array_equal(again[0], states)
    assert set(VERBS) == {verb for verb, _ in ways}


def test_what_is_done_has_noise_and_what_is_written_has_none():
    noisy = demonstrate(Discs(64), 0.6, 30, 0, np.random.default_rng([1, 1]))
    world = Discs(64)
    world.reset(np.random.default_rng([1, 1]))
    assert np.allclose(noisy[1][0], world.choose_expert_action())
    world.step(noisy[1][0])
    assert not np.allclose(world.numbers, noisy[0][1])


def test_demonstrations_are_made_as_the_settings_say(tmp_path):
    from functools import partial

    made = ToldDemonstrations(
        folder=tmp_path / "made",
        seed=0,
        num_workers=1,
        world=partial(Discs, side=64),
        episodes={"train": 3, "test": 2},
        limit=40,
        stay=2,
        noises=[0, 0.3],
        views=1,
    )
    made.make()
    rows = Demonstrations(4, 1, {"state": 10, "action": 2}).read(str(tmp_path / "made/train.jsonl"))
    assert {step.group for step in map(rows.__getitem__, range(len(rows)))} <= set(VERBS)
    assert [frame.shape for frame in rows[0].look()] == [(64, 64, 3)]
    assert rows[0].meta["seed"] == [0, sum(b"train"), 0]
    assert rows[0].meta["reached"]
    write_demonstration(tmp_path / "x/y.npz", np.zeros((3, 2)), np.zeros((2, 1)))
    assert (tmp_path / "x/y.npz").is_file()
