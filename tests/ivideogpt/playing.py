"""A world for tests, without a simulator: a number on a line, which is the brightness of all pixels."""

import numpy as np

from mirage_pl.ivideogpt.control.agent import Agent, AgentSizes

SIDE = 16


class Line:
    """An action moves the number by its sign; the reward is the number that one gets to."""

    side, width = SIDE, 1

    def reset(self, draws):
        self.number = int(draws.integers(20, 30))

    def step(self, action):
        self.number = int(np.clip(self.number + (1 if action[0] > 0 else -1), 0, 50))
        return float(self.number)

    def draw(self):
        return np.full((SIDE, SIDE, 3), self.number, np.uint8)

    @property
    def reached(self):
        return self.number >= 30

    def choose_expert_action(self):
        return np.ones(1)


def small_agent(stack=3, actions=1, **options):
    sizes = AgentSizes(SIDE, stack, actions, channels=[4], kernels=[4], strides=[4], features=5, hidden=8)
    return Agent(sizes, **{"discount": 0.9, "follow": 0.25, "clip": 0.3} | options)
