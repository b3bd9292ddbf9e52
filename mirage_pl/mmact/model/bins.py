"""Numbers as tokens and back. Shapes: … any, D numbers of a state or an action, N rows of a data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

Kind = Literal["none", "mean_std", "min_max"]
KINDS: Sequence[str] = get_args(Kind)
LARGEST = torch.finfo(torch.float32).max
"""Where there is no bound: saved numbers are finite."""
SMALLEST = 1e-8
"""Scale of a number that never changes: any other value of it is then out of range."""


@dataclass(frozen=True)
class Bins:
    """Bins of equal width over [-1, 1].

    Attributes:
        count: how many, 2 or more.
    """

    count: int

    def encode(self, values: Tensor) -> Tensor:
        """The nearest bin of each value, 0 to count - 1; values beyond [-1, 1] are clipped, halves go to even bins.

        Half-way values depend on the precision of ``values``: the reference bins states in double, actions in single.
        """
        return ((values.clamp(-1, 1) + 1) / 2 * (self.count - 1)).round().long()

    def decode(self, bins: Tensor) -> Tensor:
        """The middle of each bin; of a bin between two, such as an expected one, the value between theirs."""
        return bins / (self.count - 1) * 2 - 1

    @property
    def centres(self) -> Tensor:
        """The middle of all bins, [count]."""
        return self.decode(torch.arange(self.count))


class Normalizer(nn.Module):
    """What turns numbers of a data set into numbers within [-1, 1], and back. It is saved with the weights.

    Args:
        dims: numbers that it takes.
        kind: ``none``: they are taken as they are; ``mean_std``: three standard deviations about the mean are [-1, 1];
            ``min_max``: the least is -1 and the greatest 1.
        raw: dimensions that are taken as they are all the same, such as a gripper's.
        scale: dimension -> what it is divided by, for ``none``.
        key: of these options in a config, for errors.

    Raises:
        ValueError: a kind that there isn't, or a dimension; names its key.
    """

    shift_D: Tensor
    scale_D: Tensor
    least_D: Tensor
    greatest_D: Tensor
    fitted: Tensor

    def __init__(
        self,
        dims: int,
        kind: Kind,
        raw: Sequence[int] = (),
        scale: Mapping[int, float] | None = None,
        key: str = "scales.state",
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"{key}.kind={kind} must be one of {', '.join(KINDS)}")
        if wrong := [dim for dim in (*raw, *(scale or {})) if not isinstance(dim, int) or not 0 <= dim < dims]:
            there = f"must be 0 to {dims - 1}" if dims else "must be empty, for there are none"
            raise ValueError(f"{key}.raw has {wrong[0]}; dimensions {there}")
        self.kind, self.raw = kind, list(raw)
        self.register_buffer("shift_D", torch.zeros(dims))
        self.register_buffer("scale_D", torch.ones(dims))
        self.register_buffer("least_D", torch.full((dims,), -LARGEST))
        self.register_buffer("greatest_D", torch.full((dims,), LARGEST))
        self.register_buffer("fitted", torch.tensor(kind == "none"))
        for dim, value in (scale or {}).items():
            self.scale_D[dim] = value

    def fit(self, values_ND: Tensor) -> None:
        """Take shift and scale from a data set."""
        self.check(values_ND)
        values_ND = values_ND.double()
        if self.kind == "mean_std":
            self.set(values_ND.mean(0), 3 * values_ND.std(0, correction=0))
        elif self.kind == "min_max":
            self.set_range(values_ND.amin(0), values_ND.amax(0))

    def set_range(self, least_D: Tensor, greatest_D: Tensor) -> None:
        """Take [least, greatest] for [-1, 1]; one of which both are the same always has that value, as it is."""
        same_D = least_D == greatest_D
        shift_D = torch.where(same_D, 0, (greatest_D + least_D) / 2)
        self.set(shift_D, torch.where(same_D, 1, (greatest_D - least_D) / 2))
        same_D[self.raw] = False
        self.least_D.copy_(torch.where(same_D, least_D, -LARGEST))
        self.greatest_D.copy_(torch.where(same_D, greatest_D, LARGEST))

    def set(self, shift_D: Tensor, scale_D: Tensor) -> None:
        """Take shift and scale, but for the dimensions that are taken as they are."""
        self.shift_D.copy_(shift_D)
        self.scale_D.copy_(scale_D.clamp(min=SMALLEST))
        self.shift_D[self.raw], self.scale_D[self.raw] = 0.0, 1.0
        self.fitted.fill_(True)

    def forward(self, values: Tensor) -> Tensor:
        """Numbers of the data set, […, D] -> those that are binned, not yet clipped."""
        self.check(values)
        return (values.clamp(self.least_D, self.greatest_D) - self.shift_D) / self.scale_D

    def invert(self, values: Tensor) -> Tensor:
        """The way back."""
        self.check(values)
        return values * self.scale_D + self.shift_D

    def check(self, values: Tensor) -> None:
        """Refuse another number of dimensions.

        Raises:
            ValueError: names both.
        """
        if values.shape[-1] != len(self.shift_D):
            raise ValueError(
                f"got {values.shape[-1]} numbers where this model's normalizer has {len(self.shift_D)}; give data of "
                "the kind that it was trained on, or set task.numbers"
            )
