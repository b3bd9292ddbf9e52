"""A simulator for tests, served by the real server: a dot on a line, which actions push."""

import importlib.util
import os
import sys

import numpy as np

from tests.conftest import REPO


def load_server():
    spec = importlib.util.spec_from_file_location(
        "simulator_server", REPO / "integrations" / "simulators" / "server.py"
    )
    server = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(server)
    return server


class Line:
    """``fault`` strikes at the third step, once for each file ``mark``."""

    width = 2

    def __init__(self, side, fault=None, mark=None):
        print("a simulator that talks")
        if fault == "open":
            raise ImportError("no module named physics")
        self.side, self.fault, self.mark, self.reached = side, fault, mark, False
        self.place, self.steps = 0.0, 0

    def reset(self, seed):
        self.place, self.steps, self.reached = np.random.default_rng(seed).uniform(-1, 0), 0, False

    def step(self, action):
        self.place, self.steps = self.place + 0.2 * action[0], self.steps + 1
        self.reached = self.place > 0.5
        if self.fault and self.steps == 3 and not (self.mark and os.path.exists(self.mark)):
            if self.mark:
                open(self.mark, "w").close()
            return self.fail()
        return self.place

    def fail(self):
        if self.fault == "death":
            print("segmentation fault, core dumped", file=sys.stderr, flush=True)
            os._exit(7)
        if self.fault == "hang":
            import time

            time.sleep(60)
        if self.fault == "error":
            raise RuntimeError("the solver\ndiverged")
        if self.fault == "small":
            self.side -= 1
        return float("nan") if self.fault == "nan" else 0.0

    def draw(self):
        frame = np.zeros((self.side, self.side, 3))
        frame[:, int(np.clip((self.place + 1) / 2 * self.side, 0, self.side - 1))] = 255
        return frame

    def choose_expert_action(self):
        return [1.0, 0.0]


class Silent(Line):
    """It has no expert."""

    choose_expert_action = property()


if __name__ == "__main__":
    if sys.argv[1] == "garbage":
        os.write(1, b"Simulator 3.1 starting ...\n")
        sys.exit()
    load_server().serve({"line": Line, "silent": Silent}, sys.argv[1])
