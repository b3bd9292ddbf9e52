"""Planning: the search for actions, imagined clips that go on, and episodes that are played by it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hydra.utils import instantiate

from data_modules.worlds.world import WorldFailure
from mirage_pl.engine.evaluation import scoring as evaluate
from mirage_pl.engine.seams import OWN
from mirage_pl.ivideogpt.control import planning
from mirage_pl.ivideogpt.control.long_rollout import LongRollout
from mirage_pl.ivideogpt.control.objective import Objective
from mirage_pl.ivideogpt.control.planners import Planner, shift_plan
from mirage_pl.ivideogpt.control.planning import Search
from mirage_pl.ivideogpt.control.report import verdict
from mirage_pl.ivideogpt.control.vp2 import VideoPredictor
from mirage_pl.ivideogpt.evaluations.control import Control
from mirage_pl.ivideogpt.model.rollout import Imagined, Rollout, Sampling, imagine
from tests.conftest import compose
from tests.data_modules.test_pushing import needs_drawing
from tests.ivideogpt.playing import SIDE, Line
from tests.ivideogpt.test_world_model import actions_of, batch, frames_of, module, run_of_world, world  # noqa: F401

OPTIONS = {"candidates": 64, "iterations": 6, "hold": 2, "spread": 0.7, "elites": 8, "temperature": 0.05}


def streams(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


WANTED = torch.tensor([[[0.3, -0.5], [0.3, -0.5], [-0.8, 0.1], [-0.8, 0.1]], [[0.9, 0.9]] * 4])


def closeness(wanted_BHA):
    return lambda actions: -(actions - wanted_BHA[:, None]).square().sum((2, 3))


@pytest.mark.parametrize("kind", ["cem", "mppi"])
def test_a_search_finds_the_best_actions_each_episode_by_itself(kind):
    planner = Planner(kind, **OPTIONS)
    zeros = torch.zeros(2, 4, 2)
    plans = planner.plan(closeness(WANTED), zeros, streams(0, 1))
    assert (plans - WANTED).abs().max() < 0.1
    for row in range(2):
        alone = planner.plan(closeness(WANTED[[row]]), zeros[[row]], streams(row))
        assert torch.equal(alone, plans[[row]])
    assert not torch.equal(planner.plan(closeness(WANTED), zeros, streams(2, 1))[0], plans[0])


def test_what_is_best_beyond_the_limits_is_at_them_and_actions_are_held():
    plan = Planner("cem", **OPTIONS | {"hold": 3}).plan(
        lambda actions: actions.sum((2, 3)), torch.zeros(1, 4, 1), streams(0)
    )
    assert (plan > 0.97).all()
    assert (plan <= 1).all()
    assert torch.equal(plan[0, 0], plan[0, 2])


def test_the_plan_before_is_a_candidate_so_that_a_new_one_is_never_worse():
    first = shift_plan(torch.tensor([[[0.1], [0.2], [0.3], [0.4]]]), 2)
    assert first.flatten().tolist() == pytest.approx([0.3, 0.4, 0.4, 0.4])
    planner = Planner("cem", **OPTIONS | {"candidates": 2, "elites": 1, "iterations": 1, "hold": 1})
    score = lambda actions: -(actions - first[:, None]).abs().sum((2, 3))  # noqa: E731
    assert torch.equal(planner.plan(score, first, streams(0)), first)
    assert torch.isfinite(planner.plan(lambda actions: torch.full((1, 2), torch.nan), first, streams(0))).all()


def test_the_best_few_count_alike_or_all_by_their_scores():
    scores = torch.tensor([[1.0, 3.0, 2.0]])
    cem, mppi = (
        Planner(kind, **OPTIONS | {"candidates": 3, "elites": 2, "temperature": 0.5}) for kind in ("cem", "mppi")
    )
    assert cem.weigh(scores).tolist() == [[0, 0.5, 0.5]]
    expected = np.exp([-2, 0, -1]) / np.exp([-2, 0, -1]).sum()
    assert mppi.weigh(scores)[0].tolist() == pytest.approx(expected.tolist())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "ilqr"}, "planner.kind=ilqr is unknown"),
        ({"elites": 99}, "elites=99 must be 1 to planner.candidates=64"),
        ({"hold": 0}, "hold=0"),
        ({"spread": 0.0}, "spread=0.0"),
    ],
)
def test_planners_that_cant_be_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        Planner(**{"kind": "cem"} | OPTIONS | change)
    with pytest.raises(ValueError, match="execute=3 must be 1 to search.horizon=2"):
        Search(Planner("cem", **OPTIONS), 2, 3, 5)
    with pytest.raises(ValueError, match="reward=0 and goal=0"):
        Objective(0, 0)


def test_an_imagined_clip_goes_on_from_its_newest_frames(world, batch):  # noqa: F811
    frames, actions = frames_of(batch)[:, :1], actions_of(batch, world)
    rollout = LongRollout(world, frames, 2, Sampling())
    taken = [actions[:, 0], actions[:, 1], actions[:, 0], actions[:, 1]]
    steps = [rollout.step(action) for action in taken]
    first = imagine(world, frames, 2, torch.stack(taken[:2], 1))
    then = imagine(world, steps[1].frames_BCHW[:, None], 2, torch.stack(taken[2:], 1))
    for step, frame, clip in ((0, 0, first), (1, 1, first), (2, 0, then), (3, 1, then)):
        torch.testing.assert_close(steps[step].frames_BCHW, clip.frames_BFCHW[:, frame])
        torch.testing.assert_close(steps[step].rewards_B, clip.rewards_BF[:, frame])
    unseen = LongRollout(world, frames, 2, Sampling())
    rewards = [unseen.step(action, see=False).rewards_B for action in taken]
    torch.testing.assert_close(torch.stack(rewards), torch.stack([step.rewards_B for step in steps]))


def test_candidates_are_scored_as_if_each_were_imagined_alone(world, batch):  # noqa: F811
    frames, actions = frames_of(batch)[:2, :1], torch.rand(2, 3, 4, 2, dtype=torch.float64) * 2 - 1
    goals = frames_of(batch)[:2, -1]
    start = LongRollout(world, frames, 3, Sampling())
    scores = Objective(reward=2.0, goal=5.0).score(start, actions, goals)
    assert scores.shape == (2, 3)
    for row in range(2):
        for candidate in range(3):
            alone = LongRollout(world, frames[[row]], 3, Sampling())
            steps = [alone.step(action[None]) for action in actions[row, candidate]]
            error = (steps[-1].frames_BCHW[0] - goals[row]).square().mean()
            expected = 2 * sum(step.rewards_B.item() for step in steps) - 5 * error.item()
            assert scores[row, candidate].item() == pytest.approx(expected, rel=1e-5)
    assert start.rollout.count == 0


class Known:
    """What a perfect model imagines of the line: the number is the brightness of the frame."""

    def __init__(self, model, context_BTCHW, segment, sampling, streams=None):
        self.numbers = (255 * context_BTCHW[:, -1].mean((1, 2, 3))).round()

    @property
    def newest(self):
        return [self.frames()]

    def frames(self):
        return (self.numbers / 255)[:, None, None, None].expand(-1, 3, SIDE, SIDE)

    def step(self, actions_BA, see=True):
        self.numbers = (self.numbers + actions_BA[:, 0].sign()).clamp(0, 50)
        return Imagined(self.frames(), self.numbers, torch.zeros(len(self.numbers), 1))

    def repeat(self, times):
        copy = object.__new__(Known)
        copy.numbers = self.numbers.repeat_interleave(times, 0)
        return copy


class Saved(Line):
    def save(self):
        return self.number

    def restore(self, state):
        self.number = state


def known_module(action_dim=1, has_reward=True):
    net = SimpleNamespace(
        action_dim=action_dim,
        has_reward=has_reward,
        context_length=1,
        tokenizer=SimpleNamespace(sizes=SimpleNamespace(resolution=SIDE)),
        parameters=lambda: iter([torch.zeros(1)]),
    )
    return SimpleNamespace(net=net, device=torch.device("cpu"))


SEARCH = Search(Planner("cem", **OPTIONS | {"candidates": 16, "elites": 3, "iterations": 2}), 4, 2, 3)


def control(simulator=Saved, objective=Objective(1.0, 0.0), **options):  # noqa: B008
    given = {"conditions": ["random", "expert", "simulator"], "starts": 3, "length": 13, "at_once": 2}
    given["before"] = [0, 0]
    return Control(world=simulator, search=SEARCH, objective=objective, sampling=Sampling(), **given | options)


def score(evaluation, condition=OWN, model=None):
    trial = evaluation.open(model or known_module(), None, lambda name, make: make())
    return trial, [row for rows in trial.score(condition) for row in rows]


def test_planning_with_a_model_that_makes_no_errors_does_what_the_expert_does(monkeypatch):
    monkeypatch.setattr(planning, "LongRollout", Known)
    trial, rows = score(control())
    returns = {name: [row["return"] for row in score(control(), name)[1]] for name in trial.conditions}
    assert [row["return"] for row in rows] == returns["expert"] == returns["simulator"]
    assert all(worse < best for worse, best in zip(returns["random"], returns["expert"], strict=True))
    assert [row["promised"] for row in rows] == [row["return"] for row in rows]
    assert all(row["success"] for row in rows)
    assert trial.describe()["promised"] == trial.describe()["earned"]
    ((name, frames),) = trial.draw(rows[0])
    assert (name, len(frames)) == ("", 13)
    seen, thought = (np.asarray(frames[7].crop(box)) for box in ((0, 0, 128, 128), (144, 0, 272, 128)))
    assert seen.mean() == thought.mean() == np.asarray(frames[0]).min() + 7


def test_what_is_promised_of_steps_that_are_never_taken_doesnt_count(monkeypatch):
    monkeypatch.setattr(planning, "LongRollout", Known)
    _, rows = score(control(length=4))  # three steps, of plans whose two first steps are taken
    assert [row["promised"] for row in rows] == [row["return"] for row in rows]


def test_an_expert_may_lead_to_the_starts_which_are_the_same_for_all(monkeypatch):
    monkeypatch.setattr(planning, "LongRollout", Known)
    fresh, led = ([row["return"] for row in score(control(before=before))[1]] for before in ([0, 0], [2, 4]))
    assert led == [row["return"] for row in score(control(before=[2, 4]), "expert")[1]]
    assert all(12 * 2 <= more - less <= 12 * 4 for less, more in zip(fresh, led, strict=True))
    trial, rows = score(control(before=[2, 4]))
    assert len(next(trial.draw(rows[0]))[1]) == 13
    with pytest.raises(ValueError, match=r"before=\[3\] must be the least and the most steps"):
        control(before=[3])


def test_a_picture_of_the_moment_in_which_the_expert_gets_there_is_a_goal_too(monkeypatch):
    monkeypatch.setattr(planning, "LongRollout", Known)
    trial, rows = score(control(objective=Objective(0.0, 1.0)))
    assert all(row["success"] for row in rows)
    last = [float(trial.clips[row["where"]][0][-1].float().mean()) for row in rows]
    assert all(abs(number - 30) <= SEARCH.horizon for number in last), last  # the expert itself goes on, to 32 and more


class Breaking(Line):
    """Breaks at the fourth step of an episode that begins above 25."""

    def save(self):
        return self.number, self.left

    def restore(self, state):
        self.number, self.left = state

    def reset(self, draws):
        super().reset(draws)
        self.left = 4 if self.number > 25 else 99

    def step(self, action):
        self.left -= 1
        if not self.left:
            raise WorldFailure("line ended at step with exit code 139: segmentation fault")
        return super().step(action)


def test_an_episode_whose_simulator_breaks_has_failed_and_the_others_go_on(monkeypatch):
    monkeypatch.setattr(planning, "LongRollout", Known)
    evaluation = control(simulator=Breaking, conditions=["random"], starts=6)
    trial, rows = score(evaluation)
    broken = [row for row in rows if "error" in row]
    assert 0 < len(broken) < len(rows) == 6
    assert all(row["return"] is None and row["success"] is False for row in broken)
    assert all(row["success"] for row in rows if "error" not in row)
    assert trial.remark(rows) == [
        f"{len(broken)} episode(s) count as failed because the simulator broke down: line ended at step with exit code "
        "139: segmentation fault"
    ]
    assert len(list(trial.draw(broken[0]))) == 1
    for condition in ("random", "simulator"):
        assert ["error" in row for row in score(evaluation, condition)[1]] == ["error" in row for row in rows]


def test_what_cant_be_planned_with_or_in_is_refused():
    for model, words in (
        (known_module(action_dim=0), "takes no actions"),
        (known_module(action_dim=3), r"takes actions of 3 number\(s\), the world's have 1"),
        (known_module(has_reward=False), "predicts no rewards"),
    ):
        with pytest.raises(ValueError, match=words):
            score(control(), model=model)
    with pytest.raises(ValueError, match="needs a world that can be put back, which Line can't"):
        score(control(simulator=Line), "simulator")
    with pytest.raises(ValueError, match=r"conditions=\['wizard'\] are unknown"):
        control(conditions=["wizard"])


def test_the_config_builds_it_and_its_verdict_says_who_brings_more():
    cfg = compose("evaluate", "evaluation=ivideogpt/control", "ckpt=RUN", "task=pushing")
    assert instantiate(cfg.evaluation).search.planner.candidates == 24
    measures = {"return": {"kind": "mean", "better": "higher", "unit": "", "meaning": ""}}

    def change(low, high):
        difference = {"difference": (low + high) / 2, "low": low, "high": high, "n": 9}
        return {"measures": {"return": {"difference": difference}}}

    conditions = {"random": change(-3.0, -1.0), "expert": change(1.0, 2.0), "simulator": change(-1.0, 1.0)}
    said = verdict({"evaluation": "control", "measures": measures, "conditions": conditions})
    assert [sentence.split(":")[0] for sentence in said] == [
        "Planning with this model brings more than random actions",
        "Planning with this model brings less than the expert",
        "Planning with this model brings as much as planning with the simulator itself, as far as these episodes show",
    ]


def test_vp2s_planner_gets_the_frames_after_the_first_of_the_context(world, batch):  # noqa: F811
    frames, actions = frames_of(batch), torch.rand(3, 2, 2, dtype=torch.float64)
    video = frames[:, :1].permute(0, 1, 3, 4, 2).float().numpy()
    predictor = VideoPredictor(SimpleNamespace(net=world.float(), device=torch.device("cpu")), at_once=2)
    try:
        predicted = predictor({"video": video, "actions": actions.float().numpy()})["rgb"]
        expected = Rollout(world, frames[:, :1].float(), 2)
        both = [expected.step(actions[:, step].float()).frames_BCHW for step in range(2)]
    finally:
        world.double()
    assert predicted.shape == (3, 2, 16, 16, 3)
    np.testing.assert_allclose(predicted, torch.stack(both, 1).permute(0, 1, 3, 4, 2).numpy(), atol=1e-5)
    assert predictor.num_context == 1
    with pytest.raises(ValueError, match="each of 2 number"):
        predictor({"video": video, "actions": actions[..., :1].numpy()})


@needs_drawing
def test_both_evaluations_run_in_a_real_simulator_and_their_results_lie_apart(run_of_world, tmp_path):  # noqa: F811
    task = [
        "task=pushing",
        f"task.folder={tmp_path}/pushing",
        "task.episodes={test: 1}",
        "task.length=4",
        "task.side=16",
    ]
    given = [f"ckpt={run_of_world}", *task, "task.val_file=null", "task.window={length: 3, moving: 0}", "num_shown=1"]
    small = ["search.horizon=3", "search.execute=2", "search.segment=2", "search.planner.candidates=3"]
    small += ["search.planner.elites=1", "search.planner.iterations=1", "conditions=[random,simulator]", "starts=2"]
    metrics = evaluate.run(compose("evaluate", *given, "evaluation=ivideogpt/control", *small, "accelerator=cpu"))
    assert metrics["return"]["all"]["n"] == 2
    assert set(metrics["conditions"]) == {"random", "simulator"}
    few = ["policies=[0,1,random]", "starts=2", "before=[0,1]", "steps=3", "segment=2"]
    ranked = evaluate.run(compose("evaluate", *given, "evaluation=ivideogpt/ranking", *few, "accelerator=cpu"))
    assert ranked["spearman_rows"]["all"]["n"] == 6
    places = {folder.name for folder in (run_of_world / "evaluation").iterdir()}
    assert {"pushing-control", "pushing-ranking"} <= places
    assert list((run_of_world / "evaluation" / "pushing-control" / "gallery").glob("*.gif"))
