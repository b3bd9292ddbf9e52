"""Named losses: weights, sum, names in the log."""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import add

from torch import Tensor


def name_logged(losses: Mapping[str, Tensor], total: Tensor) -> dict[str, Tensor]:
    """The losses of a training batch by their names in the log."""
    return {f"train/{name}": loss.detach() for name, loss in losses.items()} | {"train/loss": total.detach()}


def sum_losses(losses: Iterable[Tensor]) -> Tensor:
    """Sum at least one loss."""
    return reduce(add, losses)


def as_pair(name: str, weight: float | Sequence[float]) -> tuple[float, float]:
    """The weight at the start and at the end of the run.

    Raises:
        ValueError: neither a number nor a pair of numbers.
    """
    pair = (weight, weight) if isinstance(weight, int | float) else tuple(weight)
    if len(pair) != 2 or not all(isinstance(value, int | float) for value in pair):
        raise ValueError(f"stage.module.loss_weights.{name}={weight} must be a number, or [first, last]")
    return float(pair[0]), float(pair[1])
