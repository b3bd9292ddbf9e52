"""Episodes that a policy plays: baselines, conditions, failures, words, and the session that acts once."""

import io
import json

import numpy as np
import pytest
from hydra.utils import instantiate
from tokenizers import Tokenizer

from data_modules.worlds.discs import Discs
from mirage_pl.engine import evaluate, export
from mirage_pl.engine.checkpoints.trained import load_trained
from mirage_pl.engine.sessions import infer
from mirage_pl.engine.sessions.words import prepare_words
from mirage_pl.mmact.evaluations.loop import Play, play
from mirage_pl.mmact.evaluations.policies import SEEN, Expert, Mean, Nearest, Random
from mirage_pl.mmact.evaluations.policy import Acting
from mirage_pl.mmact.report import verdict
from tests.conftest import compose
from tests.mmact.conftest import compose_small
from tests.mmact.dying import BEGUN, OPENED, Dying


@pytest.fixture(scope="module")
def rows(told):
    cfg = compose_small("train", f"data={told}")
    return instantiate(cfg.task.dataset).read(cfg.task.test_file)


@pytest.fixture(scope="module")
def scored(run):
    metrics = evaluate.run(compose("evaluate", f"ckpt={run}", "evaluation=mmact/policy", "num_shown=1", "limit=40"))
    lines = (run / "evaluation/pushing_language/predictions.jsonl").read_text().splitlines()
    return metrics, [json.loads(line) for line in lines]


def first_steps(rows):
    return [rows[index] for index in range(len(rows)) if rows[index].at == 0]


def test_an_episode_begins_as_it_was_demonstrated_and_an_expert_reaches_its_goal(rows):
    plays = [Play(step, Discs(64)) for step in first_steps(rows)]
    for each in plays:
        np.testing.assert_allclose(each.first_S, each.sample.state_S, atol=1e-6)
        assert each.world.instruction == each.sample.instruction
    play(plays, Expert(), 60, 1)
    assert all(each.reached and each.error is None for each in plays)
    assert len({len(each.actions) for each in plays}) > 1


def test_chunks_are_done_as_far_as_asked_and_no_further_than_the_limit(rows):
    class Count:
        calls = 0

        def __call__(self, plays):
            self.calls += 1
            return np.zeros((len(plays), 4, 2), np.float32)

    for exec_steps, calls in ((4, 3), (1, 10), (3, 4)):
        policy, plays = Count(), [Play(first_steps(rows)[0], Discs(64))]
        play(plays, policy, 10, exec_steps)
        assert (policy.calls, len(plays[0].actions)) == (calls, 10)
    with pytest.raises(ValueError, match="exec_steps=5, but a chunk has 4 steps"):
        play([Play(first_steps(rows)[0], Discs(64))], Count(), 10, 5)


def test_a_simulator_that_dies_ends_its_episode_alone(rows):
    class Dying(Discs):
        def step(self, action):
            if len(plays[1].actions) == 3:
                raise RuntimeError("out of memory")
            return super().step(action)

    steps = first_steps(rows)
    plays = [Play(steps[0], Discs(64)), Play(steps[1], Dying(64))]
    play(plays, Random(4), 8, 4)
    assert (len(plays[0].actions), len(plays[1].actions)) == (8, 3)
    assert plays[1].error == "RuntimeError: out of memory"
    assert not plays[1].reached


def test_a_world_that_dies_in_whatever_call_costs_its_episode_and_nothing_else(run, rows):
    BEGUN.clear()
    OPENED.clear()
    world = "evaluation.world={_target_: tests.mmact.dying.Dying, _partial_: true, side: 64}"
    words = [world, "conditions=[nearest,expert]", "num_shown=4", "limit=6"]
    given = [f"ckpt={run}", "evaluation=mmact/policy", "label=dying", "exec_steps=1", *words]
    metrics = evaluate.run(compose("evaluate", *given))
    played = [json.loads(line) for line in (run / "evaluation/dying/predictions.jsonl").read_text().splitlines()]
    calls = ("numbers", "step", "reset")
    assert [row.get("error") for row in played] == [None, *(f"ConnectionError: died in {call}" for call in calls)]
    assert not any(row["success"] for row in played[1:])
    assert metrics["success"]["all"]["n"] == 4
    assert {name: each["n"] for name, each in metrics["conditions"].items()} == {"nearest": 4, "expert": 4}
    assert len(OPENED) > 4  # those that died aren't played in again
    assert (run / "evaluation/dying/report.html").is_file()
    dead = Dying(64)
    dead.draw = lambda: 1 / 0
    assert Play(first_steps(rows)[0], dead).film() == []


def test_an_expert_that_fails_ends_its_episode_alone(rows):
    class Lost(Discs):
        def choose_expert_action(self):
            raise ValueError("the bot is lost")

    steps = first_steps(rows)
    plays = [Play(steps[0], Discs(64)), Play(steps[1], Lost(64))]
    play(plays, Expert(), 60, 1)
    assert plays[0].reached
    assert (plays[1].error, plays[1].reached) == ("ValueError: the bot is lost", False)


def test_conditions_change_what_they_say_and_nothing_else(rows):
    each = Play(first_steps(rows)[0], Discs(64))
    told, state = SEEN["own"](each)
    wrong, same = SEEN["wrong_instruction"](each)
    assert wrong != told
    assert wrong in each.world.others
    assert SEEN["wrong_instruction"](each)[0] == wrong
    assert np.array_equal(state, same)
    assert SEEN["no_instruction"](each)[0] == ""
    assert sorted(SEEN["shuffled_words"](each)[0].split()) == sorted(told.split())
    assert SEEN["no_state"](each) == (told, None)
    each.act(np.ones(2))
    assert np.allclose(SEEN["frozen_state"](each)[1], state)
    assert not np.allclose(SEEN["own"](each)[1], state)


def test_baselines_do_what_the_training_data_did(rows):
    steps = first_steps(rows)
    plays = [Play(step, Discs(64)) for step in steps]
    assert np.allclose(Nearest(rows)(plays), [step.actions_HA for step in steps])
    assert np.allclose(Mean(rows)(plays)[0, 0], rows.gather()[1].mean(0))
    one, other = Random(4)(plays)[:2]
    assert not np.allclose(one, other)


def test_scores_have_every_condition_and_the_page_says_what_is_read(run, scored):
    metrics, lines = scored
    assert metrics["success"]["all"]["n"] == len(lines) == 4
    conditions = metrics["conditions"]
    assert set(conditions) == {
        "wrong_instruction",
        "no_instruction",
        "no_state",
        "frozen_state",
        "random",
        "nearest",
        "expert",
    }
    assert conditions["expert"]["measures"]["success"]["mean"] == 1
    assert all(row["length"] == 40 for row in lines if not row["success"])
    assert 0 <= conditions["no_state"]["moved"]["mean"] <= 2
    goals = metrics["goals"]
    assert sum(goal["n"] for goal in goals.values()) == 4
    assert set(goals) == {f"{row['group']}: {row['goal']}" for row in lines}
    assert {goal.partition(": ")[2] for goal in goals} <= {"red", "green", "blue"}
    page = (run / "evaluation/pushing_language/report.html").read_text()
    assert "How to read episodes" in page
    assert all(f"<b>{goal}</b>" in page for goal in goals)
    assert page.count("data:image/gif") >= 2


def test_scores_say_how_far_decoding_departs_that_approximates(run):
    given = [f"ckpt={run}", "evaluation=mmact/policy", "conditions=[]", "num_shown=0", "limit=4", "exec_steps=4"]
    metrics = evaluate.run(compose("evaluate", *given, "label=stale", "decode.steps=4", "decode.stale=true"))
    assert metrics["acting"]["deviation"] >= 0
    assert 0 <= metrics["acting"]["departs"] <= 1
    assert "exact decoding" in (run / "evaluation/stale/report.html").read_text()
    quick = ["decoding@decode=mmact/words", "decode.confidence=0.001"]
    metrics = evaluate.run(compose("evaluate", *given, "label=quick", *quick))
    assert metrics["acting"]["deviation"] > 0


def test_ways_to_fill_in_stand_beside_each_other_with_what_they_cost(run):
    given = [f"ckpt={run}", "evaluation=mmact/decoders", "num_shown=0", "limit=4", "label=ways"]
    metrics = evaluate.run(compose("evaluate", *given))
    ways = metrics["conditions"]
    passes = {name: way["forwards"]["mean"] for name, way in ways.items()}
    assert metrics["acting"]["forwards"] == passes["expectation"] == passes["sample"] == 1
    assert [passes[name] for name in ("again4", "again8", "doubted8", "stale8", "quotas8", "blocks8")] == [4, *[8] * 5]
    assert 1 <= passes["confident8"] <= 8
    assert all(way["ms"]["mean"] > 0 and way["measures"]["success"]["n"] == 4 for way in ways.values())
    exact = {name for name in ways if name not in ("stale8", "confident8")}
    assert {ways[name]["deviation"]["mean"] for name in exact} == {0}
    assert ways["stale8"]["deviation"]["mean"] > 0
    assert metrics["decoders"]["again4"]["steps"] == 4
    page = (run / "evaluation/ways/report.html").read_text()
    assert "hidden again (MaskGIT)" in page
    assert "forwards 4, ms " in page
    with pytest.raises(ValueError, match="conditions=.'again9'. are unknown; .*again8"):
        evaluate.run(compose("evaluate", *given, "conditions=[again9]"))


def test_what_the_verdict_says_agrees_with_the_interval():
    def say(name, low, high):
        change = {"difference": (low + high) / 2, "low": low, "high": high, "n": 9}
        measure = {"kind": "share", "better": "higher", "unit": "", "meaning": ""}
        return verdict(
            {
                "measures": {"success": measure},
                "conditions": {name: {"measures": {"success": {"difference": change}}}},
            }
        )

    assert say("wrong_instruction", -0.9, -0.5)[0].startswith(
        "This policy reads the instruction: wrong_instruction -70"
    )
    assert say("no_state", -0.1, 0.1)[0].startswith("This policy is not shown to read the state")
    assert say("nearest", -0.4, -0.1) == ["It is better than nearest."]
    assert say("nearest", 0.1, 0.4) == ["It is worse than nearest."]
    assert say("random", -0.1, 0.4) == []


def test_a_condition_that_there_isnt_and_an_episode_without_a_seed_are_refused(run, told, tmp_path):
    given = [f"ckpt={run}", "evaluation=mmact/policy"]
    with pytest.raises(ValueError, match="conditions=.'no_image'. are unknown"):
        evaluate.run(compose("evaluate", *given, "conditions=[no_image]"))
    with pytest.raises(ValueError, match="this world can't place things elsewhere"):
        evaluate.run(compose("evaluate", *given, "conditions=[moved_objects]", "limit=2", "label=moved"))
    row = json.loads((told / "pushing_language/test.jsonl").read_text().splitlines()[0])
    row["episode"] = str(told / "pushing_language" / row["episode"])
    (tmp_path / "mine.jsonl").write_text(json.dumps({key: value for key, value in row.items() if key != "seed"}))
    with pytest.raises(ValueError, match=r"mine\.jsonl:1@0: no seed"):
        evaluate.run(compose("evaluate", *given, f"task.test_file={tmp_path}/mine.jsonl", "label=mine"))
    assert Acting.name == "policy"


def test_a_session_says_actions_for_states_and_plays_an_episode(run, tmp_path):
    given = ["session=mmact/act", f"ckpt={run}", f"out={tmp_path}"]
    (use,) = infer.run(compose("infer", *given, "instruction=go", f'state="{" ".join(["0.1"] * 10)}"'))
    assert [len(line.split()) for line in use["text"].splitlines()] == [2] * 4
    (use,) = infer.run(compose("infer", *given, "episode=3", "limit=5", "instruction='go to the red disc'"))
    assert "reached after 5 steps" in use["text"] or "not reached" in use["text"]
    assert use["files"] == [f"{tmp_path}/episode-3.gif"]
    for state, words in (("0.1 0.2", "state has 2 numbers; this policy takes 10"), ("a b", "must be numbers")):
        with pytest.raises(ValueError, match=words):
            infer.run(compose("infer", *given, f'state="{state}"'))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["exec_steps=0"], "^exec_steps=0 must be 1 to 4, the steps of a chunk, limit=60 1 or more$"),
        (["exec_steps=5"], "^exec_steps=5 must be 1 to 4"),
        (["limit=-1"], "limit=-1 1 or more$"),
        (
            ["state='0 0 0 0 0 0 0 0 0 0'"],
            "^this run reads instructions; give instruction=, what is to be done in this state$",
        ),
        (["instruction=go", "file=rows.txt", "loop=true", "serve=true"], "serve=true answers clients"),
    ],
)
def test_what_a_session_cannot_do_is_said_before_it_acts(run, words, message):
    with pytest.raises(ValueError, match=message):
        infer.run(compose("infer", "session=mmact/act", f"ckpt={run}", *words))


def test_lines_are_further_states_under_one_instruction(run, tmp_path, monkeypatch):
    state = " ".join(["0.1"] * 10)
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{state}\nnothing\n{state}\n"))
    given = ["session=mmact/act", f"ckpt={run}", f"out={tmp_path}", "instruction=go", "loop=true"]
    first, second = infer.run(compose("infer", *given))
    assert first["text"] == second["text"]
    assert first["given"] == {"state": state}


@pytest.mark.parametrize(
    ("session", "lacks"),
    [
        ("mmact/recode", "module.net.sizes.grid"),
        ("ivideogpt/imagine", "module.net.context_length"),
        ("ivideogpt/act", "module.simulator"),
        ("ivideogpt/reconstruct", "module.tokenizer"),
        ("deepverse/walk", "module.net.stride"),
        ("deepverse/reconstruct", "module.vae"),
        ("answer", "module.net.architecture"),
    ],
)
def test_a_session_of_another_kind_of_run_says_what_this_one_lacks(run, session, lacks):
    with pytest.raises(ValueError, match=f"is a run of stage=mmact/action, which has no {lacks} for this session to"):
        infer.run(compose("infer", f"session={session}", f"ckpt={run}"))


def test_an_export_has_the_names_of_the_release_and_the_scales(run, tmp_path):
    from safetensors.torch import load_file

    out = export.run(compose("export", f"ckpt={run}", f"out={tmp_path}/out"))
    weights = load_file(out / "model.safetensors")
    assert "model.transformer.blocks.1.ff_proj.weight" in weights
    assert weights["scales.state.fitted"]
    config = json.loads((out / "config.json").read_text())
    assert (config["action_vocab_size"], config["numbers"]) == (256, {"state": 10, "action": 2})
    assert (config["chunk"], config["bins"], config["reads"]) == (4, "ordinal", {"instruction": True, "state": True})
    own = load_trained(str(run)).collator.words.encode("go to the red disc")
    assert Tokenizer.from_file(str(out / "tokenizer.json")).encode("go to the red disc").ids == own
    (tmp_path / "new").touch()
    assert {file.stat().st_mode for file in out.iterdir()} == {(tmp_path / "new").stat().st_mode}


def test_an_instruction_is_typed_as_it_is_said(run):
    words = prepare_words([f"ckpt={run}", "instruction=go, please: to the red disc", "state=0.1 -0.2"])
    assert words[-1] == "session=mmact/act"
    cfg = compose("infer", *words)
    assert (cfg.instruction, cfg.state) == ("go, please: to the red disc", "0.1 -0.2")
