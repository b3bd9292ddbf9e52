"""Make demonstrations in a world whose goal is said in words: an expert's actions, in states that noise led to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_modules.demonstrations.demonstration import Frames, write_demonstration
from data_modules.maker import Plan
from data_modules.worlds.maker import PlayedEpisodes
from data_modules.worlds.play import check_policies
from data_modules.worlds.told import Told, look
from data_modules.worlds.world import Vector

TRIES = 1000
"""Episodes that are begun at most to find one whose goal is for a split."""


@dataclass(frozen=True, kw_only=True)
class ToldDemonstrations(PlayedEpisodes):
    """Episodes of train, val and test.

    Attributes:
        limit: steps of an episode at most.
        stay: steps after the goal was reached, in which the expert stays there.
        noises: standard deviations of what is added to the expert's actions as they are done, not as they are written.
        views: cameras whose frames are written; 0: none.
    """

    limit: int
    stay: int
    noises: Sequence[float]
    views: int

    def __post_init__(self) -> None:
        check_policies(self.noises, "task.noises")
        if self.limit < 1 or min(self.stay, self.views) < 0:
            raise ValueError(
                f"task.limit={self.limit} must be 1 step or more, task.stay={self.stay} and task.views={self.views} "
                "0 or more"
            )

    @property
    def turns(self) -> Sequence[float | str]:
        """The noises."""
        return self.noises

    def draw(self, plan: Plan, folder: Path) -> dict[str, Any]:
        """Play and write one episode."""
        world: Told = self.open()
        noise, seed = plan.content[1], self.find_seed(world, plan)
        frames = list[Frames]()
        watch = (lambda: frames.append(look(world, self.views))) if self.views else None
        states, actions, said = demonstrate(world, noise, self.limit, self.stay, np.random.default_rng(seed), watch)
        name, plans = f"{self.subfolder}/{plan.name}.npz", list(dict.fromkeys(said))
        write_demonstration(folder / name, states, actions, [plans.index(words) for words in said], frames or None)
        row = {"episode": name, "length": len(states), "instruction": world.instruction, "group": world.group}
        row |= {"views": self.views} if self.views else {}
        return row | {"plans": plans, "seed": seed, "reached": world.reached}

    def find_seed(self, world: Told, plan: Plan) -> list[int]:
        """What an episode's draws depend on, such that its goal is one of its split's.

        Raises:
            ValueError: there seems to be none.
        """
        seed = self.seed_of(plan)
        for tried in (seed, *([*seed, number] for number in range(1, TRIES))):
            world.reset(np.random.default_rng(tried))
            if world.split in (None, plan.split):
                return tried
        raise ValueError(
            f"{TRIES} episodes were begun, but none of {world.instruction!r} and its like is for {plan.split}"
        )


def demonstrate(
    world: Told,
    noise: float,
    limit: int,
    stay: int,
    draws: np.random.Generator,
    watch: Callable[[], None] | None = None,
) -> tuple[list[Vector], list[Vector], list[str]]:
    """Play an episode; ``watch`` is called at each state.

    Returns:
        States, and what the expert would do in each but the last, as actions and in words; what is done has noise.
    """
    world.reset(draws)
    if watch:
        watch()
    states, actions, said, left = [world.numbers], list[Vector](), list[str](), stay
    while len(actions) < limit and left >= 0:
        action = np.zeros(world.width) if world.reached else np.clip(world.choose_expert_action(), -1, 1)
        left -= world.reached
        actions.append(action)
        said.append(world.plan)
        world.step(np.clip(action + (0 if world.reached else noise) * draws.standard_normal(world.width), -1, 1))
        states.append(world.numbers)
        if watch:
            watch()
    return states, actions, said
