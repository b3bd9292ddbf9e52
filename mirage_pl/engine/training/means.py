"""Means over the terms of many batches."""

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor


class Means:
    """Sums values by name, each as the mean of a number of terms."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.terms: defaultdict[str, int] = defaultdict(int)

    def add(self, name: str, mean: Tensor, terms: int) -> None:
        """Add a batch's mean over so many terms; one of no terms is nothing."""
        if terms:
            exact = mean.detach() if mean.device.type == "mps" else mean.detach().double()
            self.sums[name] = self.sums.get(name, 0) + exact * terms
        self.terms[name] += terms

    def over_all(self, strategy: Any) -> dict[str, Tensor]:
        """Return the mean over all terms of all ranks, by name; a name without any terms is left out.

        All ranks must have added the same names.
        """
        names, device = sorted(self.terms), strategy.root_device
        sums = [torch.as_tensor(self.sums.get(name, 0.0), device=device).to(exact_on(device)) for name in names]
        terms = [torch.tensor(self.terms[name], device=device, dtype=exact_on(device)) for name in names]
        if not names:
            return {}
        total = strategy.reduce(torch.stack(sums + terms), reduce_op="sum").tolist()
        pairs = zip(names, total[: len(names)], total[len(names) :], strict=True)
        return {name: torch.tensor(value / count, dtype=torch.float32) for name, value, count in pairs if count}


def exact_on(device: Any) -> torch.dtype:
    """The type with the most bits that a device has."""
    return torch.float32 if device.type == "mps" else torch.float64
