"""Named losses: weights, sum, names in the log."""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import add
from typing import Annotated

from annotated_types import Ge, Len
from torch import Tensor

Weight = Annotated[float, Ge(0)]
Weights = Mapping[str, Weight | Annotated[Sequence[Weight], Len(2, 2)] | None]
"""The weight of each loss by name; a pair is interpolated linearly over the run, ``None`` is for no loss at all."""


def name_logged(losses: Mapping[str, Tensor], total: Tensor) -> dict[str, Tensor]:
    """The losses of a training batch by their names in the log."""
    return {f"train/{name}": loss.detach() for name, loss in losses.items()} | {"train/loss": total.detach()}


def sum_losses(losses: Iterable[Tensor]) -> Tensor:
    """Sum at least one loss."""
    return reduce(add, losses)


def as_pairs(weights: Weights) -> dict[str, tuple[float, float]]:
    """The weight of each loss at the start and at the end of the run.

    Raises:
        ValueError: all are zero all the time.
    """
    pairs = {
        name: (weight, weight) if isinstance(weight, int | float) else weight
        for name, weight in weights.items()
        if weight is not None
    }
    if not any(map(any, pairs.values())):
        raise ValueError(f"all losses ({', '.join(pairs)}) have weight 0, so nothing is learnt; give one of them more")
    return {name: (float(first), float(last)) for name, (first, last) in pairs.items()}
