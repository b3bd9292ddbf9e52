"""A table with three discs: the hand is told which one to go to, or to push the box to. Lengths as in ``pushing``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from data_modules.worlds.pushing import (
    ASIDE,
    BEHIND,
    BESIDE,
    FASTEST,
    REACHED,
    SCENE,
    SUBSTEPS,
    TIMESTEP,
    Pushing,
    distance,
)
from data_modules.worlds.rendering import draw_scene, load_mujoco
from data_modules.worlds.world import Vector

COLOURS = {"red": "0.85 0.25 0.2 1", "green": "0.25 0.65 0.35 1", "blue": "0.2 0.35 0.8 1"}
VERBS = {
    "touch": ("go to the {} disc", "move your hand to the {} disc"),
    "push": ("push the box to the {} disc", "bring the box onto the {} disc"),
}
"""What is to be done -> how it is said."""
APART = 0.2
"""From disc to disc."""


def write_scene() -> str:
    """The scene of ``pushing`` with a disc of each colour in place of its one."""
    before, _, rest = SCENE.partition('<body name="disc"')
    after = rest.partition("</body>")[2]
    discs = "".join(
        f'<body name="{name}" mocap="true"><geom type="cylinder" size="0.07 0.002" rgba="{colour}" contype="0" '
        'conaffinity="0"/></body>'
        for name, colour in COLOURS.items()
    )
    top = f'<camera name="top" pos="0 0 1.1" xyaxes="1 0 0 0 1 0" fovy="46"/>{discs}'
    return before + top + after


@dataclass
class Discs(Pushing):
    """The world.

    Attributes:
        side: pixels of a frame.
        verbs: what may be to be done, out of ``VERBS``.

    Raises:
        ValueError: none of them, or another.
    """

    scene: ClassVar[str] = write_scene()
    split: ClassVar[None] = None

    verbs: Sequence[str] = tuple(VERBS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.verbs or not set(self.verbs) <= VERBS.keys():
            raise ValueError(f"task.world.verbs={list(self.verbs)} must be some of {', '.join(VERBS)}")
        self.verb, self.colour, self.phrase = "touch", "red", 0

    def reset(self, draws: np.random.Generator) -> None:
        """Place hand, box and discs by chance, and choose what is to be done."""
        load_mujoco().mj_resetData(self.model, self.state)
        while True:
            hand, box, *discs = draws.uniform(-0.3, 0.3, (2 + len(COLOURS), 2)) * [[1], [0.7], *[[1]] * len(COLOURS)]
            places = [(one, other) for index, one in enumerate(discs) for other in discs[:index]]
            if (
                distance(hand, box) > 0.1
                and all(distance(each, disc) > APART for each in (hand, box) for disc in discs)
                and all(distance(*pair) > APART for pair in places)
            ):
                break
        self.state.qpos[:] = [*box, draws.uniform(-np.pi, np.pi), *hand]
        self.state.mocap_pos[:] = [[*disc, 0.002] for disc in discs]
        self.verb, self.colour = str(draws.choice(list(self.verbs))), str(draws.choice(list(COLOURS)))
        self.phrase = int(draws.integers(len(VERBS[self.verb])))
        load_mujoco().mj_forward(self.model, self.state)

    def film(self) -> NDArray[np.uint8]:
        """Draw a frame from the front, and one from above."""
        return np.stack([draw_scene(self.scene, self.state, self.side, camera) for camera in ("front", "top")])

    @property
    def instruction(self) -> str:
        """What is to be done."""
        return VERBS[self.verb][self.phrase].format(self.colour)

    @property
    def others(self) -> list[str]:
        """The same with another disc."""
        return [VERBS[self.verb][self.phrase].format(colour) for colour in COLOURS if colour != self.colour]

    @property
    def group(self) -> str:
        """What is to be done, whatever the colour."""
        return self.verb

    @property
    def goal(self) -> str:
        """The disc that it is to be done with."""
        return self.colour

    @property
    def plan(self) -> str:
        """What the expert does next."""
        if self.reached:
            return "stay"
        if self.verb == "touch":
            return f"go to the {self.colour} disc"
        towards = (self.disc - self.box) / max(1e-6, distance(self.disc, self.box))
        offset = self.hand - self.box
        along = float(offset @ towards)
        across = float(np.linalg.norm(offset - along * towards))
        if along < 0 and across < ASIDE:
            return f"push the box to the {self.colour} disc"
        return "go around the box" if along > BESIDE and across < BEHIND else "go behind the box"

    @property
    def numbers(self) -> Vector:
        """Where hand, box and discs are: ten numbers."""
        return np.concatenate([self.hand, self.box, *self.state.mocap_pos[:, :2]])

    @property
    def disc(self) -> Vector:
        """The disc that is meant."""
        return np.array(self.state.mocap_pos[list(COLOURS).index(self.colour), :2])

    @property
    def reached(self) -> bool:
        """Whether the hand, or the box, is on the disc that is meant."""
        return distance(self.hand if self.verb == "touch" else self.box, self.disc) < REACHED

    def choose_expert_action(self) -> Vector:
        """Go to the disc, or push the box to it."""
        if self.verb == "push":
            return super().choose_expert_action()
        action = (self.disc - self.hand) / (FASTEST * TIMESTEP * SUBSTEPS)
        return action / max(1.0, float(np.linalg.norm(action)))
