"""vla-eval itself, with a benchmark of ours: it plays a run over its protocol, and does what the run does here."""

import json

import numpy as np
import pytest

from data_modules.worlds.discs import Discs
from mirage_pl.engine.checkpoints.trained import load_trained
from mirage_pl.mmact.evaluations.loop import Play, play
from mirage_pl.mmact.evaluations.policies import Model, make_step

pytestmark = pytest.mark.vla_eval
pytest.importorskip("vla_eval", reason="vla-eval is no dependency of the tests: make test-vla-eval installs it")

from vla_eval.api import evaluate  # noqa: E402
from vla_eval.benchmarks.base import StepBenchmark, StepResult  # noqa: E402
from vla_eval.model_servers.base import SessionContext  # noqa: E402
from vla_eval.specs import GRIPPER_CLOSE_POS, POSITION_DELTA  # noqa: E402

from integrations.vla_eval.server import PolicyServer, main  # noqa: E402

LIMIT, SEEDS = 6, (3, 4)


class Table(StepBenchmark):
    """The world of discs."""

    render_backends = frozenset({"gpu", "cpu"})

    def __init__(self, file, send_state=False, state="state"):
        super().__init__()
        self.world, self.file, self.state = Discs(64), file, state if send_state else None

    def get_tasks(self):
        return [{"name": f"seed {seed}", "seed": seed} for seed in SEEDS]

    def reset(self, task):
        self.world.reset(np.random.default_rng([task["seed"]]))
        self.task, self.done = task, []

    def step(self, action):
        self.done.append(np.asarray(action["actions"]).tolist())
        self.world.step(np.asarray(action["actions"], np.float64))
        return StepResult(None, 0.0, bool(self.world.reached), {})

    def make_obs(self, raw_obs, task):
        state = {self.state: self.world.numbers} if self.state else {}
        return {"images": {"front": self.world.draw()}, "task_description": self.world.instruction} | state

    def get_step_result(self, step_result):
        with open(self.file, "a") as out:
            out.write(json.dumps({"seed": self.task["seed"], "actions": self.done}) + "\n")
        return {"success": bool(step_result.done)}

    def get_action_spec(self):
        return {"position": POSITION_DELTA, "gripper": GRIPPER_CLOSE_POS}

    def get_observation_spec(self):
        return {}


def benchmark(file, **params):
    name = f"{__name__}:Table"
    return {"benchmarks": [{"benchmark": name, "max_steps": LIMIT, "params": {"file": str(file)} | params}]}


def tell(each):
    return each.world.instruction, each.world.numbers.astype(np.float32)


def play_here(run, exec_steps):
    trained = load_trained(str(run))
    task = trained.config.task
    starts = [make_step(f"seed {seed}", "", None, task.chunk, 2) for seed in SEEDS]
    plays = []
    for start, seed in zip(starts, SEEDS, strict=True):
        start.meta["seed"] = [seed]
        each = Play(start, Discs(64))
        decode = PolicyServer(str(run), "cpu").decode
        model = Model(trained.module, trained.collator, tell, Play.look, decode, task.chunk)
        play([each], model, LIMIT, exec_steps)
        plays.append(each)
    return {seed: np.array(each.actions) for seed, each in zip(SEEDS, plays, strict=True)}


@pytest.mark.parametrize(("exec_steps", "at_once", "key"), [(None, 1, "states"), (3, 4, "state")])
def test_it_does_over_the_protocol_what_it_does_here(run, tmp_path, exec_steps, at_once, key):
    server = PolicyServer(str(run), "cpu", exec_steps=exec_steps, batch_size=at_once)
    config = benchmark(tmp_path / "done.jsonl", state=key)
    results = evaluate(server, config, output_dir=tmp_path, no_save=True, docker=False)
    rows = [json.loads(line) for line in (tmp_path / "done.jsonl").read_text().splitlines()]
    here = play_here(run, exec_steps or 4)
    assert [row["seed"] for row in rows] == [*SEEDS]
    for row in rows:
        np.testing.assert_allclose(row["actions"], here[row["seed"]], atol=1e-6)
    (result,) = results
    tasks = result["tasks"]
    assert len(tasks) == len(SEEDS)
    assert not any("failure_reason" in episode for task in tasks for episode in task["episodes"])


def test_what_an_observation_lacks_is_said_in_one_line_and_the_server_goes_on(run, tmp_path):
    server, session = PolicyServer(str(run), "cpu"), SessionContext("one", "first")
    whole = {"task_description": "go to the red disc", "state": np.zeros(10)}
    assert server.predict_batch([whole], [session])[0]["actions"].shape == (4, 2)
    for change, words in (
        ({"task_description": None}, "no task_description"),
        ({"state": np.zeros(3)}, "a state has 3 numbers; this run takes 10"),
        ({"state": np.full(10, np.nan)}, "takes 10 finite ones"),
    ):
        with pytest.raises(ValueError, match=words) as error:
            server.predict_batch([whole | change], [session])
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="no state or states"):
        server.predict_batch([{"task_description": "go"}], [session])
    assert server.get_observation_params() == {"send_state": True, "send_wrist_image": False}
    assert server.get_action_spec()["actions"].dims == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"exec_steps": 5}, "exec_steps=5 must be from 1 to 4"),
        ({"cameras": ["front"]}, "this run reads 0 view"),
        ({"decode": {"stepps": 2}}, "something else than steps"),
        ({"actions": ["POSITION_DELTA"]}, "have 3 numbers, and this run's actions 2"),
        ({"actions": ["POSITION"]}, "POSITION is none of vla-eval's conventions"),
    ],
)
def test_an_option_that_doesnt_fit_the_run_is_refused(run, options, words):
    with pytest.raises(ValueError, match=words):
        PolicyServer(str(run), "cpu", **options)


def test_the_command_line_has_the_same_options_and_a_mistake_is_one_line(run, monkeypatch):
    options = [f"--args.ckpt={run}", '--args.decode={"stepps": 2}', '--args.cameras=["front"]', "--args.exec_steps=9"]
    for given, words in ((options, "exec_steps=9 must be"), (["--args.ckpt=none"], "error: .*none")):
        monkeypatch.setattr("sys.argv", ["server", *given])
        with pytest.raises(SystemExit, match=words) as ended:
            main()
        assert "\n" not in str(ended.value)
