"""A world in another Python, where its simulator is installed; ``integrations/simulators/server.py`` runs there."""

import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from data_modules.maker import plain
from data_modules.worlds.pipe import Pipe
from data_modules.worlds.rendering import check_side
from data_modules.worlds.world import SEEDS, Vector, WorldFailure

VERSION = 1
SERVER = Path(__file__).resolve().parents[2] / "integrations" / "simulators" / "server.py"


@dataclass
class RemoteWorld:
    """A simulator behind a pipe; after a failure the next ``reset`` starts it anew.

    Attributes:
        side: pixels of a frame.
        simulator: ``maniskill``, ``libero``, or what else the server knows.
        options: of the simulator.
        python: the command that runs the simulator's Python, such as ``/envs/maniskill/bin/python``.
        server: the script that it runs; ``None``: ours.
        patience: seconds that an answer may take.

    Raises:
        ValueError: it can't be started.
    """

    WHERE: ClassVar[tuple[str, ...]] = ("python", "server", "patience")
    """What says where it runs: the same episodes come of it anywhere."""

    side: int
    simulator: str
    options: Mapping[str, Any]
    python: str
    server: str | None
    patience: float

    def __post_init__(self) -> None:
        check_side(self.side)
        self.pipe: Pipe | None = None
        self.width, self.has_expert, self.now_reached = 0, False, False
        try:
            self.start()
        except WorldFailure as error:
            raise ValueError(str(error)) from None

    def start(self) -> None:
        """Start the simulator."""
        self.pipe = Pipe([*shlex.split(self.python), str(self.server or SERVER), self.simulator], self.patience)
        options = json.loads(json.dumps({"side": self.side, **self.options}, default=plain))
        answer = self.ask({"ask": "open", "version": VERSION, "options": options})[0]
        width, self.has_expert = answer.get("width"), answer.get("expert") is True
        if answer.get("version") != VERSION or not isinstance(width, int) or width < 1:
            raise WorldFailure(f"{self.simulator} speaks another version; give it integrations/simulators/server.py")
        self.width = width

    def ask(self, request: Mapping[str, Any], num_bytes: int = 0) -> tuple[dict[str, Any], bytes]:
        """Ask the simulator; one that failed is given up."""
        if self.pipe is None:
            raise WorldFailure(f"{self.simulator} failed before; reset begins anew")
        try:
            return self.pipe.ask(request, num_bytes)
        except WorldFailure:
            self.pipe = None
            raise

    def reset(self, draws: np.random.Generator) -> None:
        """Begin an episode, whose seed is drawn."""
        seed = int(draws.integers(SEEDS))
        if self.pipe is None:
            self.start()
        self.now_reached = self.ask({"ask": "reset", "seed": seed})[0].get("reached") is True

    def step(self, action: Vector) -> float:
        """Act; return the reward on arriving."""
        numbers = [float(number) for number in np.clip(action, -1, 1)]
        answer = self.ask({"ask": "step", "action": numbers})[0]
        reward, self.now_reached = answer.get("reward"), answer.get("reached") is True
        if not isinstance(reward, int | float) or not math.isfinite(reward):
            self.pipe = None
            raise WorldFailure(f"{self.simulator} gave the reward {reward}, which is no number")
        return float(reward)

    def draw(self) -> NDArray[np.uint8]:
        """Draw a frame."""
        _, data = self.ask({"ask": "draw"}, self.side * self.side * 3)
        return np.frombuffer(data, np.uint8).reshape(self.side, self.side, 3).copy()

    @property
    def reached(self) -> bool:
        """Whether the goal is reached now."""
        return self.now_reached

    def choose_expert_action(self) -> Vector:
        """Return what the scripted expert does now, where the simulator has one."""
        if not self.has_expert:
            raise ValueError(f"{self.simulator} has no scripted expert; task.policies=[random]")
        numbers = self.ask({"ask": "expert"})[0].get("action")
        action = np.asarray(numbers, np.float64) if isinstance(numbers, list) else np.zeros(0)
        if action.shape != (self.width,) or not np.isfinite(action).all():
            self.pipe = None
            raise WorldFailure(f"{self.simulator} gave the expert's action {numbers}, not {self.width} numbers")
        return np.clip(action, -1, 1)
