"""Policies of known strength, and the episodes that they play."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.episodes.episode import Episode
from data_modules.worlds.world import Vector, World

RANDOM, MIXED = "random", "mixed"
HELD = 5
"""Steps for which a random action is held at most."""
FIRST = 1 << 32
"""The first seed of starts of evaluations, which no made episode has."""


def draw_start(number: int, *names: int) -> np.random.Generator:
    """Random numbers of a start of evaluations; with more numbers, of what else is drawn in its episode."""
    return np.random.default_rng([FIRST, number, *names])


def check_policies(policies: Sequence[float | str], key: str) -> None:
    """Check that each is a noise, mixed or random.

    Raises:
        ValueError: it is none of these; names the key.
    """
    if not policies or any(policy not in (RANDOM, MIXED) and not is_noise(policy) for policy in policies):
        raise ValueError(f"{key}={list(policies)} must be noises, 0 and up, mixed, or random: [0, 0.3, mixed, random]")


def is_noise(policy: Any) -> bool:
    """Whether it is a number, 0 or more."""
    return isinstance(policy, int | float) and not isinstance(policy, bool) and policy >= 0


def name_policy(policy: float | str) -> str:
    """What reports count its episodes under."""
    return policy if isinstance(policy, str) else f"noise {policy:g}"


class Player:
    """Chooses actions in one episode.

    Args:
        policy: standard deviation of the noise on an expert's actions; ``random``: actions that are held for a while;
            ``mixed``: now these, now the expert's, so that what an action does and what an expert wants fall apart.
        draws: where its chance is from.
        wander: an expert that has reached the goal goes on with random actions, which show more than standing still.
    """

    def __init__(self, policy: float | str, draws: np.random.Generator, wander: bool) -> None:
        self.policy, self.draws, self.wander = policy, draws, wander
        self.noise = 0.0 if isinstance(policy, str) else float(policy)
        self.reached, self.astray, self.left = False, policy == RANDOM, 0
        self.held: Vector = np.zeros(0)

    def choose_action(self, world: World) -> Vector:
        """Choose the next action, each number from -1 to 1."""
        if not self.left:
            self.held, self.left = self.draws.uniform(-1, 1, world.width), int(self.draws.integers(1, HELD + 1))
            self.astray = not self.astray if self.policy == MIXED else self.astray
        self.left -= 1
        self.reached = self.reached or world.reached
        held = self.astray or (self.wander and self.reached)
        action = self.held if held else world.choose_expert_action()
        if self.noise:
            action = action + self.noise * self.draws.standard_normal(world.width)
        return np.clip(action, -1, 1)


def play(
    world: World, policy: float | str, length: int, draws: np.random.Generator, wander: bool = True
) -> tuple[Episode, bool]:
    """Play an episode of so many frames; ``wander``: see :class:`Player`.

    Returns:
        The episode, and whether the goal was reached at any time.
    """
    world.reset(draws)
    player = Player(policy, draws, wander)
    frames, actions, rewards = [world.draw()], list[Vector](), list[float]()
    for _ in range(length - 1):
        actions.append(player.choose_action(world))
        rewards.append(world.step(actions[-1]))
        frames.append(world.draw())
    steps = np.array(actions, np.float32), np.array(rewards, np.float32)
    return Episode(np.stack(frames), *steps), player.reached or world.reached


def go_to_start(world: World, number: int, before: Sequence[int]) -> list[NDArray[np.uint8]]:
    """Begin the episode of a start of evaluations, and let the expert lead on for a drawn number of steps.

    Args:
        world: the simulator.
        number: of the start.
        before: the least and the most steps of the expert.

    Returns:
        The frames on the way, that of the start last.
    """
    draws = draw_start(number)
    world.reset(draws)
    frames, expert = [world.draw()], Player(0, draws, wander=False)
    for _ in range(int(draws.integers(before[0], before[1] + 1))):
        world.step(expert.choose_action(world))
        frames.append(world.draw())
    return frames


def check_before(before: Sequence[int]) -> None:
    """Check the least and the most steps that lead to a start.

    Raises:
        ValueError: they aren't two, or aren't in order.
    """
    if len(before) != 2 or not 0 <= before[0] <= before[1]:
        raise ValueError(f"before={list(before)} must be the least and the most steps of the expert: [0, 10]")
