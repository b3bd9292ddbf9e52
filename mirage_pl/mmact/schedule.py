"""The released schedule of the learning rate."""

from math import cos, pi
from typing import Annotated

from annotated_types import Ge
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def cosine(
    optimizer: Optimizer, total_steps: int, warmup_steps: Annotated[int, Ge(0)], least: Annotated[float, Ge(0)]
) -> LambdaLR:
    """Linear warm-up from 0, then half a cosine to ``least`` times the learning rate; beyond the last step it rises.

    Args:
        optimizer: what is scheduled.
        total_steps: optimizer steps of the run.
        warmup_steps: steps until the full learning rate.
        least: learning rate at the last step, as a fraction of the full one.
    """
    return LambdaLR(optimizer, lambda step: find_factor(step, total_steps, warmup_steps, least))


def find_factor(step: int, total_steps: int, warmup_steps: int, least: float) -> float:
    """The factor of the learning rate before an update, counted from 0."""
    if step < warmup_steps:
        return step / warmup_steps
    return least + (1 - least) * (1 + cos(pi * (step - warmup_steps) / max(1, total_steps - warmup_steps))) / 2
