"""Make ``task=pushing``: episodes of experts with noise and of random actions, which say what frames don't."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from data_modules.episodes.episode import Episode, write_episode
from data_modules.maker import Maker, Plan, in_order
from data_modules.worlds.pushing import Pushing, Vector, choose_expert_action
from data_modules.worlds.rendering import load_mujoco

RANDOM = "random"
HELD = 5
"""Steps for which a random action is held at most."""


@dataclass(frozen=True, kw_only=True)
class PushingEpisodes(Maker):
    """Episodes of train, val and test.

    Attributes:
        episodes: how many of each split; policies take turns.
        length: frames of an episode.
        side: pixels of a frame.
        policies: standard deviations of the noise on an expert's actions, and ``random``.
    """

    subfolder: ClassVar[str] = "episodes"

    episodes: Mapping[str, int]
    length: int
    side: int
    policies: Sequence[float | str]

    def __post_init__(self) -> None:
        wrong = [policy for policy in self.policies if policy != RANDOM and not is_noise(policy)]
        if wrong or not self.policies:
            raise ValueError(
                f"task.policies={list(self.policies)} must be noises, 0 and up, or random: [0, 0.3, random]"
            )
        if self.length < 2 or self.side < 8:
            raise ValueError(f"task.length={self.length} must be 2 or more and task.side={self.side} 8 or more")

    def make(self) -> None:
        """Make them; that MuJoCo can draw is found out before a process is started."""
        load_mujoco()
        super().make()

    def plans(self) -> Iterator[Plan]:
        """Yield every episode."""
        for split in in_order(self.episodes):
            for number in range(self.episodes[split]):
                yield Plan(split, f"{split}_{number}", (number, self.policies[number % len(self.policies)]))

    def draw(self, plan: Plan, folder: Path) -> dict[str, Any]:
        """Play and write one episode."""
        number, policy = plan.content
        draws = np.random.default_rng([self.seed, sum(plan.split.encode()), number])
        episode, reached = play(Pushing(self.side), policy, self.length, draws)
        name = f"{self.subfolder}/{plan.name}.npz"
        write_episode(folder / name, episode)
        group = RANDOM if policy == RANDOM else f"noise {policy:g}"
        return {"episode": name, "length": self.length, "group": group, "reached": reached}


def is_noise(policy: Any) -> bool:
    """Whether it is a number, 0 or more."""
    return isinstance(policy, int | float) and not isinstance(policy, bool) and policy >= 0


def play(world: Pushing, policy: float | str, length: int, draws: np.random.Generator) -> tuple[Episode, bool]:
    """Play an episode; an expert whose box is on the disc goes on with random actions.

    Returns:
        The episode, and whether the box was on the disc.
    """
    world.reset(draws)
    frames, actions, rewards, reached = [world.draw()], list[Vector](), list[float](), False
    held, left = np.zeros(2), 0
    for _ in range(length - 1):
        if not left:
            held, left = draws.uniform(-1, 1, 2), int(draws.integers(1, HELD + 1))
        left -= 1
        reached = reached or world.reached
        action = held if policy == RANDOM or reached else choose_expert_action(world)
        if policy != RANDOM:
            action = action + float(policy) * draws.standard_normal(2)
        actions.append(np.clip(action, -1, 1))
        rewards.append(world.step(actions[-1]))
        frames.append(world.draw())
    steps = np.array(actions, np.float32), np.array(rewards, np.float32)
    return Episode(np.stack(frames), *steps), reached or world.reached
