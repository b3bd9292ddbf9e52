"""The simulator that an imagined walk is compared with: it does the same actions."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig

from data_modules.worlds.views import View
from data_modules.worlds.walking import ACTIONS
from data_modules.worlds.walks import Walkable
from data_modules.worlds.world import WorldFailure

FAR = 1e6
"""Nearest depth of a frame of which none is known."""


class RealWalk:
    """A walk in a simulator.

    Args:
        world: where one is.
        hold: frames of an action.

    Attributes:
        views: what was seen, the newest last; those since the walk was begun, or since it rested.
        nearest: depth of the nearest point of the first of them.
    """

    def __init__(self, world: Walkable, hold: int) -> None:
        self.world, self.hold = world, hold
        self.views: list[View] = [world.look()]
        self.rest()

    @classmethod
    def is_there(cls, config: DictConfig) -> bool:
        """Whether the task of a run is walks in a simulator."""
        return config.task.get("hold") is not None

    @classmethod
    def open(cls, config: DictConfig, place: int) -> Self:
        """Begin at a place of the simulator of a run's task.

        Raises:
            ValueError: there is no simulator, or it isn't installed, or it broke down.
        """
        if not cls.is_there(config):
            raise ValueError(f"task={config.task.name} has no simulator to walk in; give image=FILE")
        task = config.task
        world: Any = instantiate(task.world)()
        total = int(task.maps) + int(task.new_maps)
        draws = np.random.default_rng([place, total])
        try:
            world.reset((int(task.maps) + place) % total, draws)
            return cls(world, int(task.hold))
        except WorldFailure as failure:
            raise ValueError(f"the simulator broke down ({failure}); begin elsewhere, place={place + 1}") from None

    def rest(self) -> None:
        """Count from here."""
        self.views = self.views[-1:]
        depth = self.views[0].depth_HW
        self.nearest = float(depth[depth > 0].min()) if (depth > 0).any() else FAR

    def go(self, codes: Sequence[str]) -> None:
        """Do actions, each as long as in the task.

        Raises:
            ValueError: the simulator broke down.
        """
        try:
            for code in codes:
                for _ in range(self.hold):
                    self.world.step(ACTIONS[code])
                    self.views.append(self.world.look())
        except WorldFailure as failure:
            raise ValueError(f"the simulator broke down ({failure}); begin elsewhere") from None

    def tell_place(self) -> list[float]:
        """Where one is: to the right and ahead of where the walk began, and degrees clockwise."""
        there = np.linalg.inv(self.views[0].pose_44.astype(float)) @ self.views[-1].pose_44
        turned = np.degrees(np.arctan2(there[0, 2], there[2, 2]))
        return [round(float(number), 3) for number in (there[0, 3], there[2, 3], turned)]
