"""Make demonstrations in a world whose goal is said in words: an expert's actions, in states that noise led to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from data_modules.demonstrations.demonstration import Frames, write_demonstration
from data_modules.maker import Plan
from data_modules.worlds.maker import PlayedEpisodes
from data_modules.worlds.play import check_policies
from data_modules.worlds.told import Told, look
from data_modules.worlds.world import Vector, WorldFailure

Played = tuple[list[Vector], list[Vector], list[str]]
"""States, actions, and what is about to be done, in words."""
TRIES = 1000
"""Episodes that are begun at most to find one whose goal is for a split, and that goes well."""


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
        """Play and write one episode.

        Raises:
            ValueError: no draws begin one with a goal for its split that can be played.
        """
        world: Told = self.open()
        seed, (states, actions, said), frames = self.play(world, plan)
        name, plans = f"{self.subfolder}/{plan.name}.npz", list(dict.fromkeys(said))
        write_demonstration(folder / name, states, actions, [plans.index(words) for words in said], frames or None)
        row = {"episode": name, "length": len(states), "instruction": world.instruction, "group": world.group}
        row |= {"views": self.views} if self.views else {}
        return row | {"plans": plans, "seed": seed, "reached": world.reached}

    def play(self, world: Told, plan: Plan) -> tuple[list[int], Played, list[Frames]]:
        """Play an episode, with other draws where its goal is another split's, or world or expert break down."""
        seed, why = self.seed_of(plan), f"none has a goal that is for {plan.split}"
        for tried in (seed, *([*seed, number] for number in range(1, TRIES))):
            try:
                world.reset(np.random.default_rng(tried))
                if world.split in (None, plan.split):
                    frames = list[Frames]()
                    watch = partial(self.film, world, frames) if self.views else None
                    draws = np.random.default_rng(tried)
                    return tried, demonstrate(world, plan.content[1], self.limit, self.stay, draws, watch), frames
            except WorldFailure as failure:
                why = f"the last one failed: {failure}"
        raise ValueError(f"of {TRIES} episodes that were begun {why}")

    def film(self, world: Told, frames: list[Frames]) -> None:
        """Add what cameras see now."""
        frames.append(look(world, self.views))


def demonstrate(
    world: Told,
    noise: float,
    limit: int,
    stay: int,
    draws: np.random.Generator,
    watch: Callable[[], None] | None = None,
) -> Played:
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
