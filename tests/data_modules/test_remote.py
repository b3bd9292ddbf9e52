"""Worlds in another process: the pipe, what goes wrong at its other end, and the adapters that run there."""

import ast
import json
import sys
from functools import partial
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from data_modules.worlds.maker import WorldEpisodes
from data_modules.worlds.play import play
from data_modules.worlds.remote import SERVER, RemoteWorld
from data_modules.worlds.world import WorldFailure
from mirage_pl.engine.cli import compose
from tests.conftest import REPO
from tests.data_modules.fake_simulator import Line, load_server

FAKE = str(REPO / "tests" / "data_modules" / "fake_simulator.py")


@pytest.fixture(autouse=True)
def _the_fake_finds_us(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(REPO))


def open_line(simulator="line", patience=30, **options):
    return RemoteWorld(16, simulator, options, sys.executable, FAKE, patience)


def test_a_world_behind_a_pipe_is_the_same_world():
    class Local(Line):
        def reset(self, draws):
            super().reset(int(draws.integers(1 << 31)))

    remote = open_line()
    for policy in (0.3, "random"):
        ours, reached = play(remote, policy, 12, np.random.default_rng(0))
        theirs, also = play(Local(16), policy, 12, np.random.default_rng(0))
        assert reached == also
        for array, other in zip(vars(ours).values(), vars(theirs).values(), strict=True):
            assert np.array_equal(array, other)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("death", "line ended at step with exit code 7: segmentation fault, core dumped"),
        ("error", "line failed at step: RuntimeError: the solver diverged"),
        ("nan", "line gave the reward nan, which is no number"),
        ("small", r"line answered draw with \d+ \+ 675 bytes, not up to 65536 \+ 768"),
        ("hang", "line took more than 2 s to step; raise task.patience"),
    ],
)
def test_a_simulator_that_fails_in_the_middle_ends_the_episode_with_one_line_and_another_can_begin(
    fault, words, tmp_path
):
    world = open_line(fault=fault, mark=str(tmp_path / "mark"), patience=2 if fault == "hang" else 30)
    with pytest.raises(WorldFailure, match=words) as failure:
        play(world, 0, 6, np.random.default_rng(0))
    assert "\n" not in str(failure.value)
    with pytest.raises(WorldFailure, match="failed before; reset begins anew"):
        world.draw()
    episode, _ = play(world, 0, 6, np.random.default_rng(0))
    assert len(episode.frames_THWC) == 6


def test_a_simulator_that_cant_start_is_refused_in_one_line():
    for simulator, options, words in (
        ("line", {"fault": "open"}, "line failed at open: ImportError: no module named physics"),
        ("line", {"colour": 1}, "line failed at open: TypeError: .*colour"),
        ("garbage", {}, "garbage answered open with"),
        ("unknown", {}, "unknown ended at open with exit code 1: KeyError: 'unknown'"),
    ):
        with pytest.raises(ValueError, match=words) as error:
            open_line(simulator, **options)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="/no/python can't be started .*; correct task.python"):
        RemoteWorld(16, "line", {}, "/no/python", FAKE, 30)
    options = {"scene": "A", "control": None, "repeat": 1, "camera": None, "imports": ["mani_skill.envs"]}
    with pytest.raises(ValueError, match=r"maniskill failed at open: ModuleNotFoundError: .*mani_skill"):
        RemoteWorld(16, "maniskill", options | {"settings": None}, sys.executable, None, 30)


def test_a_simulator_without_an_expert_says_which_policies_are_left():
    world = open_line("silent")
    with pytest.raises(ValueError, match=r"silent has no scripted expert; task.policies=\[random\]"):
        play(world, 0, 3, np.random.default_rng(0))
    assert len(play(world, "random", 3, np.random.default_rng(0))[0].frames_THWC) == 3


def make(folder, **options):
    world = partial(RemoteWorld, 16, "line", python=sys.executable, server=FAKE, patience=30, options=options)
    maker = WorldEpisodes(
        folder=folder, episodes={"train": 2}, world=world, seed=0, num_workers=1, length=5, policies=[0]
    )
    maker.make()
    return maker


def test_an_episode_whose_simulator_dies_is_played_anew_and_comes_out_the_same(tmp_path):
    make(tmp_path / "whole")
    maker = make(tmp_path / "died", fault="death", mark=str(tmp_path / "mark"))
    for number in range(2):
        ours, other = (np.load(tmp_path / name / "episodes" / f"train_{number}.npz") for name in ("died", "whole"))
        assert all(np.array_equal(ours[key], other[key]) for key in ("frames", "actions", "rewards"))
    assert "python" not in json.dumps(maker.settings())
    with pytest.raises(ValueError, match="an episode failed 3 times; the last time line ended at step"):
        make(tmp_path / "never", fault="death")


def test_the_server_runs_where_python_is_old_and_only_numpy_is_there():
    tree = ast.parse(SERVER.read_text(), feature_version=(3, 8))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names - set(sys.stdlib_module_names) == {"numpy"}


class Tensor(SimpleNamespace):
    def cpu(self):
        return np.asarray(self.values)


class Cubes:
    """A stand-in for ManiSkill's environment: tensors of a batch of one."""

    action_space = SimpleNamespace(low=np.full(7, -2.0), high=np.full(7, 2.0), shape=(7,))

    def __init__(self, name, **settings):
        self.name, self.settings, self.actions = name, settings, []

    def see(self):
        side = self.settings["sensor_configs"]["width"]
        frame = np.full((1, side, side, 3), len(self.actions), np.uint8)
        return {"sensor_data": {"base_camera": {"rgb": Tensor(values=frame)}}}

    def reset(self, seed):
        self.seed, self.actions = seed, []
        return self.see(), {}

    def step(self, action):
        self.actions.append(action)
        success = Tensor(values=[len(self.actions) == 3])
        return self.see(), Tensor(values=[0.5]), Tensor(values=[False]), Tensor(values=[False]), {"success": success}


def test_maniskills_adapter_adds_rewards_up_and_scales_actions(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", SimpleNamespace(make=Cubes))
    monkeypatch.setitem(sys.modules, "mani_skill.envs", ModuleType("envs"))
    cfg = compose(
        "data", ["task=maniskill", "task.scene=PushT-v1", "task.settings={sim_backend: gpu}", "task.python=x"]
    )
    options = cfg.task.world.options
    world = load_server().ManiSkill(side=8, **options)
    environment = world.environment
    assert (environment.name, environment.settings["control_mode"]) == ("PushT-v1", "pd_ee_delta_pose")
    assert environment.settings["sim_backend"] == "gpu"
    world.reset(5)
    assert (environment.seed, world.width, world.reached) == (5, 7, False)
    assert world.step(np.full(7, 0.5)) == 1.0
    assert np.allclose(environment.actions, 1.0)
    assert world.draw().shape == (8, 8, 3)
    assert (world.draw() == 2).all()
    assert not world.reached
    world.step(np.zeros(7))
    assert world.reached
    world.camera = "hand"
    with pytest.raises(ValueError, match="camera hand is unknown; choose from base_camera"):
        world.draw()


class Kitchen:
    """A stand-in for LIBERO's environment."""

    def __init__(self, **settings):
        self.settings, self.actions, self.start = settings, [], None

    def seed(self, seed):
        self.seeded = seed

    def reset(self):
        self.actions = []

    def see(self):
        side = self.settings["camera_heights"]
        return {"agentview_image": np.arange(side * side * 3, dtype=np.uint8).reshape(side, side, 3)}

    def set_init_state(self, start):
        self.start = start
        return self.see()

    def step(self, action):
        self.actions.append(action)
        return self.see(), 1.0, False, {}

    def check_success(self):
        return len(self.actions) == 12


def test_liberos_adapter_begins_at_a_recorded_start_and_turns_pictures(monkeypatch):
    task = SimpleNamespace(problem_folder="spatial", bddl_file="bowl.bddl")
    suite = SimpleNamespace(n_tasks=2, get_task=lambda number: task, get_task_init_states=lambda number: "abc")
    modules = {
        "libero.libero": SimpleNamespace(get_libero_path=lambda kind: f"/{kind}"),
        "libero.libero.benchmark": SimpleNamespace(get_benchmark_dict=lambda: {"libero_spatial": lambda: suite}),
        "libero.libero.envs": SimpleNamespace(OffScreenRenderEnv=Kitchen),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    adapter = load_server().Libero
    options = dict(compose("data", ["task=libero", "task.python=x", "task.repeat=2"]).task.world.options)
    world = adapter(side=4, **options)
    assert world.environment.settings["bddl_file_name"] == "/bddl_files/spatial/bowl.bddl"
    world.reset(4)
    assert (world.environment.start, len(world.environment.actions)) == ("b", 10)
    assert np.array_equal(world.draw(), world.environment.see()["agentview_image"][::-1, ::-1])
    assert world.step(np.zeros(7)) == 2.0
    assert world.reached
    for change, words in (({"number": 2}, "has 2 tasks"), ({"suite": "kitchens"}, "choose from libero_spatial")):
        with pytest.raises(ValueError, match=words):
            adapter(side=4, **options | change)
