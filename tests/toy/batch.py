"""Rows -> a batch. Shapes: B rows, T numbers, padded with zeros at the end."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from tests.toy.waves import Wave


@dataclass(frozen=True)
class Batch:
    """Waves of different lengths.

    Attributes:
        samples: the rows.
        numbers_BT: padded with zeros.
        real_BT: where a number is no padding.
    """

    samples: tuple[Wave, ...]
    numbers_BT: Tensor
    real_BT: Tensor

    def __len__(self) -> int:
        return len(self.samples)

    def to(self, device: Any, **_: Any) -> Self:
        """Return the batch on a device."""
        return replace(self, numbers_BT=self.numbers_BT.to(device), real_BT=self.real_BT.to(device))


class Collator:
    """Pad waves to the longest."""

    def __call__(self, samples: Sequence[Wave]) -> Batch:
        """Build a batch."""
        longest = max(len(wave.numbers) for wave in samples)
        numbers_BT = torch.tensor([(*wave.numbers, *[0.0] * (longest - len(wave.numbers))) for wave in samples])
        real_BT = torch.tensor([[place < len(wave.numbers) for place in range(longest)] for wave in samples])
        return Batch(tuple(samples), numbers_BT, real_BT)

    def widths(self, sample: Wave) -> tuple[int, ...]:
        """Count what ``loader.max_tokens`` limits."""
        return (len(sample.numbers),)
