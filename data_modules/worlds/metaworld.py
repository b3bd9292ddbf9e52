"""Meta-World: a Sawyer arm at a table, 50 tasks with dense rewards and scripted experts, drawn small and fast.

An action is the hand's velocity in x, y and z and the grip's force, -1 to 1 each.
"""

import warnings
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from data_modules.worlds.rendering import check_side, draw_scene, load_mujoco
from data_modules.worlds.world import SEEDS, Vector

VERSION = "-v3"


@dataclass
class MetaWorld:
    """One task.

    Attributes:
        side: pixels of a frame.
        scene: the task, such as ``plate-slide``.
        camera: its camera; ``corner`` as published.
        flipped: draw upside down, as ``corner`` asks.
        repeat: simulated steps of an action; their rewards are added up.
        bonus: further reward of an action that reaches the goal or keeps it.

    Raises:
        ValueError: no such scene or camera, or Meta-World isn't installed.
    """

    width: ClassVar[int] = 4

    side: int
    scene: str
    camera: str
    flipped: bool
    repeat: int
    bonus: float

    def __post_init__(self) -> None:
        check_side(self.side)
        if self.repeat < 1:
            raise ValueError(f"task.world.repeat={self.repeat} must be 1 or more")
        self.simulator, self.expert = open_scene(self.scene)
        cameras = [self.simulator.model.camera(number).name for number in range(self.simulator.model.ncam)]
        if self.camera not in cameras:
            raise ValueError(f"task.world.camera={self.camera} is unknown; choose from {', '.join(cameras)}")
        self.state: Vector = np.zeros(0)
        self.succeeded = False

    def reset(self, draws: np.random.Generator) -> None:
        """Place things by chance."""
        self.simulator.seed(int(draws.integers(SEEDS)))
        self.state, _ = self.simulator.reset()
        self.succeeded = False

    def step(self, action: Vector) -> float:
        """Act ``repeat`` times; return the sum of rewards, and the bonus if the goal was reached meanwhile."""
        total, self.succeeded = 0.0, False
        for _ in range(self.repeat):
            self.state, reward, _, _, facts = self.simulator.step(np.clip(action, -1, 1))
            total, self.succeeded = total + float(reward), self.succeeded or bool(facts["success"])
        return total + self.bonus * self.succeeded

    def draw(self) -> NDArray[np.uint8]:
        """Draw a frame."""
        frame = draw_scene(self.simulator.model_name, self.simulator.data, self.side, self.camera)
        return frame[::-1].copy() if self.flipped else frame

    @property
    def reached(self) -> bool:
        """Whether the last action reached the goal, or kept it."""
        return self.succeeded

    def choose_expert_action(self) -> Vector:
        """Do what the task's scripted policy does, within the limits."""
        with warnings.catch_warnings():  # it says at every step that some of its actions are too large
            warnings.simplefilter("ignore")
            action: Vector = self.expert.get_action(self.state)
        return np.clip(action, -1, 1)


def open_scene(name: str) -> tuple[Any, Any]:
    """Open a task's simulator, whose episodes have no end, and its scripted policy.

    Raises:
        ValueError: no such task, or Meta-World isn't installed.
    """
    load_mujoco()  # first: it says with what to draw
    try:
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE as kinds
        from metaworld.policies import ENV_POLICY_MAP as experts
    except ImportError as error:
        raise ValueError(f"Meta-World isn't installed ({error}); pip install 'mirage_pl[metaworld]'") from None
    if name + VERSION not in experts:
        names = sorted(expert.removesuffix(VERSION) for expert in experts)
        near = get_close_matches(name, names) or names
        raise ValueError(f"task.scene={name} is no task of Meta-World; choose {', '.join(near)}")
    simulator = kinds[f"{name}{VERSION}-goal-observable"]()
    simulator._freeze_rand_vec, simulator.seeded_rand_vec = False, True  # each reset places things anew, by its seed
    simulator.max_path_length = SEEDS
    return simulator, experts[name + VERSION]()
