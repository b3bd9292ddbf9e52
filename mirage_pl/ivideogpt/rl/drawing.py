"""Clips drawn in groups, and how likely each of their codes was.

Shapes: B rows (imagined clips), K codes of the book.
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from mirage_pl.ivideogpt.model.rollout import Rollout, Sampling


class Drawn(Rollout):
    """Imagined clips whose codes are drawn, several from each context, which they share.

    Args:
        contexts: have just begun.
        temperature: of the draws; from all codes, so that each has a likelihood.
        streams: random numbers of each row; as many for each context, one context after the other.

    Attributes:
        logs: log-probabilities ``[B]`` of the codes so far.
    """

    def __init__(self, contexts: Rollout, temperature: float, streams: Sequence[Generator]) -> None:
        self.__dict__.update(vars(contexts.repeat(len(streams) // len(contexts))))
        self.sampling, self.logs = Sampling(temperature), list[Tensor]()
        self.random_BFn = self.draw_numbers(len(streams), streams)

    def choose(self, logits_BK: Tensor, place: int) -> Tensor:
        """Draw a code for each row, and note how likely it was."""
        ids_B = super().choose(logits_BK, place)
        logs_BK = score_codes(logits_BK, self.sampling.temperature)
        self.logs.append(logs_BK.gather(1, ids_B[:, None]).squeeze(1))
        return ids_B


def score_codes(logits: Tensor, temperature: float) -> Tensor:
    """Log-probabilities of the distribution that codes are drawn from, in float32 at least."""
    exact = torch.promote_types(logits.dtype, torch.float32)
    return (logits.to(exact) / temperature).log_softmax(-1)
