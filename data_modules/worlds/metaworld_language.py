"""Meta-World's tasks, told in words: one of several scenes in each episode, and what its expert is about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from data_modules.maker import check_repeats
from data_modules.worlds.metaworld import MetaWorld
from data_modules.worlds.rendering import check_side
from data_modules.worlds.world import Vector, WorldFailure

Offset = tuple[float | None, float | None, float | None]
ANYWHERE: Offset = (None, None, None)
THING = slice(4, 7)
"""Where the thing is that a scene is about, in what Meta-World observes."""
OBSERVED = 39
PARTS = 10
"""Into so many parts each direction in which things are placed is cut, to tell goals apart."""
KEPT = {0: "test", 5: "test", 2: "val"}
"""Sum of a goal's parts, modulo ``PARTS`` -> the split that has it; those of all others train."""
HALVES = (("left", "right"), ("near", "far"), ("low", "high"))
"""Of each direction, as the arm has them."""
TRIES = 200
"""Placings that are drawn at most to find one outside of a scene's space."""


@dataclass(frozen=True)
class Scene:
    """A task.

    Attributes:
        sayings: how it is told.
        phases: what its expert is about -> where its hand is heading then, in metres from the thing; the first that
            fits.
    """

    sayings: Sequence[str]
    phases: Mapping[str, Offset]


SCENES = {
    "drawer-close": Scene(
        ("close the drawer", "push the drawer shut", "push the drawer in"),
        {
            "push the drawer in": (0, 0, -0.02),
            "lower the hand before the drawer": (0, -0.075, -0.02),
            "move over to the front of the drawer": (0, -0.075, 0.21),
            "lift the hand": (None, None, 0.48),
        },
    ),
    "button-press-topdown": Scene(
        ("press the button from the top", "push the button down", "press the button down"),
        {"press the button down": (0, 0, 0), "move over the button": (0, 0, 0.1)},
    ),
    "window-open": Scene(
        ("open the window", "slide the window open", "push the window to the right"),
        {
            "push the window to the right": (0.07, -0.03, -0.08),
            "lower the hand beside the handle": (-0.03, -0.03, -0.08),
            "move over the handle": (-0.03, -0.03, 0.22),
        },
    ),
    "window-close": Scene(
        ("close the window", "slide the window shut", "push the window to the left"),
        {
            "push the window to the left": (-0.07, -0.03, -0.08),
            "lower the hand beside the handle": (0.03, -0.03, -0.08),
            "move over the handle": (0.03, -0.03, 0.17),
        },
    ),
    "plate-slide": Scene(
        ("slide the plate into the goal", "push the plate into the goal", "bring the plate to the goal"),
        {
            "lower the hand onto the plate": (0, -0.055, 0.03),
            "move over the plate": (0, -0.055, 0.13),
            "slide the plate into the goal": ANYWHERE,
        },
    ),
    "reach": Scene(
        ("reach the target", "move your hand to the target", "go to the target"), {"move to the target": ANYWHERE}
    ),
    "coffee-button": Scene(
        ("press the coffee button", "push the button of the coffee", "turn the coffee on"),
        {"press the coffee button": (0, 0.2, -0.07), "move in front of the button": (0, None, -0.07)},
    ),
    "handle-press": Scene(
        ("press the handle down", "push the handle down", "push down the handle"),
        {"press the handle down": (0, -0.02, -0.5), "move over the handle": (0, -0.02, 0.2)},
    ),
    "door-lock": Scene(
        ("lock the door", "turn the lock of the door", "turn the lock"),
        {
            "turn the lock": (-0.12, -0.02, -0.1),
            "lower the hand onto the lock": (-0.02, -0.02, 0),
            "move over the lock": (-0.02, -0.02, 0.3),
            "lift the hand": ANYWHERE,
        },
    ),
}


IDLE: dict[str, list[MetaWorld]] = {}
"""Settings -> simulators of this process that no world uses: they take long to open."""


@dataclass
class MetaWorldLanguage:
    """A table at which another thing is to be done in each episode.

    Attributes:
        side: pixels of a frame.
        scenes: the tasks, out of ``SCENES``.
        entries: which of the 39 numbers that Meta-World observes are the state: 0 to 2 the hand, 3 its grip, 4 to 6 and
            11 to 13 the things, each with its rotation behind it, 18 to 35 the same a step before, 36 to 38 the goal.
        camera: see :class:`data_modules.worlds.metaworld.MetaWorld`.
        flipped: see there.
        repeat: simulated steps of an action.
        beyond: set it, and from the next reset on things are placed outside of the space in which a scene places them,
            by up to this share of its width at each side; 0: within.

    Raises:
        ValueError: no such scene or number, or Meta-World isn't installed.
    """

    width: ClassVar[int] = 4

    side: int
    scenes: Sequence[str]
    entries: Sequence[int]
    camera: str
    flipped: bool
    repeat: int
    scene: str = field(init=False)
    saying: int = field(init=False, default=0)
    beyond: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        check_side(self.side)
        for name in self.scenes:
            if name not in SCENES:
                near = get_close_matches(name, SCENES) or SCENES
                raise ValueError(f"task.scenes has {name}, which nobody put in words; choose {', '.join(near)}")
        if not self.scenes or not self.entries or any(not 0 <= entry < OBSERVED for entry in self.entries):
            raise ValueError(
                f"task.scenes={list(self.scenes)} must name one or more, and task.world.entries={list(self.entries)} "
                f"numbers from 0 to {OBSERVED - 1}"
            )
        check_repeats("task.scenes", self.scenes)
        check_repeats("task.world.entries", self.entries)
        self.scene = self.scenes[0]
        self.simulator = self.take()
        self.reset(np.random.default_rng(0))  # before that nothing is measured

    def take(self) -> MetaWorld:
        """A simulator of the scene that nobody uses."""
        idle = IDLE.setdefault(self.key, [])
        return idle.pop() if idle else MetaWorld(self.side, self.scene, self.camera, self.flipped, self.repeat, 0.0)

    @property
    def key(self) -> str:
        """What tells simulators apart."""
        return f"{self.scene} {self.side} {self.camera} {self.flipped} {self.repeat}"

    def reset(self, draws: np.random.Generator) -> None:
        """Choose a scene and how it is told, and place things by chance."""
        IDLE.setdefault(self.key, []).append(self.simulator)
        self.scene = str(draws.choice(list(self.scenes)))
        self.saying = int(draws.integers(1 << 16))
        self.simulator = self.take()
        self.simulator.reset(draws)
        if self.beyond:
            self.move_things(draws)

    def move_things(self, draws: np.random.Generator) -> None:
        """Place things again, outside of the scene's space in one direction or more.

        Raises:
            WorldFailure: no draws did.
        """
        simulator = self.simulator.simulator
        within = simulator._random_reset_space
        margin = self.beyond * (within.high - within.low)
        simulator._random_reset_space = type(within)(within.low - margin, within.high + margin, dtype=within.dtype)
        try:
            for _ in range(TRIES):
                self.simulator.reset(draws)
                placed = simulator._last_rand_vec
                if ((placed < within.low) | (placed > within.high)).any():
                    return
        finally:
            simulator._random_reset_space = within
        raise WorldFailure(f"of {TRIES} placings of {self.scene} none was outside of its space")

    def step(self, action: Vector) -> float:
        """Act; return the scene's reward."""
        return self.simulator.step(action)

    def draw(self) -> NDArray[np.uint8]:
        """Draw a frame."""
        return self.simulator.draw()

    @property
    def instruction(self) -> str:
        """What is to be done."""
        return self.say(self.scene)

    def say(self, scene: str) -> str:
        """A scene in words, as this episode says it."""
        sayings = SCENES[scene].sayings
        return sayings[self.saying % len(sayings)]

    @property
    def others(self) -> list[str]:
        """What is to be done in the other scenes; where there is one alone, in those that it could be."""
        names = self.scenes if len(self.scenes) > 1 else SCENES
        return [self.say(name) for name in names if name != self.scene]

    @property
    def group(self) -> str:
        """The scene."""
        return self.scene

    @property
    def goal(self) -> str:
        """In which half of each direction the goal lies; where a scene has it always in one place, the thing."""
        space, placed = self.simulator.simulator._random_reset_space, self.simulator.simulator._last_rand_vec
        for first in range(len(placed) - len(HALVES), -1, -len(HALVES)):  # of a thing and a goal the goal comes last
            bounds = zip(
                HALVES, *(row[first : first + len(HALVES)] for row in (space.low, space.high, placed)), strict=True
            )
            if words := [halves[int(at > (low + high) / 2)] for halves, low, high, at in bounds if high > low]:
                return ", ".join(words)
        return "in one place"

    @property
    def split(self) -> str:
        """The split that goals like this one are for.

        Each direction in which things are placed is cut into ten parts; a goal whose parts' numbers make a multiple
        of five is for tests.
        """
        space, placed = self.simulator.simulator._random_reset_space, self.simulator.simulator._last_rand_vec
        widths = space.high - space.low
        varied = widths > 0
        parts = ((placed - space.low)[varied] / widths[varied] * PARTS).astype(int).clip(0, PARTS - 1)
        return KEPT.get(int(parts.sum()) % PARTS, "train")

    @property
    def plan(self) -> str:
        """What the expert is about: it follows from where its hand is heading."""
        if self.reached:
            return "stay"
        phases, expert, observed = SCENES[self.scene].phases, self.simulator.expert, self.simulator.state
        if len(phases) == 1:
            return next(iter(phases))
        heading = expert._desired_pos(expert._parse_obs(observed.copy())) - observed[THING]
        fits = (
            words
            for words, offset in phases.items()
            if all(part is None or abs(part - real) < 1e-6 for part, real in zip(offset, heading, strict=True))
        )
        return next(fits)

    @property
    def numbers(self) -> Vector:
        """The state."""
        return self.simulator.state[list(self.entries)]

    @property
    def reached(self) -> bool:
        """Whether the goal is reached."""
        return self.simulator.reached

    def choose_expert_action(self) -> Vector:
        """Do what the scene's scripted policy does."""
        return self.simulator.choose_expert_action()
