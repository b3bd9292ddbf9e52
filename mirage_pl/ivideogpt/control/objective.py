"""What a plan is for.

Shapes: B episodes, N candidates of each, H steps ahead, A numbers of an action; pixels in [0, 1].
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mirage_pl.ivideogpt.control.long_rollout import LongRollout


@dataclass(frozen=True)
class Objective:
    """A weighed sum.

    Attributes:
        reward: weight of the sum of rewards that the model expects.
        goal: weight of minus the squared error between the last frame and a picture of the goal.

    Raises:
        ValueError: nothing has a weight.
    """

    reward: float
    goal: float

    def __post_init__(self) -> None:
        if min(self.reward, self.goal) < 0 or not self.reward + self.goal:
            raise ValueError(f"objective has reward={self.reward} and goal={self.goal}; give one of them above 0")

    def score(self, start: LongRollout, actions_BNHA: Tensor, goals_BCHW: Tensor | None) -> Tensor:
        """Imagine candidates, and score them: [B, N].

        Args:
            start: a row for each episode; isn't changed.
            actions_BNHA: candidates of each.
            goals_BCHW: pictures of the goals, where they have a weight.
        """
        episodes, candidates, horizon = actions_BNHA.shape[:3]
        rows = start.repeat(candidates)
        device = rows.newest[0].device
        total_M, imagined = torch.zeros(episodes * candidates, device=device), None
        for step in range(horizon):
            last = step == horizon - 1
            imagined = rows.step(actions_BNHA[:, :, step].flatten(0, 1).to(device), see=bool(self.goal) and last)
            if self.reward and imagined.rewards_B is not None:
                total_M += self.reward * imagined.rewards_B
        if self.goal and goals_BCHW is not None and imagined is not None and imagined.frames_BCHW is not None:
            wanted_MCHW = goals_BCHW.to(device).repeat_interleave(candidates, 0)
            total_M -= self.goal * (imagined.frames_BCHW - wanted_MCHW).square().mean((1, 2, 3))
        return total_M.view(episodes, candidates)
