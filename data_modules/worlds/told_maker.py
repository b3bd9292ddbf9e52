"""Make demonstrations in a world whose goal is said in words: an expert's actions, in states that noise led to."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from data_modules.demonstrations.demonstration import write_demonstration
from data_modules.maker import Maker, Plan, in_order
from data_modules.worlds.play import check_policies
from data_modules.worlds.told import Told
from data_modules.worlds.world import Vector

OPENED: dict[str, Told] = {}
"""Settings -> the world of this process: some take long to open."""


@dataclass(frozen=True, kw_only=True)
class ToldDemonstrations(Maker):
    """Episodes of train, val and test.

    Attributes:
        world: opens the world.
        episodes: how many of each split; noises take turns.
        limit: steps of an episode at most.
        stay: steps after the goal was reached, in which the expert stays there.
        noises: standard deviations of what is added to the expert's actions as they are done, not as they are written.
    """

    subfolder: ClassVar[str] = "episodes"

    world: partial[Told]
    episodes: Mapping[str, int]
    limit: int
    stay: int
    noises: Sequence[float]

    def __post_init__(self) -> None:
        check_policies(self.noises, "task.noises")
        if self.limit < 1 or self.stay < 0:
            raise ValueError(f"task.limit={self.limit} must be 1 step or more, and task.stay={self.stay} 0 or more")

    def settings(self) -> dict[str, Any]:
        """The world by its name and its options."""
        kind: Any = self.world.func
        return super().settings() | {"world": {"name": f"{kind.__module__}.{kind.__qualname__}"} | self.world.keywords}

    def make(self) -> None:
        """Make them; that the world can be opened is found out before a process is started."""
        self.world()
        super().make()

    def plans(self) -> Iterator[Plan]:
        """Yield every episode."""
        for split in in_order(self.episodes):
            for number in range(self.episodes[split]):
                yield Plan(split, f"{split}_{number}", (number, self.noises[number % len(self.noises)]))

    def draw(self, plan: Plan, folder: Path) -> dict[str, Any]:
        """Play and write one episode."""
        number, noise = plan.content
        seed = [self.seed, sum(plan.split.encode()), number]
        world = OPENED[str(self.settings())] = OPENED.get(str(self.settings())) or self.world()
        states, actions = demonstrate(world, noise, self.limit, self.stay, np.random.default_rng(seed))
        name = f"{self.subfolder}/{plan.name}.npz"
        write_demonstration(folder / name, states, actions)
        row = {"episode": name, "length": len(states), "instruction": world.instruction, "group": world.group}
        return row | {"seed": seed, "reached": world.reached}


def demonstrate(
    world: Told, noise: float, limit: int, stay: int, draws: np.random.Generator
) -> tuple[list[Vector], list[Vector]]:
    """Play an episode.

    Returns:
        States, and what the expert would do in each but the last; what is done has noise added.
    """
    world.reset(draws)
    states, actions, left = [world.numbers], list[Vector](), stay
    while len(actions) < limit and left >= 0:
        action = np.zeros(world.width) if world.reached else np.clip(world.choose_expert_action(), -1, 1)
        left -= world.reached
        actions.append(action)
        world.step(np.clip(action + (0 if world.reached else noise) * draws.standard_normal(world.width), -1, 1))
        states.append(world.numbers)
    return states, actions
