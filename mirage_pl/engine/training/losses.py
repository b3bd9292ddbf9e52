"""Named losses: their weights, their sum, and what the log says of them."""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import add

from torch import Tensor


def train_logged(losses: Mapping[str, Tensor], total: Tensor) -> dict[str, Tensor]:
    """What the log says of a training batch."""
    return {f"train/{name}": loss.detach() for name, loss in losses.items()} | {"train/loss": total.detach()}


def added(losses: Iterable[Tensor]) -> Tensor:
    """The sum of one loss or more."""
    return reduce(add, losses)


def as_pair(name: str, weight: float | Sequence[float]) -> tuple[float, float]:
    """A weight at the start and at the end of a run.

    Raises:
        ValueError: neither a number nor a pair of numbers.
    """
    pair = (weight, weight) if isinstance(weight, int | float) else tuple(weight)
    if len(pair) != 2 or not all(isinstance(value, int | float) for value in pair):
        raise ValueError(f"stage.module.loss_weights.{name}={weight} must be a number, or [first, last]")
    return float(pair[0]), float(pair[1])
