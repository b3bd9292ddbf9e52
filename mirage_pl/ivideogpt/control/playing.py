"""An agent in a simulator. Shapes: T frames, H x W pixels."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_modules.episodes.episode import Episode
from data_modules.worlds.world import Vector, World
from mirage_pl.ivideogpt.batch import fit_frames
from mirage_pl.ivideogpt.control.agent import Agent

Choice = Callable[[Tensor, int], Tensor]
"""(newest frames [1, T, C, H, W] in uint8, number of the action) -> action, [1, A]."""


class Policy:
    """An agent as a function of what it sees: of a frame, and of those before it, which it keeps.

    Args:
        agent: which acts.
        choose: how; ``None``: as it thinks best.
    """

    def __init__(self, agent: Agent, choose: Choice | None = None) -> None:
        self.agent, self.choose = agent, choose or (lambda frames, _: agent.act(frames))
        self.begin()

    def begin(self) -> None:
        """Forget what was seen: an episode begins."""
        self.seen: list[Tensor] = []
        self.number = 0

    def __call__(self, frame_HWC: NDArray[np.uint8]) -> Vector:
        """Choose the next action for the newest frame."""
        frame_CHW = fit_frames(frame_HWC, self.agent.sizes.resolution)
        stack = self.agent.sizes.stack
        self.seen = [*(self.seen or [frame_CHW] * (stack - 1)), frame_CHW][-stack:]
        device = next(self.agent.parameters()).device
        action_A = self.choose(torch.stack(self.seen)[None].to(device), self.number)[0]
        self.number += 1
        return np.asarray(action_A.float().cpu().numpy(), np.float64)


def play(world: World, policy: Policy, actions: int, draws: np.random.Generator) -> tuple[Episode, dict[str, Any]]:
    """Play an episode of so many actions.

    Returns:
        The episode, and its ``return`` and whether the goal was ``reached`` at any time.
    """
    world.reset(draws)
    policy.begin()
    frames, acted, rewards, reached = [world.draw()], list[Vector](), list[float](), world.reached
    for _ in range(actions):
        acted.append(np.clip(policy(frames[-1]), -1, 1))
        rewards.append(float(world.step(acted[-1])))
        frames.append(world.draw())
        reached = reached or world.reached
    steps = np.array(acted, np.float32), np.array(rewards, np.float32)
    return Episode(np.stack(frames), *steps), {"return": round(sum(rewards), 6), "reached": bool(reached)}
