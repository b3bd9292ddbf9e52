"""A world of discs that dies after some steps, each episode in another of the calls that are made to it."""

from dataclasses import dataclass

from data_modules.worlds.discs import Discs

LIVED = 2
"""Steps before it dies."""
FAULTS = (None, "numbers", "step", "reset", "draw", "choose_expert_action")
"""Calls, of one episode after the other."""
BEGUN, OPENED = [], []


@dataclass
class Dying(Discs):
    """The world."""

    def __post_init__(self):
        super().__post_init__()
        OPENED.append(self)
        self.fault, self.steps = None, 0

    def die(self, call):
        if self.fault == call and (self.steps >= LIVED or call == "reset"):
            raise ConnectionError(f"died in {call}")

    def reset(self, draws):
        self.fault, self.steps = FAULTS[len(BEGUN) % len(FAULTS)], 0
        BEGUN.append(self)
        self.die("reset")
        super().reset(draws)

    def step(self, action):
        self.die("step")
        self.steps += 1
        return super().step(action)

    def draw(self):
        self.die("draw")
        return super().draw()

    def choose_expert_action(self):
        self.die("choose_expert_action")
        return super().choose_expert_action()

    @property
    def numbers(self):
        self.die("numbers")
        return super().numbers
