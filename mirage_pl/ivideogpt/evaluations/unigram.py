"""What a code is worth that says nothing of its clip: how often it stands in its place in other episodes.

Shapes: F frames of a clip, n codes of each, K codes of the book.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

PRIOR = 0.1
"""Added to each count, so that a code that no other episode has is possible."""


class Unigram:
    """Counts of codes in each of a frame's places, and the mean reward, always without the clip's own episode.

    Args:
        codes: by clip, [F, n].
        rewards: by clip, in symlog, [F]; empty: none are known.
        units: by clip, its episode.
        num_codes: K.
    """

    def __init__(
        self, codes: Mapping[str, Tensor], rewards: Mapping[str, Tensor], units: Mapping[str, str], num_codes: int
    ) -> None:
        self.codes, self.rewards, self.units, self.num_codes = codes, rewards, units, num_codes
        self.own = {unit: self.count([where for where in codes if units[where] == unit]) for unit in units.values()}
        self.total_nK = self.count(list(codes))

    def count(self, clips: list[str]) -> Tensor:
        """How often each code stands in each place of the frames of some clips, [n, K]."""
        codes_Mn = torch.cat([self.codes[where] for where in clips]).long()
        counts_nK = torch.zeros(codes_Mn.shape[1], self.num_codes)
        return counts_nK.scatter_add_(1, codes_Mn.T, torch.ones(codes_Mn.T.shape))

    def nats(self, where: str) -> float:
        """Mean cross-entropy of a clip's codes."""
        counts_nK = self.total_nK - self.own[self.units[where]] + PRIOR
        shares_nK = counts_nK / counts_nK.sum(1, keepdim=True)
        return -shares_nK.gather(1, self.codes[where].long().T).log().mean().item()

    def reward_error(self, where: str) -> float | None:
        """Squared error of the mean reward; ``None`` where no rewards are known, or in no other episode."""
        others = [rewards for name, rewards in self.rewards.items() if self.units[name] != self.units[where]]
        if where not in self.rewards or not others:
            return None
        return (self.rewards[where] - torch.cat(others).mean()).square().mean().item()
