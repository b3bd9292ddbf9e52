"""A simulator in its own Python, which is driven through a pipe. Stands alone: Python 3.8 and numpy are enough.

``PYTHON server.py maniskill`` answers what ``data_modules/worlds/remote.py`` asks; docs/guides/simulators.md has the
protocol. To add a simulator is to write a class such as ``ManiSkill`` and to name it in ``SIMULATORS``.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import struct
import sys
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

VERSION = 1
LENGTHS = struct.Struct(">II")
"""Before each message: bytes of its JSON, and bytes that follow it."""
SETTLE = 10
"""Idle steps at the start of an episode of LIBERO, in which things fall into place."""


def to_array(value: Any) -> np.ndarray[Any, Any]:
    """Take an array, or a tensor from wherever it is, of a batch of one."""
    return np.asarray(value.cpu() if hasattr(value, "cpu") else value)


def to_number(value: Any) -> float:
    """Take a number, or a batch of one."""
    return float(to_array(value).reshape(-1)[0])


class ManiSkill:
    """A task of ManiSkill 3: one environment, its camera's pixels.

    Args:
        side: pixels of a frame.
        scene: such as ``PickCube-v1``.
        control: control mode.
        repeat: simulated steps of an action; their rewards are added up.
        camera: ``null``: the first one.
        imports: modules that know the task.
        settings: further arguments of ``gymnasium.make``; ``null``: none.
    """

    def __init__(
        self,
        side: int,
        scene: str,
        control: str | None,
        repeat: int,
        camera: str | None,
        imports: list[str],
        settings: dict[str, Any] | None,
    ) -> None:
        make = importlib.import_module("gymnasium").make
        for module in imports:
            importlib.import_module(module)
        sizes = {"width": side, "height": side}
        self.environment = make(
            scene, num_envs=1, obs_mode="rgb", control_mode=control, sensor_configs=sizes, **(settings or {})
        )
        self.repeat, self.camera, self.reached = repeat, camera, False
        self.seen: Any = None
        space = self.environment.action_space
        self.low, self.high = (np.asarray(bound).reshape(-1) for bound in (space.low, space.high))
        self.width = len(self.low)

    def reset(self, seed: int) -> None:
        """Begin an episode."""
        self.seen, _ = self.environment.reset(seed=seed)
        self.reached = False

    def step(self, action: np.ndarray[Any, Any]) -> float:
        """Act ``repeat`` times; return the sum of rewards."""
        scaled = (self.low + (action + 1) / 2 * (self.high - self.low)).astype(np.float32)
        total, self.reached = 0.0, False
        for _ in range(self.repeat):
            self.seen, reward, _, _, facts = self.environment.step(scaled.reshape(self.environment.action_space.shape))
            total += to_number(reward)
            self.reached = self.reached or bool(to_number(facts.get("success", False)))
        return total

    def draw(self) -> np.ndarray[Any, Any]:
        """What the camera sees."""
        cameras = self.seen["sensor_data"]
        name = self.camera or next(iter(cameras))
        if name not in cameras:
            raise ValueError(f"camera {name} is unknown; choose from {', '.join(cameras)}")
        frames = to_array(cameras[name]["rgb"])
        return frames.reshape(-1, *frames.shape[-3:])[0]


class Libero:
    """A task of LIBERO, from one of its recorded starts.

    Args:
        side: pixels of a frame.
        suite: such as ``libero_spatial``.
        number: of the task in it, from 0.
        camera: such as ``agentview``; its pictures are turned by 180 degrees, as published.
        repeat: simulated steps of an action; their rewards are added up.
    """

    width = 7

    def __init__(self, side: int, suite: str, number: int, camera: str, repeat: int) -> None:
        benchmark, libero = importlib.import_module("libero.libero.benchmark"), importlib.import_module("libero.libero")
        wrapper = importlib.import_module("libero.libero.envs").OffScreenRenderEnv
        suites = benchmark.get_benchmark_dict()
        if suite not in suites:
            raise ValueError(f"suite {suite} is unknown; choose from {', '.join(suites)}")
        tasks = suites[suite]()
        if not 0 <= number < tasks.n_tasks:
            raise ValueError(f"{suite} has {tasks.n_tasks} tasks, counted from 0; there is no number {number}")
        task, self.starts = tasks.get_task(number), tasks.get_task_init_states(number)
        file = os.path.join(libero.get_libero_path("bddl_files"), task.problem_folder, task.bddl_file)
        self.environment = wrapper(
            bddl_file_name=file, camera_names=[camera], camera_heights=side, camera_widths=side, ignore_done=True
        )
        self.camera, self.repeat, self.reached = camera, repeat, False
        self.seen: Any = None

    def reset(self, seed: int) -> None:
        """Begin an episode at one of the recorded starts, and let things settle."""
        self.environment.seed(seed)
        self.environment.reset()
        self.seen = self.environment.set_init_state(self.starts[seed % len(self.starts)])
        for _ in range(SETTLE):
            self.seen, *_ = self.environment.step([0.0] * 6 + [-1.0])
        self.reached = False

    def step(self, action: np.ndarray[Any, Any]) -> float:
        """Act ``repeat`` times; return the sum of rewards."""
        total, self.reached = 0.0, False
        for _ in range(self.repeat):
            self.seen, reward, _, _ = self.environment.step(action)
            total, self.reached = total + float(reward), self.reached or bool(self.environment.check_success())
        return total

    def draw(self) -> np.ndarray[Any, Any]:
        """What the camera sees, the right way up."""
        return to_array(self.seen[f"{self.camera}_image"])[::-1, ::-1]


SIMULATORS: dict[str, Callable[..., Any]] = {"maniskill": ManiSkill, "libero": Libero}


class Server:
    """Answers requests, one after the other."""

    def __init__(self, kind: Callable[..., Any]) -> None:
        self.kind = kind
        self.simulator: Any = None

    def answer(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Return what is answered, and the bytes that follow it."""
        ask = request["ask"]
        if ask == "open":
            if request["version"] != VERSION:
                raise ValueError(f"server.py speaks version {VERSION}, not {request['version']}; copy it anew")
            self.simulator = self.kind(**request["options"])
            expert = hasattr(self.simulator, "choose_expert_action")
            return {"version": VERSION, "width": int(self.simulator.width), "expert": expert}, b""
        if ask == "reset":
            self.simulator.reset(request["seed"])
            return {"reached": bool(self.simulator.reached)}, b""
        if ask == "step":
            reward = float(self.simulator.step(np.asarray(request["action"])))
            return {"reward": reward, "reached": bool(self.simulator.reached)}, b""
        if ask == "expert":
            return {"action": [float(number) for number in self.simulator.choose_expert_action()]}, b""
        if ask == "draw":
            frame = np.ascontiguousarray(self.simulator.draw(), np.uint8)
            return {"shape": list(frame.shape)}, frame.tobytes()
        raise ValueError(f"{ask} is no request")


def serve(simulators: dict[str, Callable[..., Any]], name: str) -> None:
    """Answer what comes in by standard input, until it ends. What a simulator prints goes to standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the client's, which closes the pipe
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    server = Server(simulators[name])
    while True:
        lengths = sys.stdin.buffer.read(LENGTHS.size)
        if len(lengths) < LENGTHS.size:
            return
        try:
            reply, data = server.answer(json.loads(sys.stdin.buffer.read(LENGTHS.unpack(lengths)[0])))
        except Exception as error:
            traceback.print_exc()
            reply, data = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}, b""
        write_message(answers, reply, data)


def write_message(pipe: BinaryIO, content: dict[str, Any], data: bytes) -> None:
    """Write one message."""
    text = json.dumps(content).encode()
    pipe.write(LENGTHS.pack(len(text), len(data)) + text + data)
    pipe.flush()


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in SIMULATORS:
        sys.exit(f"usage: {sys.argv[0]} {'|'.join(SIMULATORS)}")
    serve(SIMULATORS, sys.argv[1])
