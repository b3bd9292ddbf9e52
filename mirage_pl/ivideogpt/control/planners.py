"""Planners: search for the actions whose score is best. What scores them, a model or a simulator, is not their concern.

Shapes: B episodes, N candidates for each, H steps ahead, A numbers of an action from -1 to 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

LEAST_SPREAD = 0.05
"""Below this candidates hardly differ, and nothing better is found any more."""


@dataclass(frozen=True)
class Planner:
    """Draw candidates around a mean, weigh them by their scores, move mean and spread there, and again.

    Attributes:
        kind: ``cem``: the best few count alike (cross-entropy method); ``mppi``: all count, by
            ``exp(score / temperature)`` where scores are scaled to a range of 1 (model predictive path integral).
        candidates: N.
        iterations: rounds.
        hold: steps for which an action is held: fewer numbers to find.
        spread: standard deviation of the first candidates.
        elites: of ``cem``: how many are the best few.
        temperature: of ``mppi``.

    Raises:
        ValueError: one out of its range.
    """

    kind: Literal["cem", "mppi"]
    candidates: int
    iterations: int
    hold: int
    spread: float
    elites: int
    temperature: float

    def __post_init__(self) -> None:
        if self.kind not in ("cem", "mppi"):
            raise ValueError(f"planner.kind={self.kind} is unknown; choose cem or mppi")
        if not 1 <= self.elites <= self.candidates:
            raise ValueError(f"planner.elites={self.elites} must be 1 to planner.candidates={self.candidates}")
        if min(self.iterations, self.hold) < 1 or min(self.spread, self.temperature) <= 0:
            raise ValueError(
                f"planner has iterations={self.iterations}, hold={self.hold} (1 or more), spread={self.spread} and "
                f"temperature={self.temperature} (above 0)"
            )

    def plan(
        self,
        score: Callable[[Tensor], Tensor],
        first_BHA: Tensor,
        streams: Sequence[Generator],
    ) -> Tensor:
        """Return the best candidates that were scored, [B, H, A].

        Args:
            score: ``score(actions_BNHA)`` returns [B, N]; higher is better.
            first_BHA: around what to begin: zeros, or what is left of the plan before; it is a candidate, too.
            streams: random numbers of each episode, on the CPU.
        """
        horizon = first_BHA.shape[1]
        mean_BKA = first_BHA[:, :: self.hold]
        spread_BKA = torch.full_like(mean_BKA, self.spread)
        best_BHA, best_B = first_BHA, torch.full((len(first_BHA),), -torch.inf, dtype=torch.float64)
        for _ in range(self.iterations):
            noise_BNKA = torch.stack(
                [torch.randn(self.candidates, *mean_BKA.shape[1:], generator=stream) for stream in streams]
            )
            drawn_BNKA = (mean_BKA[:, None] + spread_BKA[:, None] * noise_BNKA).clamp(-1, 1)
            drawn_BNKA[:, 0] = mean_BKA
            actions_BNHA = drawn_BNKA.repeat_interleave(self.hold, 2)[:, :, :horizon]
            scores_BN = score(actions_BNHA).double().cpu().nan_to_num(-torch.inf)
            top_B, place_B = scores_BN.max(1)
            better_B = top_B > best_B
            best_BHA = torch.where(better_B[:, None, None], actions_BNHA[torch.arange(len(place_B)), place_B], best_BHA)
            best_B = torch.where(better_B, top_B, best_B)
            weights_BN = self.weigh(scores_BN).to(drawn_BNKA.dtype)
            mean_BKA = torch.einsum("bn,bnka->bka", weights_BN, drawn_BNKA)
            deviation_BNKA = (drawn_BNKA - mean_BKA[:, None]).square()
            spread_BKA = torch.einsum("bn,bnka->bka", weights_BN, deviation_BNKA).sqrt().clamp_min(LEAST_SPREAD)
        return best_BHA

    def weigh(self, scores_BN: Tensor) -> Tensor:
        """How much each candidate counts; the weights of an episode sum to 1."""
        if self.kind == "cem":
            places_Bk = scores_BN.topk(self.elites, 1).indices
            return torch.zeros_like(scores_BN).scatter_(1, places_Bk, 1 / self.elites)
        top_B1, least_B1 = scores_BN.amax(1, keepdim=True), scores_BN.amin(1, keepdim=True)
        scaled_BN = (scores_BN - top_B1) / (top_B1 - least_B1).clamp_min(1e-12)
        return (scaled_BN / self.temperature).softmax(1)


def shift_plan(plan_BHA: Tensor, steps: int) -> Tensor:
    """What is left of a plan after some steps, its last action held on."""
    left_BHA = plan_BHA[:, steps:]
    return torch.cat((left_BHA, plan_BHA[:, -1:].expand(-1, plan_BHA.shape[1] - left_BHA.shape[1], -1)), 1)
